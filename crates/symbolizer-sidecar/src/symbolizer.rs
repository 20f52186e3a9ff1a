//! [`Symbolizer`] over a sidecar.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use coredock_domain::Symbolizer;
use coredock_domain::symbolication::symbolizer::{
    CrashDump, CrashReport, SymbolicateCoredump, SymbolizerError,
};
use reqwest::Client;
use reqwest::redirect::Policy;
use rustix::fs::{Access, access};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::answer::{report, request_failed, timed_out};
use crate::endpoint::{Endpoint, SidecarSetupError};
use crate::job_files::{JobFiles, WriteJobError};
use crate::leftovers;
use crate::names::JobFile;

/// A reachable sidecar accepts a connection within this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of [`Symbolizer::is_ready`] (contract §14.1).
const READINESS_TIMEOUT: Duration = Duration::from_secs(2);

pub struct SidecarOptions {
    /// `http` or `https`; a trailing `/` makes no difference.
    pub url: String,
    /// The path that Coredock uses for the directory shared with the sidecar.
    pub directory: PathBuf,
    /// Time limit of one attempt, including the writing of its files.
    pub timeout: Duration,
}

pub struct SidecarSymbolizer {
    client: Client,
    endpoint: Endpoint,
    directory: PathBuf,
    timeout: Duration,
}

impl SidecarSymbolizer {
    /// Checks the URL and sets up the client. The service and the directory need not exist yet.
    pub fn new(options: SidecarOptions) -> Result<Self, SidecarSetupError> {
        let SidecarOptions { url, directory, timeout } = options;
        let endpoint = Endpoint::parse(&url)?;
        let mut client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            // Calls are rare: the sidecar would close a pooled connection before the next one.
            .pool_max_idle_per_host(0);
        if !endpoint.is_encrypted() {
            // Without TLS no certificates are needed, and the system may have none.
            client = client.tls_certs_only([]);
        }
        let client =
            client.build().map_err(|error| SidecarSetupError::Client { source: error.into() })?;
        Ok(Self { client, endpoint, directory, timeout })
    }

    /// Removes files of attempts that were last written before `written_before`, and returns how
    /// many. Fails if the directory cannot be read. If several processes share the directory,
    /// `written_before` must be further back than the longest attempt: older files of a running
    /// attempt are removed too.
    pub async fn clean_leftovers(&self, written_before: SystemTime) -> io::Result<usize> {
        let directory = self.directory.clone();
        spawn_blocking(move || leftovers::clean(&directory, written_before)).await?
    }

    async fn responds(&self) -> bool {
        self.client.get(self.endpoint.root()).send().await.is_ok()
    }
}

#[async_trait]
impl Symbolizer for SidecarSymbolizer {
    fn engine(&self) -> &'static str {
        "sidecar"
    }

    /// The service does not make structured reports.
    async fn preview(&self, _: &CrashDump) -> Result<Option<String>, SymbolizerError> {
        Ok(None)
    }

    async fn symbolicate(&self, job: SymbolicateCoredump) -> Result<CrashReport, SymbolizerError> {
        let started = Instant::now();
        let SymbolicateCoredump { dump, elf } = job;
        let CrashDump { coredump_id, model, chip, body, .. } = dump;
        let (core_file, elf_file) = (JobFile::Dump(coredump_id), JobFile::Elf(model, coredump_id));
        let url = self.endpoint.call(&core_file.name(), &elf_file.name(), &chip);

        let files = JobFiles::new(&self.directory, core_file, elf_file);
        // A slow or failing directory or store is not a fault of the engine, so the attempt does
        // not count.
        let write = async {
            let elf = elf.open().await?;
            files.write(body.bytes, elf).await.map_err(write_failed)
        };
        timeout(self.timeout, write).await.map_err(unavailable)??;

        let call =
            async { report(self.client.get(url).send().await.map_err(request_failed)?).await };
        let left = self.timeout.saturating_sub(started.elapsed());
        let text = timeout(left, call).await.unwrap_or_else(|_| Err(timed_out()))?;
        Ok(CrashReport { text, structured: None, signature: None })
    }

    async fn is_ready(&self) -> bool {
        let directory = self.directory.clone();
        let check = async {
            let usable = spawn_blocking(move || is_usable(&directory)).await.unwrap_or(false);
            usable && self.responds().await
        };
        timeout(READINESS_TIMEOUT, check).await.unwrap_or(false)
    }
}

fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SymbolizerError {
    SymbolizerError::Unavailable { source: source.into() }
}

/// A missing directory may come back; a directory without room for an ELF stays too small.
fn write_failed(error: WriteJobError) -> SymbolizerError {
    if error.is_out_of_space() {
        let reason = "the directory shared with the sidecar has no room for dump and ELF".into();
        return SymbolizerError::Failed { reason, source: Some(error.into()) };
    }
    unavailable(error)
}

/// Whether files can be created there, as far as can be checked without creating one.
fn is_usable(directory: &Path) -> bool {
    directory.is_dir() && access(directory, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_room_is_a_failed_attempt_and_a_missing_one_an_outage() {
        let failed = |kind: std::io::ErrorKind| {
            write_failed(WriteJobError::from(std::io::Error::from(kind)))
        };
        for full in [std::io::ErrorKind::StorageFull, std::io::ErrorKind::QuotaExceeded] {
            let error = failed(full);
            assert!(
                matches!(&error, SymbolizerError::Failed { reason, .. } if reason.contains("room"))
            );
        }
        for outage in [std::io::ErrorKind::NotFound, std::io::ErrorKind::PermissionDenied] {
            assert!(matches!(failed(outage), SymbolizerError::Unavailable { .. }));
        }
    }
}
