//! Device models.

use crate::ids::ModelCode;
use crate::timestamp::Timestamp;

/// An entry of the list of models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSummary {
    pub id: i64,
    pub code: ModelCode,
    /// Name for people.
    pub name: String,
    /// The current version.
    pub firmware_version: Option<String>,
    /// Whether device configurations are validated.
    pub has_config_schema: bool,
    pub device_count: i64,
}

/// All columns of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceModel {
    pub summary: ModelSummary,
    /// JSON Schema of device configurations, as text.
    pub config_schema: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A model to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewModel {
    pub code: ModelCode,
    /// 1–255 characters.
    pub name: String,
    /// The text of a schema that compiles.
    pub config_schema: Option<String>,
}

/// The new values of a model; `None` leaves a value as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelUpdate {
    pub name: Option<String>,
    /// `Some(None)` removes the schema.
    pub config_schema: Option<Option<String>>,
}
