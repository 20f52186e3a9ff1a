//! The stored facts of a published version (contract §5.5).

use crate::artifacts::key::{ArtifactKey, ArtifactName};
use crate::artifacts::store::ArtifactFacts;
use crate::digest::Sha256Digest;
use crate::ids::ModelCode;
use crate::ids::UploadId;
use crate::ids::VersionText;
use crate::timestamp::Timestamp;

/// What a version row says about the five artifacts and the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareFacts {
    /// `firmware.bin`
    pub bin: ArtifactFacts,
    /// `firmware.elf`; its digest is the build id.
    pub elf: ArtifactFacts,
    /// `firmware.map`
    pub map: ArtifactFacts,
    /// `sdkconfig`
    pub sdkconfig: ArtifactFacts,
    /// `version.json`
    pub version_json: ArtifactFacts,
    /// Name of the chip, or its id as four hex digits.
    pub chip: String,
    pub project_name: String,
    /// ESP-IDF version of the image.
    pub idf_version: String,
    /// Anti-rollback counter of the image.
    pub secure_version: u32,
    /// The commit which the pipeline built, from `version.json`.
    pub git_commit: Option<String>,
}

impl FirmwareFacts {
    pub const fn of(&self, artifact: ArtifactName) -> ArtifactFacts {
        match artifact {
            ArtifactName::Bin => self.bin,
            ArtifactName::Elf => self.elf,
            ArtifactName::Map => self.map,
            ArtifactName::Sdkconfig => self.sdkconfig,
            ArtifactName::VersionJson => self.version_json,
        }
    }

    /// The SHA-256 of the ELF, the identity of the build for symbolication.
    pub const fn build_id(&self) -> Sha256Digest {
        self.elf.sha256
    }

    /// Whether all five hashes are equal.
    pub fn identical(&self, other: &Self) -> bool {
        ArtifactName::ALL.into_iter().all(|name| self.of(name).sha256 == other.of(name).sha256)
    }
}

/// A version row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareVersion {
    pub id: i64,
    pub model_id: i64,
    pub model: ModelCode,
    pub version: VersionText,
    pub facts: FirmwareFacts,
    /// When it was last uploaded.
    pub uploaded_at: Timestamp,
    /// The upload from whose staged objects the set is read, until it is settled.
    pub staging: Option<UploadId>,
}

impl FirmwareVersion {
    /// The key from which an artifact is read now: staged, or final.
    pub fn key(&self, artifact: ArtifactName) -> ArtifactKey {
        match &self.staging {
            Some(upload) => ArtifactKey::Staging { upload: upload.clone(), artifact },
            None => self.final_key(artifact),
        }
    }

    /// The key from which an artifact is read once the set is settled.
    pub fn final_key(&self, artifact: ArtifactName) -> ArtifactKey {
        ArtifactKey::Firmware { model: self.model.clone(), version: self.version.clone(), artifact }
    }
}
