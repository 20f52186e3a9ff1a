//! The chips of the ESP32 family (contract §5.4).

use std::fmt;

/// An instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    Xtensa,
    /// RV32.
    RiscV,
}

impl Architecture {
    /// The value of `e_machine` in an ELF (`EM_XTENSA`, `EM_RISCV` of the ELF specification).
    pub const fn elf_machine(self) -> u16 {
        match self {
            Self::Xtensa => 94,
            Self::RiscV => 243,
        }
    }

    /// The name for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Xtensa => "Xtensa",
            Self::RiscV => "RISC-V",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A chip whose id, name and architecture are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownChip {
    id: u16,
    name: &'static str,
    architecture: Architecture,
}

/// Ids as in `esp_chip_id_t` of ESP-IDF.
const CHIPS: [KnownChip; 13] = [
    KnownChip::new(0x0000, "esp32", Architecture::Xtensa),
    KnownChip::new(0x0002, "esp32s2", Architecture::Xtensa),
    KnownChip::new(0x0005, "esp32c3", Architecture::RiscV),
    KnownChip::new(0x0009, "esp32s3", Architecture::Xtensa),
    KnownChip::new(0x000C, "esp32c2", Architecture::RiscV),
    KnownChip::new(0x000D, "esp32c6", Architecture::RiscV),
    KnownChip::new(0x0010, "esp32h2", Architecture::RiscV),
    KnownChip::new(0x0012, "esp32p4", Architecture::RiscV),
    KnownChip::new(0x0014, "esp32c61", Architecture::RiscV),
    KnownChip::new(0x0017, "esp32c5", Architecture::RiscV),
    KnownChip::new(0x0019, "esp32h21", Architecture::RiscV),
    KnownChip::new(0x001C, "esp32h4", Architecture::RiscV),
    KnownChip::new(0x0020, "esp32s31", Architecture::RiscV),
];

impl KnownChip {
    const fn new(id: u16, name: &'static str, architecture: Architecture) -> Self {
        Self { id, name, architecture }
    }

    /// The chip of an id in an image or a dump.
    pub fn of_id(id: u16) -> Option<Self> {
        CHIPS.into_iter().find(|chip| chip.id == id)
    }

    /// The chip of a name, whose case is ignored.
    pub fn named(name: &str) -> Option<Self> {
        CHIPS.into_iter().find(|chip| chip.name.eq_ignore_ascii_case(name))
    }

    /// In lower case.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The instruction set of its main cores.
    pub const fn architecture(self) -> Architecture {
        self.architecture
    }
}

impl fmt::Display for KnownChip {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chips_are_found_by_id_and_by_name() {
        for chip in CHIPS {
            assert_eq!(KnownChip::of_id(chip.id), Some(chip));
            assert_eq!(KnownChip::named(&chip.name.to_uppercase()), Some(chip));
        }
        assert_eq!(KnownChip::of_id(0xFFFF), None);
        assert_eq!(KnownChip::named("esp8266"), None);
    }
}
