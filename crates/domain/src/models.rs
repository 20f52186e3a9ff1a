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
use crate::wakeup::{Wakeup, Worker};

pub struct ModelPorts {
    pub models: Arc<dyn ModelRepository>,
    pub clock: Arc<dyn Clock>,
    pub wakeup: Arc<dyn Wakeup>,
}

/// The use cases of device models.
#[derive(Clone)]
pub struct DeviceModels {
    ports: Arc<ModelPorts>,
}

impl DeviceModels {
    pub fn new(ports: ModelPorts) -> Self {
        Self { ports: Arc::new(ports) }
    }

    /// All models, by code.
    pub async fn list(&self) -> Result<Vec<ModelSummary>, RepositoryError> {
        self.ports.models.list().await
    }

    /// Adds a model; `Conflict` when its code is taken.
    pub async fn create(
        &self,
        model: NewModel,
        origin: Origin,
    ) -> Result<DeviceModel, RepositoryError> {
        let change = Change::now(&*self.ports.clock, origin);
        self.ports.models.create(model, &change).await
    }

    pub async fn find(&self, id: i64) -> Result<Option<DeviceModel>, RepositoryError> {
        self.ports.models.find(id).await
    }

    pub async fn find_by_code(
        &self,
        code: &ModelCode,
    ) -> Result<Option<DeviceModel>, RepositoryError> {
        self.ports.models.find_by_code(code).await
    }

    /// Changes a model; `None` when it does not exist.
    pub async fn update(
        &self,
        id: i64,
        update: ModelUpdate,
        origin: Origin,
    ) -> Result<Option<DeviceModel>, RepositoryError> {
        let change = Change::now(&*self.ports.clock, origin);
        self.ports.models.update(id, update, &change).await
    }

    /// Deletes a model to which no device refers, and its versions, whose objects the outbox
    /// deletes.
    pub async fn delete(&self, id: i64, origin: Origin) -> Result<ModelDeletion, RepositoryError> {
        let change = Change::now(&*self.ports.clock, origin);
        let deletion = self.ports.models.delete(id, &change).await?;
        self.ports.wakeup.wake(Worker::Outbox);
        Ok(deletion)
    }
}
