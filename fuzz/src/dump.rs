//! Any bytes as a dump: decoded with a firmware, its index and without either, and all of them with
//! ELFs of ROMs too. Both ways to a firmware give the same report.

use bytes::Bytes;
use coredock_domain::digest::Sha256Digest;
use coredock_symbolizer::{Firmware, Index, Rom, build_index, decode};

const LONGEST_REPORT: usize = 1 << 20;

/// A firmware, its index, and ROMs to choose from.
pub struct Device {
    elf: &'static [u8],
    index: Index,
    roms: Vec<Rom<'static>>,
}

impl Device {
    /// The ROMs are told by names of files.
    pub fn new(elf: &'static [u8], roms: &[(&'static str, &'static [u8])]) -> Self {
        let index = build_index(elf, Sha256Digest::of(elf)).expect("the fixture has an index");
        let index = Index::open(index.into()).expect("the index can be opened");
        let rom = |(name, elf): &(&'static str, &'static [u8])| Rom::of_file(name, elf);
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
            assert!(report.text().len() <= LONGEST_REPORT);
            let _ = report.structured().to_string();
        }
    }
}
