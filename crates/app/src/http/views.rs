//! What answers look like.

pub mod coredumps;
pub mod crash_groups;

use coredock_domain::devices::device::{Device, DeviceSummary, client_id};
use coredock_domain::firmware::FirmwareVersion;
use coredock_domain::firmware::repository::ListedVersion;
use coredock_domain::models::model::{DeviceModel, ModelSummary};
use coredock_domain::rom_elfs::rom_elf::RomElf;
use coredock_domain::symbolication::index_jobs::IndexStatus;
use serde::Serialize;
use utoipa::ToSchema;

/// One line of the list of models.
#[derive(Serialize, ToSchema)]
pub struct ModelSummaryView {
    id: i64,
    code: String,
    name: String,
    firmware_version: Option<String>,
    has_config_schema: bool,
    device_count: i64,
}

impl From<ModelSummary> for ModelSummaryView {
    fn from(model: ModelSummary) -> Self {
        Self {
            id: model.id,
            code: model.code.to_string(),
            name: model.name,
            firmware_version: model.firmware_version,
            has_config_schema: model.has_config_schema,
            device_count: model.device_count,
        }
    }
}

/// The list of models.
#[derive(Serialize, ToSchema)]
pub struct ModelListView {
    count: usize,
    device_models: Vec<ModelSummaryView>,
}

impl From<Vec<ModelSummary>> for ModelListView {
    fn from(models: Vec<ModelSummary>) -> Self {
        let device_models: Vec<_> = models.into_iter().map(Into::into).collect();
        Self { count: device_models.len(), device_models }
    }
}

/// A model.
#[derive(Serialize, ToSchema)]
pub struct ModelView {
    #[serde(flatten)]
    summary: ModelSummaryView,
    config_schema: Option<String>,
    created_at: String,
    updated_at: String,
}

impl From<DeviceModel> for ModelView {
    fn from(model: DeviceModel) -> Self {
        Self {
            summary: model.summary.into(),
            config_schema: model.config_schema,
            created_at: model.created_at.to_string(),
            updated_at: model.updated_at.to_string(),
        }
    }
}

/// One line of the list of devices.
#[derive(Serialize, ToSchema)]
pub struct DeviceSummaryView {
    id: i64,
    key: String,
    device_model_id: i64,
    active: bool,
    device_name: Option<String>,
    device_entity_id: Option<String>,
    enable_ota: Option<bool>,
    rotation_state: &'static str,
    secret_created_at: Option<String>,
    last_coredump_at: Option<String>,
}

impl From<DeviceSummary> for DeviceSummaryView {
    fn from(device: DeviceSummary) -> Self {
        Self {
            id: device.id,
            key: device.key.to_string(),
            device_model_id: device.device_model_id,
            active: device.active,
            device_name: device.device_name,
            device_entity_id: device.device_entity_id,
            enable_ota: device.enable_ota,
            rotation_state: device.rotation_state.as_str(),
            secret_created_at: device.secret_created_at.map(|time| time.to_string()),
            last_coredump_at: device.last_coredump_at.map(|time| time.to_string()),
        }
    }
}

/// The list of devices.
#[derive(Serialize, ToSchema)]
pub struct DeviceListView {
    count: usize,
    devices: Vec<DeviceSummaryView>,
}

impl From<Vec<DeviceSummary>> for DeviceListView {
    fn from(devices: Vec<DeviceSummary>) -> Self {
        let devices: Vec<_> = devices.into_iter().map(Into::into).collect();
        Self { count: devices.len(), devices }
    }
}

/// The model of a device.
#[derive(Serialize, ToSchema)]
pub struct ModelOfDeviceView {
    id: i64,
    code: String,
    name: String,
    firmware_version: Option<String>,
}

/// A device.
#[derive(Serialize, ToSchema)]
pub struct DeviceView {
    id: i64,
    key: String,
    device_model_id: i64,
    device_model: ModelOfDeviceView,
    active: bool,
    config: String,
    device_name: Option<String>,
    device_entity_id: Option<String>,
    enable_ota: Option<bool>,
    rotation_state: &'static str,
    client_id: String,
    secret_created_at: Option<String>,
    last_rotation_attempt_at: Option<String>,
    last_rotation_completed_at: Option<String>,
    created_at: String,
    updated_at: String,
    config_warnings: Vec<String>,
}

impl From<Device> for DeviceView {
    fn from(device: Device) -> Self {
        let config_warnings = device.config.warnings();
        Self {
            id: device.id,
            key: device.key.to_string(),
            device_model_id: device.model.id,
            active: device.active,
            device_name: device.config.device_name,
            device_entity_id: device.config.device_entity_id,
            enable_ota: device.config.enable_ota,
            config: device.config.text,
            rotation_state: device.rotation_state.as_str(),
            client_id: client_id(&device.model.code, &device.key),
            secret_created_at: device.secret_created_at.map(|time| time.to_string()),
            last_rotation_attempt_at: device.last_rotation_attempt_at.map(|time| time.to_string()),
            last_rotation_completed_at: device
                .last_rotation_completed_at
                .map(|time| time.to_string()),
            created_at: device.created_at.to_string(),
            updated_at: device.updated_at.to_string(),
            config_warnings,
            device_model: ModelOfDeviceView {
                id: device.model.id,
                code: device.model.code.to_string(),
                name: device.model.name,
                firmware_version: device.model.firmware_version,
            },
        }
    }
}

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
    /// Of the index of its ELF: `none`, `building`, `ready`, `failed`.
    index_status: &'static str,
    /// Why it failed; null: it did not.
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

/// A ROM ELF.
#[derive(Serialize, ToSchema)]
pub struct RomElfView {
    id: i64,
    chip: &'static str,
    name: String,
    size: u64,
    sha256: String,
    uploaded_at: String,
}

impl From<RomElf> for RomElfView {
    fn from(rom_elf: RomElf) -> Self {
        Self {
            id: rom_elf.id,
            chip: rom_elf.chip.name(),
            name: rom_elf.name.to_string(),
            size: rom_elf.facts.size,
            sha256: rom_elf.facts.sha256.to_string(),
            uploaded_at: rom_elf.uploaded_at.to_string(),
        }
    }
}

/// The ROM ELFs, by chip and name.
#[derive(Serialize, ToSchema)]
pub struct RomElfListView {
    count: usize,
    rom_elfs: Vec<RomElfView>,
}

impl From<Vec<RomElf>> for RomElfListView {
    fn from(rom_elfs: Vec<RomElf>) -> Self {
        let rom_elfs: Vec<_> = rom_elfs.into_iter().map(Into::into).collect();
        Self { count: rom_elfs.len(), rom_elfs }
    }
}

/// What a device is told about its firmware.
#[derive(Serialize, ToSchema)]
pub struct OfferedVersionView {
    /// Null when there is none.
    pub firmware_version: Option<String>,
    /// Length of the image in bytes.
    pub size: Option<u64>,
    /// SHA-256 of the image.
    pub sha256: Option<String>,
    /// SHA-256 of its ELF.
    pub elf_sha256: Option<String>,
    /// Seconds until the device should ask again; keeps the body from being all texts.
    pub next_poll_s: u64,
}

/// What a publication came to.
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
    /// SHA-256 of its ELF.
    pub elf_sha256: String,
}

/// The current version of a model.
#[derive(Serialize, ToSchema)]
pub struct CurrentVersionView {
    /// Code of the model.
    pub code: String,
    /// Null when there is none.
    pub firmware_version: Option<String>,
}

/// The version that was made current.
#[derive(Serialize, ToSchema)]
pub struct ActivatedView {
    /// Code of the model.
    pub code: String,
    /// The version.
    pub firmware_version: String,
    /// Row id of the model.
    pub id: i64,
}

/// Liveness.
#[derive(Serialize, ToSchema)]
pub struct LivenessView {
    /// Always true.
    pub ready: bool,
    /// `alive`
    pub status: &'static str,
}

/// The envelope of every error (contract §2.1).
#[derive(Serialize, ToSchema)]
pub struct ErrorView {
    error: String,
    code: String,
    details: serde_json::Value,
    #[serde(rename = "correlationId")]
    correlation_id: String,
}
