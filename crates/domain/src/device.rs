//! Devices.

use std::fmt;

use crate::clock::Entropy;
use crate::device_config::DeviceConfig;
use crate::model::ModelCode;
use crate::timestamp::Timestamp;

/// The key of a device: 8 characters. Fresh ones are Base32 in lower case; inputs may use all of
/// `a-z0-9` (contract §0.3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceKey(String);

impl DeviceKey {
    /// `None` when the text is no device key.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
        (text.len() == 8 && text.bytes().all(allowed)).then(|| Self(text.to_owned()))
    }

    /// A fresh key from 5 random bytes.
    pub fn random(entropy: &dyn Entropy) -> Self {
        const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes[3..]);
        let bits = u64::from_be_bytes(bytes);
        let digit = |index: u32| char::from(BASE32[(bits >> (35 - 5 * index) & 31) as usize]);
        Self((0..8).map(digit).collect())
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The id a device has at the identity provider: `iotdevice-{model}-{key}`.
pub fn client_id(model: &ModelCode, key: &DeviceKey) -> String {
    format!("iotdevice-{model}-{key}")
}

/// Where a device stands in the rotation of its secret (contract §15.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationState {
    /// Nothing to do.
    Ok,
    /// Waits for its turn.
    Queued,
    /// Is being rotated.
    Pending,
    /// Did not answer in time.
    Timeout,
}

impl RotationState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Queued, Self::Pending, Self::Timeout];

    /// The text on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Queued => "QUEUED",
            Self::Pending => "PENDING",
            Self::Timeout => "TIMEOUT",
        }
    }

    /// `None` when the text names no state.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// One line of the list of devices; never loads the configuration (I13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSummary {
    /// Row id.
    pub id: i64,
    /// Unique key.
    pub key: DeviceKey,
    /// Its model.
    pub device_model_id: i64,
    /// A mark for people; its endpoints ignore it.
    pub active: bool,
    /// `deviceName` of the configuration.
    pub device_name: Option<String>,
    /// `deviceEntityId` of the configuration.
    pub device_entity_id: Option<String>,
    /// `enableOTA` of the configuration.
    pub enable_ota: Option<bool>,
    /// Where it stands in the rotation of its secret.
    pub rotation_state: RotationState,
    /// When its secret was made.
    pub secret_created_at: Option<Timestamp>,
    /// When its newest dump came.
    pub last_coredump_at: Option<Timestamp>,
}

/// The model of a device, as its detail shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelOfDevice {
    /// Row id.
    pub id: i64,
    /// Unique code.
    pub code: ModelCode,
    /// Name for people.
    pub name: String,
    /// The version offered to the device.
    pub firmware_version: Option<String>,
}

/// A device with everything known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Row id.
    pub id: i64,
    /// Unique key.
    pub key: DeviceKey,
    /// Its model, for life.
    pub model: ModelOfDevice,
    /// A mark for people; its endpoints ignore it.
    pub active: bool,
    /// The stored configuration and what was taken from it.
    pub config: DeviceConfig,
    /// Where it stands in the rotation of its secret.
    pub rotation_state: RotationState,
    /// When its secret was made.
    pub secret_created_at: Option<Timestamp>,
    /// When a rotation last began.
    pub last_rotation_attempt_at: Option<Timestamp>,
    /// When a rotation last ended well.
    pub last_rotation_completed_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What a device is created from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// A fresh key.
    pub key: DeviceKey,
    /// Its model.
    pub model_id: i64,
    /// Its validated configuration.
    pub config: DeviceConfig,
}

/// What may change in a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceUpdate {
    /// The new validated configuration.
    pub config: DeviceConfig,
    /// The new mark.
    pub active: bool,
}

/// Which devices a list shows; `None` shows all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceFilter {
    /// Devices of this model only.
    pub model_id: Option<i64>,
    /// Devices in this state only.
    pub rotation_state: Option<RotationState>,
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed([u8; 5]);

    impl Entropy for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.copy_from_slice(&self.0);
        }
    }

    #[test]
    fn fresh_keys_are_base32_of_five_bytes() {
        // RFC 4648 §10: "fooba" encodes as MZXW6YTB.
        assert_eq!(DeviceKey::random(&Fixed(*b"fooba")).as_str(), "mzxw6ytb");
    }

    #[test]
    fn keys_have_eight_lower_case_letters_or_digits() {
        assert!(DeviceKey::parse("abcd2345").is_some());
        for bad in ["", "abcd234", "abcd23456", "ABCD2345", "abcd234\n", "abcd-345"] {
            assert!(DeviceKey::parse(bad).is_none(), "{bad:?}");
        }
    }
}
