//! Answers about models.

use coredock_domain::models::model::{DeviceModel, ModelSummary};
use serde::Serialize;
use utoipa::ToSchema;

/// An entry of the list of models.
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
