//! The use cases of device models.

pub mod model;
pub mod repository;

use std::sync::Arc;

use crate::audit::{Change, Origin};
use crate::clock::Clock;
use crate::error::RepositoryError;
use crate::ids::ModelCode;
use crate::models::model::{DeviceModel, ModelSummary, ModelUpdate, NewModel};
use crate::models::repository::ModelDeletion;
use crate::models::repository::ModelRepository;
use crate::wakeup::Wakeup;

/// Device models.
#[derive(Clone)]
pub struct DeviceModels {
    rows: Arc<dyn ModelRepository>,
    clock: Arc<dyn Clock>,
    outbox: Arc<dyn Wakeup>,
}

impl DeviceModels {
    /// Builds the use cases over their ports.
    pub fn new(
        rows: Arc<dyn ModelRepository>,
        clock: Arc<dyn Clock>,
        outbox: Arc<dyn Wakeup>,
    ) -> Self {
        Self { rows, clock, outbox }
    }

    /// All models, by code.
    pub async fn list(&self) -> Result<Vec<ModelSummary>, RepositoryError> {
        self.rows.list().await
    }

    /// Adds a model; `Conflict` when its code is taken.
    pub async fn create(
        &self,
        model: NewModel,
        origin: Origin,
    ) -> Result<DeviceModel, RepositoryError> {
        self.rows.create(model, &self.change(origin)).await
    }

    /// The model of this id.
    pub async fn find(&self, id: i64) -> Result<Option<DeviceModel>, RepositoryError> {
        self.rows.find(id).await
    }

    /// The model of this code.
    pub async fn find_by_code(
        &self,
        code: &ModelCode,
    ) -> Result<Option<DeviceModel>, RepositoryError> {
        self.rows.find_by_code(code).await
    }

    /// Changes a model; `None` when there is none of this id.
    pub async fn update(
        &self,
        id: i64,
        update: ModelUpdate,
        origin: Origin,
    ) -> Result<Option<DeviceModel>, RepositoryError> {
        self.rows.update(id, update, &self.change(origin)).await
    }

    /// Deletes a model no device refers to, with its versions; their objects follow.
    pub async fn delete(&self, id: i64, origin: Origin) -> Result<ModelDeletion, RepositoryError> {
        let deletion = self.rows.delete(id, &self.change(origin)).await?;
        self.outbox.wake();
        Ok(deletion)
    }

    fn change(&self, origin: Origin) -> Change {
        Change { at: self.clock.now(), origin }
    }
}
