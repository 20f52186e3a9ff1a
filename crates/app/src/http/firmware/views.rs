//! Answers about firmware.

use coredock_domain::firmware::FirmwareVersion;
use coredock_domain::firmware::repository::ListedVersion;
use coredock_domain::symbolication::index_jobs::IndexStatus;
use serde::Serialize;
use utoipa::ToSchema;

/// One version of a model.
#[derive(Serialize, ToSchema)]
pub struct VersionView {
    id: i64,
    version: String,
    current: bool,
    size: u64,
    sha256: String,
    elf_sha256: String,
    chip: String,
    project_name: String,
    idf_version: String,
    secure_version: u32,
    git_commit: Option<String>,
    uploaded_at: String,
    pending_coredumps: i64,
    /// State of the index of the ELF: `none`, `building`, `ready` or `failed`.
    index_status: &'static str,
    /// Why the index could not be built; null unless the state is `failed`.
    index_error: Option<String>,
}

impl From<ListedVersion> for VersionView {
    fn from(listed: ListedVersion) -> Self {
        let (index_status, index_error) = match listed.index {
            IndexStatus::None => ("none", None),
            IndexStatus::Building => ("building", None),
            IndexStatus::Ready => ("ready", None),
            IndexStatus::Failed(reason) => ("failed", Some(reason)),
        };
        let FirmwareVersion { id, version, facts, uploaded_at, .. } = listed.version;
        Self {
            id,
            version: version.to_string(),
            current: listed.current,
            size: facts.bin.size,
            sha256: facts.bin.sha256.to_string(),
            elf_sha256: facts.build_id().to_string(),
            chip: facts.chip,
            project_name: facts.project_name,
            idf_version: facts.idf_version,
            secure_version: facts.secure_version,
            git_commit: facts.git_commit,
            uploaded_at: uploaded_at.to_string(),
            pending_coredumps: listed.pending_coredumps,
            index_status,
            index_error,
        }
    }
}

/// The versions of a model, newest first.
#[derive(Serialize, ToSchema)]
pub struct VersionListView {
    count: usize,
    firmware_versions: Vec<VersionView>,
}

impl From<Vec<ListedVersion>> for VersionListView {
    fn from(versions: Vec<ListedVersion>) -> Self {
        let firmware_versions: Vec<_> = versions.into_iter().map(Into::into).collect();
        Self { count: firmware_versions.len(), firmware_versions }
    }
}

/// The version offered to a device.
#[derive(Serialize, ToSchema)]
pub struct OfferedVersionView {
    /// Null if the model has no current version.
    pub firmware_version: Option<String>,
    /// Length of the image in bytes.
    pub size: Option<u64>,
    /// SHA-256 of the image.
    pub sha256: Option<String>,
    /// SHA-256 of the ELF.
    pub elf_sha256: Option<String>,
    /// Seconds until the next poll. As a number it makes the body safe for devices (contract §2.4).
    pub next_poll_s: u64,
}

/// The outcome of a publication.
#[derive(Serialize, ToSchema)]
pub struct UploadedView {
    /// Code of the model.
    pub code: String,
    /// The version of the image.
    pub firmware_version: String,
    /// Row id of the model.
    pub id: i64,
    /// `created`, `unchanged` or `replaced`.
    pub result: &'static str,
    /// Length of the image in bytes.
    pub size: u64,
    /// SHA-256 of the image.
    pub sha256: String,
    /// SHA-256 of the ELF.
    pub elf_sha256: String,
}

/// The current version of a model.
#[derive(Serialize, ToSchema)]
pub struct CurrentVersionView {
    /// Code of the model.
    pub code: String,
    /// Null if the model has no current version.
    pub firmware_version: Option<String>,
}

/// The version that was made current.
#[derive(Serialize, ToSchema)]
pub struct ActivatedView {
    /// Code of the model.
    pub code: String,
    /// The version, which is current now.
    pub firmware_version: String,
    /// Row id of the model.
    pub id: i64,
}
