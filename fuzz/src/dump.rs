//! Any bytes as a dump, decoded without a firmware, with a firmware and with its index, the last
//! two also with ELFs of ROMs. Firmware and index must give the same report.

use bytes::Bytes;
use coredock_domain::digest::Sha256Digest;
use coredock_symbolizer::{Firmware, Index, Rom, build_index, decode};

const MAX_REPORT_BYTES: usize = 1 << 20;

/// The ELF of a ROM, with the name of its file, which contains the chip and its revision.
pub struct RomFile {
    pub name: &'static str,
    pub elf: &'static [u8],
}

/// A firmware, its index, and the ROMs from which a decoder chooses.
pub struct Device {
    elf: &'static [u8],
    index: Index,
    roms: Vec<Rom<'static>>,
}

impl Device {
    pub fn new(elf: &'static [u8], roms: &[RomFile]) -> Self {
        let index = build_index(elf, Sha256Digest::of(elf)).expect("the fixture has an index");
        let index = Index::open(index.into()).expect("the index can be opened");
        let rom = |rom: &RomFile| Rom::of_file(rom.name, rom.elf);
        let roms = roms.iter().map(rom).collect::<Result<_, _>>().expect("the fixtures are ELFs");
        Self { elf, index, roms }
    }

    /// Decodes the input in every way.
    pub fn decode(&self, bytes: &[u8]) {
        let dump = Bytes::copy_from_slice(bytes);
        let _ = decode(&dump, None);
        self.compare(&dump, &[]);
        self.compare(&dump, &self.roms);
    }

    fn compare(&self, dump: &Bytes, roms: &[Rom<'_>]) {
        let by_elf = Firmware::of_elf(self.elf).expect("the fixture is a firmware");
        let by_elf = decode(dump, Some(&by_elf.with_roms(roms)));
        let by_index = Firmware::of_index(self.index.clone()).with_roms(roms);
        assert_eq!(by_elf, decode(dump, Some(&by_index)));
        if let Ok(report) = by_elf {
            assert!(report.text().len() <= MAX_REPORT_BYTES);
            let _ = report.structured().to_string();
        }
    }
}
