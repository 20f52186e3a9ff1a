//! Temporary files for bodies that are too large for memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::{RunningSha256, Sha256Digest};

/// The directory in which temporary files are created.
#[derive(Debug, Clone)]
pub struct SpoolDirectory {
    path: PathBuf,
}

impl SpoolDirectory {
    /// `path` must exist and should be on the disk of the data, not in memory.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// A new file without a name: it is removed when its last handle is closed, also by a crash.
    pub fn create(&self) -> io::Result<SpoolWriter> {
        Ok(SpoolWriter { file: tempfile::tempfile_in(&self.path)?, hash: RunningSha256::default() })
    }
}

/// A spooled file being written; hashes while writing.
pub struct SpoolWriter {
    file: File,
    hash: RunningSha256,
}

impl SpoolWriter {
    pub fn finish(self) -> SpooledFile {
        let (length, sha256) = self.hash.finish();
        SpooledFile { file: Arc::new(self.file), length, sha256 }
    }
}

impl Write for SpoolWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A complete spooled file of known length and hash. Clones share the file.
#[derive(Debug, Clone)]
pub struct SpooledFile {
    file: Arc<File>,
    length: u64,
    sha256: Sha256Digest,
}

impl SpooledFile {
    /// Length in bytes.
    pub const fn length(&self) -> u64 {
        self.length
    }

    pub const fn sha256(&self) -> Sha256Digest {
        self.sha256
    }

    /// A reader at the start of the file.
    pub fn reader(&self) -> SpoolReader {
        SpoolReader { file: Arc::clone(&self.file), position: 0, length: self.length }
    }
}

/// Reads a [`SpooledFile`] without moving the position of any other reader.
#[derive(Debug)]
pub struct SpoolReader {
    file: Arc<File>,
    position: u64,
    length: u64,
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let read = self.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for SpoolReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
