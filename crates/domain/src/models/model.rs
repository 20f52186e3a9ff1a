//! Device models.

use crate::ids::ModelCode;
use crate::timestamp::Timestamp;

/// One line of the list of models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSummary {
    /// Row id.
    pub id: i64,
    /// Unique code.
    pub code: ModelCode,
    /// Name for people.
    pub name: String,
    /// The version offered to its devices.
    pub firmware_version: Option<String>,
    /// Whether device configurations are validated.
    pub has_config_schema: bool,
    /// How many devices belong to it.
    pub device_count: i64,
}

/// A model with everything known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceModel {
    /// The line of the list.
    pub summary: ModelSummary,
    /// JSON Schema of device configurations, as text.
    pub config_schema: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What a model is created from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewModel {
    /// Unique code.
    pub code: ModelCode,
    /// 1–255 characters.
    pub name: String,
    /// Text of a schema that compiles.
    pub config_schema: Option<String>,
}

/// What may change in a model; `None` leaves it as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelUpdate {
    /// The new name.
    pub name: Option<String>,
    /// The new schema; `Some(None)` clears it.
    pub config_schema: Option<Option<String>>,
}
