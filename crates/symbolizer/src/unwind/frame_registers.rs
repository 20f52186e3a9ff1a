//! The known registers of a frame.

/// By their numbers in debugging information: x0 to x31 of RISC-V, a0 to a15 of Xtensa.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FrameRegisters {
    values: [u32; 32],
    /// One bit per known register.
    known: u32,
    /// The canonical frame address: the stack pointer of the caller at the call.
    pub(crate) frame_address: Option<u32>,
}

impl FrameRegisters {
    pub(crate) const fn all(values: [u32; 32]) -> Self {
        Self { values, known: u32::MAX, frame_address: None }
    }

    pub(crate) fn get(&self, number: u8) -> Option<u32> {
        let value = self.values.get(usize::from(number))?;
        (self.known >> number & 1 == 1).then_some(*value)
    }

    /// Ignores numbers that are not registers.
    pub(crate) fn set(&mut self, number: u8, value: Option<u32>) {
        let Some(slot) = self.values.get_mut(usize::from(number)) else { return };
        *slot = value.unwrap_or_default();
        let bit = 1 << number;
        self.known = if value.is_some() { self.known | bit } else { self.known & !bit };
    }
}
