//! Device configurations: what is stored, and what is served to a device (contract §4.2, §8.3).

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::fields::FieldFault;
use crate::ids::DeviceKey;

/// The members on which a device aborts if they are missing or of another type.
const CHECKED_MEMBERS: [&str; 3] = ["deviceName", "deviceEntityId", "enableOTA"];

/// Limit of contract §8.3.
pub const MAX_CONFIG_BYTES: usize = 120_000;

/// How strictly configurations are checked when saved and served (`DEVICE_CONFIG_MODE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigMode {
    /// Missing and wrong members are replaced in what is served.
    Complete,
    /// The stored text is served as it is.
    Verbatim,
    /// Like `Complete`, and incomplete configurations are refused when saved.
    Strict,
}

/// A configuration text, and the members which lists show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceConfig {
    /// The JSON text, byte for byte as it was received.
    pub text: String,
    /// `deviceName`
    pub device_name: Option<String>,
    /// `deviceEntityId`
    pub device_entity_id: Option<String>,
    /// `enableOTA`
    pub enable_ota: Option<bool>,
}

impl DeviceConfig {
    /// Parses a text; every fault names the field `config` or `config.…`.
    pub fn parse(text: &str, mode: ConfigMode) -> Result<Self, Vec<FieldFault>> {
        let value =
            parse_object(text).map_err(|message| vec![FieldFault::new("config", message)])?;
        let mut faults = Vec::new();
        let device_name = short_member(&value, "deviceName", &mut faults);
        let device_entity_id = short_member(&value, "deviceEntityId", &mut faults);
        let enable_ota = match value.get("enableOTA") {
            None => None,
            Some(Value::Bool(on)) => Some(*on),
            Some(_) => {
                faults.push(FieldFault::new("config.enableOTA", "must be true or false"));
                None
            }
        };
        faults.extend(repeated_members(text));
        if mode == ConfigMode::Strict {
            let required = |name| FieldFault::new(format!("config.{name}"), "is required");
            faults.extend(missing_members(&value).map(required));
        }
        if faults.is_empty() {
            Ok(Self { text: text.to_owned(), device_name, device_entity_id, enable_ota })
        } else {
            Err(faults)
        }
    }

    /// Validates the text with the schema of its model.
    pub fn check(&self, schema: &ConfigSchema) -> Result<(), Vec<FieldFault>> {
        let faults = match parse_object(&self.text) {
            Ok(value) => schema.faults(&value),
            Err(message) => vec![FieldFault::new("config", message)],
        };
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// One warning for each missing member which a device needs.
    pub fn warnings(&self) -> Vec<String> {
        let missing = [
            ("deviceName", self.device_name.is_none()),
            ("deviceEntityId", self.device_entity_id.is_none()),
        ];
        missing
            .into_iter()
            .filter(|(_, absent)| *absent)
            .map(|(name, _)| format!("{name} is missing; a default is served to the device"))
            .collect()
    }
}

fn parse_object(text: &str) -> Result<Value, String> {
    if text.len() > MAX_CONFIG_BYTES {
        return Err(format!("must have at most {MAX_CONFIG_BYTES} bytes"));
    }
    match serde_json::from_str::<Value>(text) {
        Ok(value) if value.is_object() => Ok(value),
        Ok(_) => Err("must be a JSON object".into()),
        Err(error) => Err(format!("is not valid JSON: {error}")),
    }
}

fn short_member(value: &Value, name: &str, faults: &mut Vec<FieldFault>) -> Option<String> {
    let fault = match value.get(name)? {
        Value::String(text) if text.contains('\0') => "must not contain NUL",
        Value::String(text) if text.chars().count() > 255 => "must have at most 255 characters",
        Value::String(text) => return Some(text.clone()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            "must be a text"
        }
    };
    faults.push(FieldFault::new(format!("config.{name}"), fault));
    None
}

/// Parsers disagree on which of two members of one name they use, so a repeated name is a fault.
fn repeated_members(text: &str) -> Vec<FieldFault> {
    let Ok(RawMembers(members)) = serde_json::from_str(text) else { return Vec::new() };
    let count = |name: &str| members.iter().filter(|member| member.name == name).count();
    let repeated = CHECKED_MEMBERS.into_iter().filter(|name| count(name) > 1);
    repeated.map(|name| FieldFault::new(format!("config.{name}"), "must occur once")).collect()
}

fn missing_members(value: &Value) -> impl Iterator<Item = &'static str> {
    ["deviceName", "deviceEntityId"].into_iter().filter(|name| value.get(name).is_none())
}

/// A compiled JSON Schema.
pub struct ConfigSchema(jsonschema::Validator);

impl ConfigSchema {
    /// Compiles the text of a schema; the error continues a sentence about the field. References to
    /// other documents are not followed.
    pub fn compile(text: &str) -> Result<Self, String> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| format!("is not valid JSON: {error}"))?;
        if !matches!(value, Value::Object(_) | Value::Bool(_)) {
            return Err("is not a JSON Schema: must be an object or a boolean".into());
        }
        jsonschema::validator_for(&value).map(Self).map_err(|error| {
            match foreign_reference(&value) {
                Some(target) => {
                    format!("refers to {target}; only references within the schema are followed")
                }
                None => format!("is not a JSON Schema: {error}"),
            }
        })
    }

    fn faults(&self, value: &Value) -> Vec<FieldFault> {
        /// A user interface shows no more.
        const MAX_FAULTS: usize = 20;
        let fault = |error: jsonschema::ValidationError<'_>| {
            let place = error.instance_path().to_string().replace('/', ".");
            FieldFault::new(format!("config{place}"), error.to_string())
        };
        self.0.iter_errors(value).take(MAX_FAULTS).map(fault).collect()
    }
}

/// A `$ref` to another document, if there is one.
fn foreign_reference(schema: &Value) -> Option<&str> {
    match schema {
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            let target = value.as_str().filter(|target| name == "$ref" && !target.starts_with('#'));
            target.or_else(|| foreign_reference(value))
        }),
        Value::Array(items) => items.iter().find_map(foreign_reference),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

impl fmt::Debug for ConfigSchema {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ConfigSchema")
    }
}

/// The body of the answer to `GET /api/iot/config`: the stored text, or, unless `mode` is verbatim,
/// a text in which the members are replaced on which the device would abort (contract §4.2).
pub fn to_served_text<'a>(stored: &'a str, key: &DeviceKey, mode: ConfigMode) -> Cow<'a, str> {
    if mode == ConfigMode::Verbatim {
        return Cow::Borrowed(stored);
    }
    match serde_json::from_str::<RawMembers<'_>>(stored) {
        Ok(RawMembers(members)) if is_complete(&members) => Cow::Borrowed(stored),
        Ok(RawMembers(members)) => Cow::Owned(completed(&members, key)),
        Err(_) => Cow::Owned(completed(&[], key)),
    }
}

/// The members of an object in their order, repeated names included.
struct RawMembers<'a>(Vec<RawMember<'a>>);

struct RawMember<'a> {
    name: String,
    /// The exact text.
    value: &'a RawValue,
}

impl<'de> Deserialize<'de> for RawMembers<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = RawMembers<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    members.push(RawMember { name, value: map.next_value()? });
                }
                Ok(RawMembers(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// The value of `name`; `None` if the name is repeated, because parsers disagree on which counts.
fn single<'a>(members: &[RawMember<'a>], name: &str) -> Option<&'a RawValue> {
    let mut found = members.iter().filter(|member| member.name == name);
    match (found.next(), found.next()) {
        (Some(member), None) => Some(member.value),
        _ => None,
    }
}

fn is_text(value: &RawValue) -> bool {
    value.get().starts_with('"')
}

fn is_boolean(value: &RawValue) -> bool {
    matches!(value.get(), "true" | "false")
}

fn is_complete(members: &[RawMember<'_>]) -> bool {
    single(members, "deviceName").is_some_and(is_text)
        && single(members, "deviceEntityId").is_some_and(is_text)
        && (members.iter().all(|member| member.name != "enableOTA")
            || single(members, "enableOTA").is_some_and(is_boolean))
}

fn completed(members: &[RawMember<'_>], key: &DeviceKey) -> String {
    let text = |name| single(members, name).filter(|value| is_text(value)).map(RawValue::get);
    let default_name = Value::from(key.as_str()).to_string();
    let mut written = vec![
        ("deviceName", text("deviceName").unwrap_or(&default_name)),
        ("deviceEntityId", text("deviceEntityId").unwrap_or("\"\"")),
    ];
    if let Some(value) = single(members, "enableOTA").filter(|value| is_boolean(value)) {
        written.push(("enableOTA", value.get()));
    }
    let others = members.iter().filter(|member| !CHECKED_MEMBERS.contains(&&*member.name));
    written.extend(others.map(|member| (&*member.name, member.value.get())));
    let member = |(name, value): (&str, &str)| format!("{}:{value}", Value::from(name));
    format!("{{{}}}", written.into_iter().map(member).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(stored: &str) -> String {
        let key = DeviceKey::parse("abcd2345").unwrap();
        to_served_text(stored, &key, ConfigMode::Complete).into_owned()
    }

    fn fields(text: &str, mode: ConfigMode) -> Vec<String> {
        let faults = DeviceConfig::parse(text, mode).err().unwrap_or_default();
        faults.into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn a_complete_configuration_is_served_byte_for_byte() {
        let text =
            "{ \"deviceName\":\"A\",\n\"deviceEntityId\":\"a\", \"n\": 1e400 , \"enableOTA\":true}";
        assert_eq!(served(text), text);
    }

    #[test]
    fn faulty_members_are_replaced_and_the_others_are_served_verbatim() {
        assert_eq!(served("{}"), r#"{"deviceName":"abcd2345","deviceEntityId":""}"#);
        assert_eq!(served("[1]"), r#"{"deviceName":"abcd2345","deviceEntityId":""}"#);
        assert_eq!(served("no json"), r#"{"deviceName":"abcd2345","deviceEntityId":""}"#);
        assert_eq!(
            served(r#"{"pin": 1.50,"deviceName":5,"deviceEntityId":"a","enableOTA":"yes"}"#),
            r#"{"deviceName":"abcd2345","deviceEntityId":"a","pin":1.50}"#
        );
        assert_eq!(
            served(r#"{"deviceName":"A","deviceName":"B","deviceEntityId":"a","enableOTA":false}"#),
            r#"{"deviceName":"abcd2345","deviceEntityId":"a","enableOTA":false}"#
        );
    }

    #[test]
    fn verbatim_mode_changes_nothing() {
        let key = DeviceKey::parse("abcd2345").unwrap();
        assert_eq!(to_served_text("[]", &key, ConfigMode::Verbatim), "[]");
    }

    #[test]
    fn wrong_types_are_refused_on_save() {
        let text = r#"{"deviceName":5,"deviceEntityId":null,"enableOTA":"yes"}"#;
        assert_eq!(
            fields(text, ConfigMode::Complete),
            ["config.deviceName", "config.deviceEntityId", "config.enableOTA"]
        );
        for text in ["", "5", "[]", "{", &format!("{{\"a\":\"{}\"}}", "x".repeat(120_000))] {
            assert_eq!(fields(text, ConfigMode::Complete), ["config"], "{}", text.len());
        }
    }

    #[test]
    fn a_repeated_member_is_refused_on_save() {
        let text = r#"{"deviceName":"a","deviceName":"b","enableOTA":true,"n":1,"n":2}"#;
        assert_eq!(fields(text, ConfigMode::Complete), ["config.deviceName"]);
    }

    #[test]
    fn only_strict_mode_refuses_what_is_missing() {
        let config = DeviceConfig::parse("{}", ConfigMode::Complete).unwrap();
        assert_eq!(config.warnings().len(), 2);
        assert_eq!(
            fields("{}", ConfigMode::Strict),
            ["config.deviceName", "config.deviceEntityId"]
        );
    }

    #[test]
    fn a_schema_is_applied_and_must_compile() {
        let schema = r#"{"properties":{"led":{"type":"integer"}},"required":["led"]}"#;
        let schema = ConfigSchema::compile(schema).unwrap();
        let check = |text| DeviceConfig::parse(text, ConfigMode::Complete).unwrap().check(&schema);
        assert!(check(r#"{"led":3}"#).is_ok());
        assert_eq!(check(r#"{"led":"x"}"#).unwrap_err()[0].field, "config.led");
        assert_eq!(check("{}").unwrap_err()[0].field, "config");
        for bad in ["{", "5", r#"{"type":"nonsense"}"#, r#"{"$ref":"http://127.0.0.1:1/x"}"#] {
            assert!(ConfigSchema::compile(bad).is_err(), "{bad}");
        }
    }
}
