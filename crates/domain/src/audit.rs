//! Who did what (contract §3.8).

use crate::clock::Clock;
use crate::timestamp::Timestamp;

/// What kind of caller acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    /// A person or a pipeline with a token of the identity provider, or the local user.
    User,
    /// A device.
    Device,
    /// Coredock itself.
    System,
}

impl ActorKind {
    /// The text in the audit table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Device => "device",
            Self::System => "system",
        }
    }
}

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The `sub` of the token.
    pub subject: String,
    /// A name for people, if one is known.
    pub name: Option<String>,
    pub kind: ActorKind,
}

/// Who caused a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub actor: Actor,
    /// The id of the request (contract §1.5).
    pub correlation_id: String,
    /// The address of the caller, after trusted proxies.
    pub remote_address: Option<String>,
}

impl Origin {
    /// The origin of a change which Coredock itself makes, for instance by retention.
    pub fn system(task: &str) -> Self {
        Self {
            actor: Actor { subject: "coredock".into(), name: None, kind: ActorKind::System },
            correlation_id: task.into(),
            remote_address: None,
        }
    }
}

/// When a change is made, and by whom. Every repository method with this parameter writes the audit
/// record in the same transaction as the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub at: Timestamp,
    pub origin: Origin,
}

/// The audited actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditAction {
    ModelCreated,
    ModelUpdated,
    ModelDeleted,
    DeviceCreated,
    DeviceUpdated,
    DeviceDeleted,
    /// A bundle was published.
    FirmwareUploaded,
    /// A stored version became current.
    FirmwareActivated,
    FirmwareDeleted,
    RomElfUploaded,
    RomElfDeleted,
    /// A dump was received.
    CoredumpCreated,
    /// A dump was received once more, or is to be parsed again.
    CoredumpUpdated,
    CoredumpDeleted,
}

impl AuditAction {
    /// The text in the audit table and the log, `target.verb`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ModelCreated => "model.created",
            Self::ModelUpdated => "model.updated",
            Self::ModelDeleted => "model.deleted",
            Self::DeviceCreated => "device.created",
            Self::DeviceUpdated => "device.updated",
            Self::DeviceDeleted => "device.deleted",
            Self::FirmwareUploaded => "firmware.uploaded",
            Self::FirmwareActivated => "firmware.activated",
            Self::FirmwareDeleted => "firmware.deleted",
            Self::RomElfUploaded => "rom_elf.uploaded",
            Self::RomElfDeleted => "rom_elf.deleted",
            Self::CoredumpCreated => "coredump.created",
            Self::CoredumpUpdated => "coredump.updated",
            Self::CoredumpDeleted => "coredump.deleted",
        }
    }

    pub const fn target_type(self) -> &'static str {
        match self {
            Self::ModelCreated | Self::ModelUpdated | Self::ModelDeleted => "DeviceModel",
            Self::DeviceCreated | Self::DeviceUpdated | Self::DeviceDeleted => "Device",
            Self::FirmwareUploaded | Self::FirmwareActivated | Self::FirmwareDeleted => {
                "FirmwareVersion"
            }
            Self::RomElfUploaded | Self::RomElfDeleted => "RomElf",
            Self::CoredumpCreated | Self::CoredumpUpdated | Self::CoredumpDeleted => "Coredump",
        }
    }
}

impl Change {
    pub fn now(clock: &dyn Clock, origin: Origin) -> Self {
        Self { at: clock.now(), origin }
    }

    /// Writes the log line that goes with the audit record, once the change is committed.
    pub fn log(&self, action: AuditAction, target_id: impl std::fmt::Display) {
        tracing::info!(
            target: "audit",
            action = action.as_str(),
            target_type = action.target_type(),
            target_id = %target_id,
            subject = %self.origin.actor.subject,
            kind = self.origin.actor.kind.as_str(),
            remote_address = self.origin.remote_address.as_deref(),
            outcome = "success",
            "{}", action.as_str(),
        );
    }
}
