//! The memory in a dump.

use crate::words::u32_at;

/// Segments that are tried for one address: hostile dumps have many that overlap.
const MAX_OVERLAPS: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment<'a> {
    pub(crate) start: u32,
    pub(crate) bytes: &'a [u8],
}

impl Segment<'_> {
    /// Up to 2^32.
    pub(crate) fn end(&self) -> u64 {
        u64::from(self.start) + self.bytes.len() as u64
    }
}

#[derive(Debug, Default)]
pub(crate) struct Memory<'a> {
    segments: Vec<Segment<'a>>,
}

impl<'a> Memory<'a> {
    /// Cuts what would reach beyond the address space.
    pub(crate) fn new(segments: impl IntoIterator<Item = Segment<'a>>) -> Self {
        let mut segments: Vec<_> = segments
            .into_iter()
            .map(|segment| {
                let room = (1_u64 << 32) - u64::from(segment.start);
                let room = usize::try_from(room).unwrap_or(usize::MAX).min(segment.bytes.len());
                Segment { bytes: segment.bytes.get(..room).unwrap_or_default(), ..segment }
            })
            .filter(|segment| !segment.bytes.is_empty())
            .collect();
        segments.sort_by_key(|segment| segment.start);
        Self { segments }
    }

    pub(crate) fn segments(&self) -> &[Segment<'a>] {
        &self.segments
    }

    pub(crate) fn segment_of(&self, address: u32) -> Option<Segment<'a>> {
        let after = self.segments.partition_point(|segment| segment.start <= address);
        let before = self.segments.get(..after)?;
        let near = before.iter().rev().take(MAX_OVERLAPS);
        near.copied().find(|segment| u64::from(address) < segment.end())
    }

    /// The bytes from an address to the end of its segment.
    pub(crate) fn from(&self, address: u32) -> Option<&'a [u8]> {
        let segment = self.segment_of(address)?;
        segment.bytes.get(usize::try_from(address - segment.start).ok()?..)
    }

    /// The word at an address. `None` at unaligned ones: all structures that are read here are
    /// aligned.
    pub(crate) fn word(&self, address: u32) -> Option<u32> {
        if !address.is_multiple_of(4) {
            return None;
        }
        u32_at(self.from(address)?, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_where_a_segment_contains_all_of_their_bytes() {
        let (low, high) = ([1, 0, 0, 0, 2, 0], [9, 0, 0, 0, 7, 7, 7, 7]);
        let memory = Memory::new([
            Segment { start: u32::MAX - 3, bytes: &high },
            Segment { start: 8, bytes: &low },
        ]);
        assert_eq!(memory.word(8), Some(1));
        assert_eq!(memory.word(12), None, "half of it is missing");
        assert_eq!(memory.word(9), None);
        assert_eq!(memory.word(4), None);
        assert_eq!(memory.word(u32::MAX - 3), Some(9));
        assert_eq!(memory.segments()[1].bytes.len(), 4, "cut at the end of the address space");
    }

    #[test]
    fn an_address_after_an_inner_segment_is_found_in_the_outer_one() {
        let (outer, inner) = ([3; 64], [4; 8]);
        let segments =
            [Segment { start: 0x100, bytes: &outer[..] }, Segment { start: 0x110, bytes: &inner }];
        let memory = Memory::new(segments);
        assert_eq!(memory.word(0x110), Some(0x0404_0404));
        assert_eq!(memory.word(0x118), Some(0x0303_0303));
    }
}
