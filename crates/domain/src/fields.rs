//! Parses request fields one by one and collects every fault (contract §2.3).

use serde_json::{Map, Value};

/// A fault of one field.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FieldFault {
    /// The name of a member or a query parameter; a path with dots inside a JSON text.
    pub field: String,
    /// For people; continues a sentence which begins with the field.
    pub message: String,
}

impl FieldFault {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// The members of a body which is a JSON object, and the faults found in them so far.
pub struct JsonFields {
    members: Map<String, Value>,
    faults: Vec<FieldFault>,
}

impl JsonFields {
    /// Parses a body; an empty one counts as `{}` (contract §1.2). A fault of `body` when it is not
    /// a JSON object.
    pub fn parse(body: &[u8]) -> Result<Self, Vec<FieldFault>> {
        let not_an_object = |message: &str| vec![FieldFault::new("body", message)];
        if body.is_empty() {
            return Ok(Self { members: Map::new(), faults: Vec::new() });
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(Self { members, faults: Vec::new() }),
            Ok(
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_),
            ) => Err(not_an_object("must be a JSON object")),
            Err(error) => Err(not_an_object(&format!("is not valid JSON: {error}"))),
        }
    }

    /// A required member; `None` when a fault was noted.
    pub fn required<T>(
        &mut self,
        field: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        match self.members.get(field) {
            None => self.fault(field, "is required"),
            Some(value) => match read(value) {
                Ok(value) => Some(value),
                Err(message) => self.fault(field, message),
            },
        }
    }

    /// A member that may be missing or null: `Some(None)` then. `None` when a fault was noted.
    pub fn optional<T>(
        &mut self,
        field: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<Option<T>> {
        match self.members.get(field) {
            None | Some(Value::Null) => Some(None),
            Some(_) => self.required(field, read).map(Some),
        }
    }

    /// A required member, whose parser names the fields of its faults itself.
    pub fn nested<T>(
        &mut self,
        field: &str,
        read: impl FnOnce(&Value) -> Result<T, Vec<FieldFault>>,
    ) -> Option<T> {
        match self.members.get(field).map(read) {
            None => self.fault(field, "is required"),
            Some(Ok(value)) => Some(value),
            Some(Err(faults)) => {
                self.faults.extend(faults);
                None
            }
        }
    }

    /// Fails with all faults found.
    pub fn finish(self) -> Result<(), Vec<FieldFault>> {
        if self.faults.is_empty() { Ok(()) } else { Err(self.faults) }
    }

    fn fault<T>(&mut self, field: &str, message: impl Into<String>) -> Option<T> {
        self.faults.push(FieldFault::new(field, message));
        None
    }
}

/// A text without NUL, unchanged (contract §1.4).
pub fn verbatim_text(value: &Value) -> Result<String, String> {
    let Value::String(text) = value else { return Err("must be a text".into()) };
    if text.contains('\0') {
        return Err("must not contain NUL".into());
    }
    Ok(text.clone())
}

/// A trimmed text of 1 to `max_chars` characters (contract §1.4).
pub fn short_text(value: &Value, max_chars: usize) -> Result<String, String> {
    let text = verbatim_text(value)?;
    let text = text.trim();
    if text.is_empty() {
        return Err("must not be empty".into());
    }
    if text.chars().count() > max_chars {
        return Err(format!("must have at most {max_chars} characters"));
    }
    Ok(text.to_owned())
}

/// An integer; never from a text or a fraction.
pub fn integer(value: &Value) -> Result<i64, String> {
    value.as_i64().ok_or_else(|| "must be an integer".into())
}

/// A boolean; never from a text or a number.
pub fn boolean(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "must be true or false".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(body: &str) -> Vec<FieldFault> {
        let mut fields = JsonFields::parse(body.as_bytes()).unwrap();
        let _ = fields.required("id", integer);
        let _ = fields.required("on", boolean);
        let _ = fields.optional("name", |value| short_text(value, 3));
        fields.finish().err().unwrap_or_default()
    }

    #[test]
    fn every_missing_member_is_listed_in_order() {
        let fields: Vec<_> = faults("").into_iter().map(|fault| fault.field).collect();
        assert_eq!(fields, ["id", "on"]);
    }

    #[test]
    fn nothing_is_coerced() {
        assert_eq!(faults(r#"{"id":"3","on":"true"}"#).len(), 2);
        assert_eq!(faults(r#"{"id":1.5,"on":1}"#).len(), 2);
        assert_eq!(faults(r#"{"id":1,"on":true,"name":null}"#), []);
        assert_eq!(faults(r#"{"id":1,"on":true,"name":"abcd"}"#)[0].field, "name");
        assert_eq!(faults(r#"{"id":1,"on":true,"name":"\u0000"}"#)[0].field, "name");
    }

    #[test]
    fn a_body_that_is_not_an_object_is_a_fault_of_body() {
        for body in ["[]", "\"x\"", "{\"a\":", "\u{feff}{}"] {
            let faults = JsonFields::parse(body.as_bytes()).err().unwrap();
            assert_eq!(faults[0].field, "body");
        }
        assert!(JsonFields::parse(b"{\"a\":\"\xff\"}").is_err());
    }
}
