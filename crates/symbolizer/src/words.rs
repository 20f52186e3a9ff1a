//! Little-endian words of byte slices.

/// The word at `offset` in bytes, if it lies within.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

/// The half-word at `offset` in bytes, if it lies within.
pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|half| u16::from_le_bytes(*half))
}

/// Up to the first NUL.
pub(crate) fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Text of hostile origin as it may be shown: no control characters but spaces and line ends.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let shown = |char: char| if char.is_control() && char != '\n' { '\u{fffd}' } else { char };
    text.chars().map(shown).collect()
}
