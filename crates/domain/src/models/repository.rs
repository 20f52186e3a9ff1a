//! Rows of device models.

use async_trait::async_trait;

use crate::audit::Change;
use crate::error::RepositoryError;
use crate::ids::ModelCode;
use crate::models::model::{DeviceModel, ModelSummary, ModelUpdate, NewModel};

/// Keeps device models.
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

    /// The model of this id.
    async fn find(&self, id: i64) -> Result<Option<DeviceModel>, RepositoryError>;

    /// The model of this code.
    async fn find_by_code(&self, code: &ModelCode) -> Result<Option<DeviceModel>, RepositoryError>;

    /// Changes a model; `None` when there is none of this id.
    async fn update(
        &self,
        id: i64,
        update: ModelUpdate,
        change: &Change,
    ) -> Result<Option<DeviceModel>, RepositoryError>;

    /// Deletes a model and its versions, and queues the deletes of their objects.
    async fn delete(&self, id: i64, change: &Change) -> Result<ModelDeletion, RepositoryError>;
}

/// How the deletion of a model ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelDeletion {
    /// It was deleted.
    Deleted,
    /// There is no such model.
    NotFound,
    /// Devices refer to it; nothing was changed.
    InUse {
        /// How many.
        devices: i64,
    },
}
