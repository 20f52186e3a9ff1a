//! Recognizes a bare ELF, a raw image or an ELF without its first bytes by the start of a body
//! (contract §6.6).

use bytes::Bytes;

use crate::chip::KnownChip;
use crate::digest::Sha256Digest;

/// So many bytes at the start of a body are enough to recognize its format.
pub(super) const DECISIVE_BYTES: usize = 16;

const ELF_MAGIC: [u8; 4] = *b"\x7fELF";
/// `e_ident` of a 32-bit little-endian ELF.
const ELF_START: [u8; 16] = *b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0";
/// How many bytes of `ELF_START` are missing if 24 bytes were removed as the header of a raw image
/// which has a shorter one (contract §4.7): versions from 0x0104 on, and before 0x0102.
const WRONG_CUTS: [usize; 2] = [12, 4];
/// `e_type` `ET_CORE`, `e_machine` `EM_XTENSA` or `EM_RISCV`.
const CORE_MACHINES: [[u8; 4]; 2] = [[4, 0, 0x5E, 0], [4, 0, 0xF3, 0]];

/// Where the ELF of a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// The body is the ELF.
    Elf,
    /// Within a raw image, if it has one.
    Raw(RawImage),
    /// The body is the ELF without its first bytes.
    StrippedElf { missing: &'static [u8] },
}

impl Framing {
    /// Needs the first [`DECISIVE_BYTES`] of a body, or all of a shorter body.
    pub(super) fn of(start: &[u8]) -> Option<Self> {
        if start.starts_with(&ELF_MAGIC) {
            return Some(Self::Elf);
        }
        if let Some(image) = RawImage::of(start) {
            return Some(Self::Raw(image));
        }
        let missing = WRONG_CUTS.into_iter().find(|cut| {
            let machine = start.strip_prefix(&ELF_START[*cut..]).and_then(<[u8]>::first_chunk);
            machine.is_some_and(|machine| CORE_MACHINES.contains(machine))
        })?;
        Some(Self::StrippedElf { missing: &ELF_START[..missing] })
    }
}

/// The layout of raw images of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    /// Low 16 bits of the version word; the upper byte is 1 if the content is an ELF.
    version: u16,
    /// Length of the header in bytes.
    header: u8,
    checksum: Checksum,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checksum {
    Crc32,
    Sha256,
}

const LAYOUTS: [Layout; 8] = [
    Layout { version: 0x0001, header: 16, checksum: Checksum::Crc32 },
    Layout { version: 0x0002, header: 20, checksum: Checksum::Crc32 },
    Layout { version: 0x0003, header: 24, checksum: Checksum::Crc32 },
    Layout { version: 0x0100, header: 20, checksum: Checksum::Crc32 },
    Layout { version: 0x0101, header: 20, checksum: Checksum::Sha256 },
    Layout { version: 0x0102, header: 24, checksum: Checksum::Crc32 },
    Layout { version: 0x0103, header: 24, checksum: Checksum::Sha256 },
    Layout { version: 0x0104, header: 12, checksum: Checksum::Sha256 },
];

impl Checksum {
    const fn length(self) -> u8 {
        match self {
            Self::Crc32 => 4,
            Self::Sha256 => 32,
        }
    }

    /// Whether `image` ends with the right checksum of the bytes before it.
    fn is_valid(self, image: &[u8]) -> bool {
        let split = image.len().checked_sub(usize::from(self.length()));
        let Some((covered, stored)) = split.and_then(|at| image.split_at_checked(at)) else {
            return false;
        };
        match self {
            Self::Crc32 => crc32fast::hash(covered).to_le_bytes() == *stored,
            Self::Sha256 => Sha256Digest::of(covered).bytes() == stored,
        }
    }
}

/// The header of a raw image: its length, everything included, and a version word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawImage {
    /// `None` when the length word is less than the length of header and checksum.
    length: Option<u32>,
    layout: Layout,
    chip_id: u16,
}

/// The parts of a raw image (contract §6.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawParts<'a> {
    /// Low 16 bits of the version word; the upper byte is 1 if the content is an ELF, else 0 and
    /// the content is a task list.
    pub version: u16,
    /// The id of a known chip (contract §5.4).
    pub chip_id: u16,
    /// The header after the version word.
    pub fields: &'a [u8],
    /// The bytes between header and checksum.
    pub content: &'a [u8],
}

impl RawImage {
    fn of(start: &[u8]) -> Option<Self> {
        let (length, rest) = start.split_first_chunk()?;
        let [version_low, version_high, chip_low, chip_high] = *rest.first_chunk()?;
        let chip_id = u16::from_le_bytes([chip_low, chip_high]);
        KnownChip::of_id(chip_id)?;
        let version = u16::from_le_bytes([version_low, version_high]);
        let layout = LAYOUTS.into_iter().find(|layout| layout.version == version)?;
        let min_length = u32::from(layout.header) + u32::from(layout.checksum.length());
        let length = Some(u32::from_le_bytes(*length)).filter(|length| *length >= min_length);
        Some(Self { length, layout, chip_id })
    }

    /// The image without trailing bytes, and whether it is complete and its checksum right.
    pub(super) fn cut_from(self, body: &Bytes) -> (Bytes, bool) {
        let length = self.length.and_then(|length| usize::try_from(length).ok());
        match length.filter(|length| *length <= body.len()) {
            Some(length) => {
                let image = body.slice(..length);
                let intact = self.layout.checksum.is_valid(&image);
                (image, intact)
            }
            None => (body.clone(), false),
        }
    }

    /// If the length is wrong, the content extends to the end of the image.
    pub(super) fn parts(self, image: &[u8]) -> RawParts<'_> {
        let header = usize::from(self.layout.header).min(image.len());
        let checksum = u32::from(self.layout.checksum.length());
        let end = self.length.and_then(|length| usize::try_from(length - checksum).ok());
        let end = end.filter(|end| (header..=image.len()).contains(end)).unwrap_or(image.len());
        RawParts {
            version: self.layout.version,
            chip_id: self.chip_id,
            fields: image.get(8..header).unwrap_or_default(),
            content: image.get(header..end).unwrap_or_default(),
        }
    }

    /// The offset of the ELF in the image, and its end if the length is known; `None` if the
    /// content is a task list.
    pub(super) fn elf(self) -> Option<(u8, Option<u32>)> {
        let checksum = u32::from(self.layout.checksum.length());
        let end = self.length.map(|length| length.saturating_sub(checksum));
        (self.layout.version >= 0x0100).then_some((self.layout.header, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw_start(length: u32, version: u32) -> Vec<u8> {
        [length.to_le_bytes(), version.to_le_bytes()].concat()
    }

    fn of_raw(length: u32, version: u32) -> Option<RawImage> {
        match Framing::of(&raw_start(length, version)) {
            Some(Framing::Raw(image)) => Some(image),
            Some(other) => panic!("{other:?}"),
            None => None,
        }
    }

    #[test]
    fn versions_have_the_layouts_of_the_contract() {
        for (version, header, checksum, elf) in [
            (0x0001, 16, 4, false),
            (0x0002, 20, 4, false),
            (0x0003, 24, 4, false),
            (0x0100, 20, 4, true),
            (0x0101, 20, 32, true),
            (0x0102, 24, 4, true),
            (0x0103, 24, 32, true),
            (0x0104, 12, 32, true),
        ] {
            let image = of_raw(1000, version).unwrap();
            assert_eq!(image.elf(), elf.then_some((header, Some(1000 - checksum))), "{version:#x}");
            let min_length = u32::from(header) + checksum;
            assert_eq!(of_raw(min_length, version).unwrap().length, Some(min_length));
            assert_eq!(of_raw(min_length - 1, version).unwrap().length, None);
        }
        for unknown in [0, 4, 0x00ff, 0x0105, 0x0200, 0xffff] {
            assert_eq!(of_raw(1000, unknown), None, "{unknown:#x}");
        }
    }

    #[test]
    fn the_chip_of_a_raw_image_must_be_known() {
        let chips = [0, 2, 5, 9, 12, 13, 16, 18, 20, 23, 25, 28, 32];
        for chip in 0..=0xffff {
            assert_eq!(of_raw(1000, chip << 16 | 0x0102).is_some(), chips.contains(&chip));
        }
        assert_eq!(of_raw(u32::MAX, u32::MAX), None, "an empty partition");
    }

    #[test]
    fn a_stripped_elf_is_recognized_by_the_rest_of_its_start() {
        for machine in [0x5e, 0xf3] {
            let elf = [&ELF_START[..], &[4, 0, machine, 0]].concat();
            assert_eq!(Framing::of(&elf), Some(Framing::Elf));
            // After other cuts the rest is the start of a raw image by chance, or is not
            // recognized.
            for cut in 3..elf.len() {
                let missing = &ELF_START[..cut.min(16)];
                let known = [4, 12].contains(&cut).then_some(Framing::StrippedElf { missing });
                assert_eq!(Framing::of(&elf[cut..]), known, "{cut}");
            }
        }
        for other in [[4, 0, 0x28, 0], [2, 0, 0xf3, 0], [4, 0, 0xf3, 1]] {
            for cut in WRONG_CUTS {
                assert_eq!(Framing::of(&[&ELF_START[cut..], &other].concat()), None);
            }
        }
    }

    #[test]
    fn a_start_that_is_too_short_is_not_recognized() {
        let elf = [&ELF_START[..], &[4, 0, 0xf3, 0]].concat();
        for start in [&elf[..3], &elf[4..19], &elf[12..19], &raw_start(1000, 0x0102)[..7], b""] {
            assert_eq!(Framing::of(start), None, "{start:?}");
        }
        assert_eq!(elf[4..].len(), DECISIVE_BYTES);
    }
}
