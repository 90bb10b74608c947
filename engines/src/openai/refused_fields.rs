//! Fields of a request that a server refuses although it does not need them, such as `stream_options`. They are left out of every further
//! request of the session.

use std::fmt;

use serde_json::{Map, Value};

use super::error::{Problem, RequestError};

/// Without these there is no request.
const NEEDED: [&str; 5] = ["model", "messages", "prompt", "stream", "max_completion_tokens"];
/// The older name of a field, and the newer one that takes its place.
const RENAMED: (&str, &str) = ("max_tokens", "max_completion_tokens");

/// The fields that a server refuses, with the path to each, such as `["stream_options", "include_usage"]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RefusedFields(Vec<Vec<String>>);

impl RefusedFields {
    /// Adds the field that an error names; `None` if the error names none that can be left out. Fields of the user's own are not left out.
    pub(super) fn learn(&mut self, error: &RequestError, body: &Value, own: &Map<String, Value>) -> Option<String> {
        let Problem::Status { status: 400 | 422, message } = &error.problem else { return None };
        let words: Vec<&str> = message.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        let is_named = |path: &&Vec<String>| path.last().is_some_and(|name| words.contains(&name.as_str()));
        let is_free = |path: &&Vec<String>| {
            path.first().is_some_and(|name| !NEEDED.contains(&name.as_str()) && !own.contains_key(name))
        };
        let mut paths = Vec::new();
        add_paths(body, &mut Vec::new(), &mut paths);
        // The deepest field that the message names: a message about a part also names the whole.
        let found = paths.iter().filter(is_named).filter(is_free).max_by_key(|path| path.len())?.clone();
        let name = found.join(".");
        self.0.push(found);
        Some(name)
    }

    /// Whether a field is left out.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|path| matches!(path.as_slice(), [only] if only == name))
    }

    /// Removes the fields from a request.
    pub(super) fn leave_out(&self, body: &mut Map<String, Value>) {
        for path in &self.0 {
            let Some((last, before)) = path.split_last() else { continue };
            let mut fields = Some(&mut *body);
            for name in before {
                fields = fields.and_then(|fields| fields.get_mut(name)?.as_object_mut());
            }
            let removed = fields.and_then(|fields| fields.remove(last));
            if let Some(value) = removed.filter(|_| before.is_empty() && last == RENAMED.0) {
                body.insert(RENAMED.1.to_owned(), value);
            }
        }
    }
}

/// The names, separated by commas.
impl fmt::Display for RefusedFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(|path| path.join(".")).collect();
        f.write_str(&names.join(", "))
    }
}

/// The paths of all fields of an object, at any depth.
fn add_paths(value: &Value, above: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    let Value::Object(fields) = value else { return };
    for (name, value) in fields {
        above.push(name.clone());
        paths.push(above.clone());
        add_paths(value, above, paths);
        above.pop();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body() -> Value {
        json!({"model": "m", "messages": [], "stream": true, "temperature": 0, "max_tokens": 8,
            "stream_options": {"include_usage": true, "continuous_usage_stats": true}})
    }

    fn after(status: u16, message: &str, own: &str) -> Option<(String, Value)> {
        let error = RequestError::new("POST x", Problem::Status { status, message: message.to_owned() });
        let own = serde_json::from_str(own).expect("an object");
        let mut refused = RefusedFields::default();
        refused.learn(&error, &body(), &own)?;
        let Value::Object(mut fields) = body() else { return None };
        refused.leave_out(&mut fields);
        Some((refused.to_string(), Value::Object(fields)))
    }

    #[test]
    fn the_field_that_an_error_names_is_left_out() {
        let (name, rest) = after(422, "Extra inputs are not permitted (body.stream_options)", "{}").expect("a field");
        assert_eq!((name.as_str(), rest.get("stream_options")), ("stream_options", None));
        let nested = "Extra inputs are not permitted (body.stream_options.continuous_usage_stats)";
        let (name, rest) = after(400, nested, "{}").expect("a field");
        assert_eq!(name, "stream_options.continuous_usage_stats");
        assert_eq!(rest["stream_options"], json!({"include_usage": true}));
        let (_, rest) =
            after(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'", "{}").expect("a field");
        assert_eq!((rest.get("max_tokens"), &rest["max_completion_tokens"]), (None, &json!(8)));
    }

    #[test]
    fn needed_fields_and_those_of_the_user_stay() {
        assert_eq!(after(400, "messages must not be empty", "{}"), None);
        assert_eq!(after(400, "the model `m` does not exist", "{}"), None);
        assert_eq!(after(400, "temperature is refused", r#"{"temperature": 0.1}"#), None);
        assert_eq!(after(500, "stream_options", "{}"), None, "an error of the server says nothing about the field");
        assert_eq!(after(400, "my_stream_options", "{}"), None, "another word");
    }
}
