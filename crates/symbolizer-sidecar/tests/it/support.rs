//! A sidecar, the directory it shares, and the adapter between them.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use coredock_domain::Symbolizer;
use coredock_domain::artifacts::store::ArtifactStoreError;
use coredock_domain::artifacts::verified_reads::ArtifactBytes;
use coredock_domain::coredumps::body::{Container, Unwrapped};
use coredock_domain::coredumps::coredump::ParseErrorCode;
use coredock_domain::digest::Sha256Digest;
use coredock_domain::ids::ModelCode;
use coredock_domain::symbolication::symbolizer::{
    CrashDump, CrashReport, ElfFile, ElfSource, SymbolicateCoredump, SymbolizerError,
};
use coredock_symbolizer_sidecar::{SidecarOptions, SidecarSymbolizer};
use coredock_testkit::sidecar::{Reply, ScriptedSidecar};
use futures::StreamExt;
use futures::stream;
use tempfile::TempDir;

/// Longer than any test takes.
pub(crate) const AMPLE: Duration = Duration::from_mins(1);
/// For attempts that are to time out.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

pub(crate) struct Setting {
    pub(crate) shared: TempDir,
    pub(crate) sidecar: ScriptedSidecar,
    pub(crate) symbolizer: SidecarSymbolizer,
}

impl Setting {
    pub(crate) async fn new() -> Self {
        Self::with_timeout(AMPLE).await
    }

    pub(crate) async fn with_timeout(timeout: Duration) -> Self {
        let shared = tempfile::tempdir().unwrap();
        let sidecar = ScriptedSidecar::start(shared.path()).await;
        let symbolizer = symbolizer(sidecar.url(), shared.path(), timeout);
        Self { shared, sidecar, symbolizer }
    }

    /// One attempt for dump 17, after which no file may be left.
    pub(crate) async fn attempt(&self) -> Result<CrashReport, SymbolizerError> {
        let result = self.symbolizer.symbolicate(job(17, b"the elf")).await;
        assert_eq!(names(self.shared.path()), [""; 0]);
        result
    }

    /// The reason of an attempt that may be repeated. It must not contain the address of the
    /// sidecar.
    pub(crate) async fn failure(&self) -> String {
        match self.attempt().await {
            Err(SymbolizerError::Failed { reason, .. }) => {
                self.assert_hides_the_sidecar(&reason);
                reason
            }
            other => panic!("not a failure: {other:?}"),
        }
    }

    /// The reason of a final refusal, which the sidecar answers with `reply`.
    pub(crate) async fn refusal(&self, reply: Reply) -> String {
        self.sidecar.script([reply]);
        match self.attempt().await {
            Err(SymbolizerError::Rejected { code: ParseErrorCode::EngineRefused, reason }) => {
                self.assert_hides_the_sidecar(&reason);
                reason
            }
            other => panic!("not a refusal: {other:?}"),
        }
    }

    fn assert_hides_the_sidecar(&self, reason: &str) {
        let port = self.sidecar.url().rsplit(':').next().unwrap();
        let directory = self.shared.path().to_str().unwrap();
        for hidden in ["127.0.0.1", "localhost", "http:", "parse-coredump", port, directory] {
            assert!(!reason.contains(hidden), "{reason:?} shows {hidden:?}");
        }
    }
}

pub(crate) fn symbolizer(url: &str, directory: &Path, timeout: Duration) -> SidecarSymbolizer {
    let options = SidecarOptions { url: url.into(), directory: directory.to_owned(), timeout };
    SidecarSymbolizer::new(options).unwrap()
}

/// A job of the model `demo`.
pub(crate) fn job(id: i64, elf: &'static [u8]) -> SymbolicateCoredump {
    let bytes = Bytes::from(format!("dump {id}"));
    let body = Unwrapped { container: Container::Unknown, salvaged: false, bytes };
    let dump = CrashDump {
        coredump_id: id,
        model: ModelCode::parse("demo").unwrap(),
        firmware_version: "1.0.0".into(),
        chip: "esp32s3".into(),
        body,
    };
    SymbolicateCoredump {
        dump,
        elf: elf_of(elf.len(), elf.chunks(3).map(|piece| Ok(Bytes::from_static(piece))).collect()),
    }
}

/// An ELF with a recorded length of `size` bytes, which arrives in `pieces`.
pub(crate) fn elf_of(
    size: usize,
    pieces: Vec<Result<Bytes, ArtifactStoreError>>,
) -> Arc<dyn ElfSource> {
    OpenedOnce::of(size as u64, stream::iter(pieces).boxed())
}

/// An ELF that stalls after its first piece.
pub(crate) fn stalling_elf() -> Arc<dyn ElfSource> {
    let piece = stream::iter([Ok(Bytes::from_static(b"piece"))]);
    OpenedOnce::of(1000, piece.chain(stream::pending()).boxed())
}

/// An ELF that can be opened once.
struct OpenedOnce(Mutex<Option<ElfFile>>);

impl OpenedOnce {
    fn of(size: u64, bytes: ArtifactBytes) -> Arc<dyn ElfSource> {
        let sha256 = Sha256Digest::of(b"the recorded digest");
        Arc::new(Self(Mutex::new(Some(ElfFile { sha256, size, bytes }))))
    }
}

#[async_trait]
impl ElfSource for OpenedOnce {
    fn sha256(&self) -> Sha256Digest {
        Sha256Digest::of(b"the recorded digest")
    }

    async fn open(&self) -> Result<ElfFile, SymbolizerError> {
        self.0.lock().unwrap().take().ok_or(SymbolizerError::ElfMissing)
    }
}

/// The names in `directory`, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<_> = entries.map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

/// Waits until `directory` has exactly these names; panics after [`AMPLE`].
pub(crate) async fn wait_for_names(directory: &Path, expected: &[&str]) {
    let wait = async {
        while names(directory) != expected {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let found = tokio::time::timeout(AMPLE, wait).await;
    assert!(found.is_ok(), "{:?} instead of {expected:?}", names(directory));
}
