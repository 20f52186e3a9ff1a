//! A firmware and a dump of its crash.

use std::fmt::{Display, Formatter};
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use coredock_domain::coredumps::body::unwrap;
use coredock_domain::digest::Sha256Digest;
use coredock_symbolizer::{Firmware, Index, build_index, decode};

use super::Workload;
use crate::bundles::bundle_of;
use crate::report::{mib, per_second};
use crate::symbolize;
use coredock_testkit::fixtures::Architecture;

const VERSION: &str = "1.0.0";
/// Files of padding, for an ELF of about 4 MB.
const PADDING: usize = 58;
/// The newest version of raw images.
const RAW: u16 = 0x0104;
/// A byte of erased flash.
const ERASED: u8 = 0xff;
/// Bytes at the end of a dump in which all dumps differ; decoding does not read them.
const MARK: usize = size_of::<usize>();
/// Dumps decoded for one figure.
const DECODED: usize = 2000;

pub(super) struct Build {
    elf: Vec<u8>,
    chip: &'static str,
    dump: Vec<u8>,
    /// Bytes of the dump before it is filled up.
    written: usize,
    tasks: usize,
}

impl Build {
    /// Builds the program and crashes it.
    pub(super) fn make(directory: &Path, workload: Workload) -> Result<Self> {
        let Workload { architecture, dump_bytes, .. } = workload;
        let generated = symbolize::crashed(directory, architecture, PADDING)?;
        let case = generated.cases.first().context("the program has no crash")?;
        let mut dump = case.snapshot.raw(RAW);
        let written = dump.len();
        dump.resize(dump_bytes.max(written + MARK), ERASED);
        let chip = match architecture {
            Architecture::Riscv => "esp32c6",
            Architecture::Xtensa => "esp32s3",
        };
        let (elf, tasks) = (fs::read(generated.elf)?, case.snapshot.tasks.len());
        Ok(Self { elf, chip, dump, written, tasks })
    }

    pub(super) fn bundle(&self) -> Vec<u8> {
        bundle_of(VERSION, self.elf.clone(), 64 << 10)
    }

    /// The path to which a device sends dumps.
    pub(super) fn path(&self, key: &str) -> String {
        let chip = self.chip;
        format!("/api/iot/coredump?device_key={key}&chip={chip}&firmware_version={VERSION}")
    }

    pub(super) fn dump(&self) -> &[u8] {
        &self.dump
    }

    /// Gives a dump another digest without changing its report.
    pub(super) fn mark(dump: &mut [u8], number: usize) {
        if let Some(mark) = dump.last_chunk_mut() {
            *mark = number.to_be_bytes();
        }
    }

    /// Dumps which this thread unwraps, decodes with an open index and writes as text and as JSON
    /// per second.
    pub(super) fn decoded_per_second(&self) -> Result<f64> {
        let index = build_index(&self.elf, Sha256Digest::of(&self.elf))?;
        let firmware = Firmware::of_index(Index::open(index.into())?);
        let body = Bytes::from(self.dump.clone());
        let began = Instant::now();
        for _ in 0..DECODED {
            let report = decode(&unwrap(&body).bytes, Some(&firmware))?;
            let (text, structured) = (report.text(), report.structured().to_string());
            ensure!(
                report.signature().is_some(),
                "the report has no signature:\n{text}{structured}"
            );
        }
        per_second(DECODED, began.elapsed())
    }
}

impl Display for Build {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let (elf, dump) = (mib(self.elf.len() as u64), self.dump.len());
        let (chip, tasks, written) = (self.chip, self.tasks, self.written);
        write!(f, "{chip}: ELF of {elf:.1} MiB, dumps of {tasks} tasks, {written} bytes in {dump}")
    }
}
