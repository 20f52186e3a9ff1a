//! Device models.

use std::fmt;

use crate::timestamp::Timestamp;

/// The code of a model: 1–50 characters `a-z0-9_` (contract §8.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelCode(String);

impl ModelCode {
    /// `None` when the text is no model code.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        ((1..=50).contains(&text.len()) && text.bytes().all(allowed)).then(|| Self(text.to_owned()))
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_code_has_only_lower_case_letters_digits_and_underscores() {
        assert!(ModelCode::parse("esp32_c3").is_some());
        assert!(ModelCode::parse(&"a".repeat(50)).is_some());
        for bad in ["", "Abc", "a-b", "abc\n", " abc", &"a".repeat(51)] {
            assert!(ModelCode::parse(bad).is_none(), "{bad:?}");
        }
    }
}
