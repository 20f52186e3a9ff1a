//! What a device says it is (contract §3.4, §3.6).

use crate::audit::{Actor, ActorKind};
use crate::error::RepositoryError;
use crate::ids::{DeviceKey, ModelCode};

/// A device, before its row is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceClaim {
    pub key: DeviceKey,
    /// The model that its token names. `None` without authentication, where the key is all there is.
    pub model: Option<ModelCode>,
}

/// The token of a device names another model than its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token names another model than the one of the device")]
pub struct ForeignModel;

/// Why a device did not get what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error("the device does not exist")]
    UnknownDevice,
    #[error(transparent)]
    ForeignModel(#[from] ForeignModel),
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

impl DeviceClaim {
    /// A device that names itself, without authentication.
    pub const fn unproven(key: DeviceKey) -> Self {
        Self { key, model: None }
    }

    /// Reads the `azp` of a token, `iotdevice-{model code}-{device key}`; `None` for any other text.
    pub fn of_client(azp: &str) -> Option<Self> {
        // Neither a code nor a key contains a dash.
        let (model, key) = azp.strip_prefix("iotdevice-")?.split_once('-')?;
        Some(Self { key: DeviceKey::parse(key)?, model: Some(ModelCode::parse(model)?) })
    }

    /// Compares the claim with the model of the device's row. Everything a device gets or writes
    /// passes this check first, also what is answered from memory.
    pub fn check(&self, model_of_row: &ModelCode) -> Result<(), ForeignModel> {
        match &self.model {
            Some(claimed) if claimed != model_of_row => Err(ForeignModel),
            _ => Ok(()),
        }
    }

    /// The actor of audit records.
    pub fn actor(&self) -> Actor {
        Actor { subject: self.key.to_string(), name: None, kind: ActorKind::Device }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_client_id_names_a_device() {
        let claim = DeviceClaim::of_client("iotdevice-m_9-abcd2345").unwrap();
        assert_eq!(claim.key.as_str(), "abcd2345");
        assert_eq!(claim.model.unwrap().as_str(), "m_9");
        for other in [
            "",
            "iotdevice-",
            "iotdevice-m",
            "iotdevice-m-",
            "iotdevice--abcd2345",
            "iotdevice-M9-abcd2345",
            "iotdevice-m9-abc",
            "iotdevice-m9-abcd23456",
            "iotdevice-m9-ABCD2345",
            "iotdevice-m9-abcd2345\n",
            "iotdevice-m9-abcd2345-x",
            "xiotdevice-m9-abcd2345",
            "IOTDEVICE-m9-abcd2345",
            "coredock",
        ] {
            assert_eq!(DeviceClaim::of_client(other), None, "{other:?}");
        }
    }

    #[test]
    fn the_model_of_a_token_must_be_that_of_the_row() {
        let row = ModelCode::parse("demo").unwrap();
        let claim = |azp| DeviceClaim::of_client(azp).unwrap();
        assert_eq!(claim("iotdevice-demo-abcd2345").check(&row), Ok(()));
        assert_eq!(claim("iotdevice-other-abcd2345").check(&row), Err(ForeignModel));
        let unproven = DeviceClaim::unproven(DeviceKey::parse("abcd2345").unwrap());
        assert_eq!(unproven.check(&row), Ok(()));
    }
}
