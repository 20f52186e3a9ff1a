//! The port to the rows of device models.

use async_trait::async_trait;

use crate::audit::Change;
use crate::error::RepositoryError;
use crate::ids::ModelCode;
use crate::models::model::{DeviceModel, ModelSummary, ModelUpdate, NewModel};

/// Rows of device models. A method which returns `Option` returns `None` when the model does not
/// exist.
#[async_trait]
pub trait ModelRepository: Send + Sync {
    /// All models, by code in byte order.
    async fn list(&self) -> Result<Vec<ModelSummary>, RepositoryError>;

    /// Adds a model. `Conflict` when the code is taken.
    async fn create(
        &self,
        model: NewModel,
        change: &Change,
    ) -> Result<DeviceModel, RepositoryError>;

    async fn find(&self, id: i64) -> Result<Option<DeviceModel>, RepositoryError>;

    async fn find_by_code(&self, code: &ModelCode) -> Result<Option<DeviceModel>, RepositoryError>;

    async fn update(
        &self,
        id: i64,
        update: ModelUpdate,
        change: &Change,
    ) -> Result<Option<DeviceModel>, RepositoryError>;

    /// Deletes a model and its versions, and queues the deletes of their objects.
    async fn delete(&self, id: i64, change: &Change) -> Result<ModelDeletion, RepositoryError>;
}

/// The outcome of deleting a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelDeletion {
    Deleted,
    NotFound,
    /// Devices refer to the model; nothing was changed.
    InUse {
        devices: i64,
    },
}
