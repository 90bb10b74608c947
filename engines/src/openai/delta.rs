//! The output in one chunk of a choice: its text, in all forms that servers use, and what is no text.
//!
//! A field that holds output in an unknown form is named: its tokens have no known time.

use serde_json::{Map, Value};

/// Names of the same thing. Servers send reasoning under several of them at once.
const REASONING: [&str; 5] = ["reasoning_content", "reasoning", "thinking", "reasoning_details", "thinking_blocks"];

/// Fields of a delta that hold text, or lists and objects with text.
const OUTPUT: [&str; 5] = ["content", "refusal", "tool_calls", "function_call", "audio"];

/// Fields that hold text in a list or an object within a delta.
const NESTED_TEXT: [&str; 16] = [
    "text",
    "content",
    "thinking",
    "reasoning",
    "reasoning_content",
    "summary",
    "refusal",
    "transcript",
    "function",
    "custom",
    "name",
    "arguments",
    "input",
    "output_text",
    "parts",
    "value",
];

/// Fields without output of the model.
const NO_OUTPUT: [&str; 26] = [
    "annotations",
    "cache_control",
    "channel",
    "citations",
    "context",
    "encrypted_content",
    "end_turn",
    "expires_at",
    "extra_content",
    "finish_reason",
    "format",
    "id",
    "index",
    "logprobs",
    "metadata",
    "name",
    "obfuscation",
    "provider_specific_fields",
    "reference_ids",
    "role",
    "signature",
    "stop_reason",
    "thought_signature",
    "token_ids",
    "tool_call_id",
    "type",
];

/// The output of one delta.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Delta {
    /// The text, reasoning first.
    pub(super) text: String,
    /// Whether some of it is reasoning.
    pub(super) has_reasoning: bool,
    /// Fields with output that is not understood.
    pub(super) unread: Vec<String>,
}

impl Delta {
    /// Reads `choices[].delta`, or another object with the same fields; `name` is its name in [`Delta::unread`].
    pub(super) fn new(delta: &Value, name: &str) -> Self {
        let mut found = Self::default();
        let Value::Object(fields) = delta else {
            collect(delta, name, &mut found.text, &mut found.unread);
            return found;
        };
        found.text = reasoning(fields, name, &mut found.unread);
        found.has_reasoning = !found.text.is_empty();
        for (key, value) in fields.iter().filter(|(key, _)| !REASONING.contains(&key.as_str())) {
            let place = format!("{name}.{key}");
            if OUTPUT.contains(&key.as_str()) {
                collect(value, &place, &mut found.text, &mut found.unread);
            } else if !NO_OUTPUT.contains(&key.as_str()) && !is_blank(value) {
                found.unread.push(place);
            }
        }
        found
    }

    /// Adds the output of another part of the same chunk, unless it is the same text again.
    pub(super) fn add(&mut self, other: Self) {
        if self.text != other.text {
            self.text.push_str(&other.text);
        }
        self.has_reasoning |= other.has_reasoning;
        self.unread.extend(other.unread);
    }
}

/// The text of the reasoning: each text once, whatever the number of its names.
fn reasoning(fields: &Map<String, Value>, name: &str, unread: &mut Vec<String>) -> String {
    let mut texts: Vec<String> = Vec::new();
    for key in REASONING {
        let mut text = String::new();
        collect(&fields.get(key).cloned().unwrap_or_default(), &format!("{name}.{key}"), &mut text, unread);
        if !text.is_empty() && !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts.concat()
}

/// Appends the text of a value: a string, a list of parts, or an object with text.
fn collect(value: &Value, place: &str, text: &mut String, unread: &mut Vec<String>) {
    match value {
        Value::Null => {}
        Value::String(part) => text.push_str(part),
        Value::Array(parts) => parts.iter().for_each(|part| collect(part, place, text, unread)),
        Value::Object(fields) => {
            for (key, value) in fields {
                let place = format!("{place}.{key}");
                if key == "arguments" && value.is_object() {
                    // Some servers send whole arguments as an object.
                    text.push_str(&value.to_string());
                } else if key == "data" && fields.get("type").is_some_and(is_encrypted) {
                    // Reasoning that only the server can read; its tokens are in the count of reasoning tokens.
                } else if NESTED_TEXT.contains(&key.as_str()) {
                    collect(value, &place, text, unread);
                } else if !NO_OUTPUT.contains(&key.as_str()) && !is_blank(value) {
                    unread.push(place);
                }
            }
        }
        Value::Bool(_) | Value::Number(_) => unread.push(place.to_owned()),
    }
}

fn is_encrypted(kind: &Value) -> bool {
    kind.as_str().is_some_and(|kind| kind.contains("encrypted") || kind.contains("redacted"))
}

/// Whether a value says nothing: null, false, 0, an empty text, or a list or an object of such values.
pub(super) fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.iter().all(is_blank),
        Value::Object(fields) => fields.values().all(is_blank),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "the argument is written with json!")]
    fn text(delta: Value) -> String {
        let found = Delta::new(&delta, "delta");
        assert!(found.unread.is_empty(), "{delta}: {found:?}");
        found.text
    }

    #[test]
    fn text_is_found_in_every_form() {
        for (delta, expected) in [
            (json!({"role": "assistant", "content": "a"}), "a"),
            (json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}), "ab"),
            (json!({"content": {"type": "text", "text": "a"}}), "a"),
            (json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}]}), "a"),
            (json!({"content": [{"type": "thinking", "thinking": "a", "signature": "s"}]}), "a"),
            (json!({"content": ["a", "b"]}), "ab"),
            (json!({"content": [{"type": "reference", "reference_ids": [1]}]}), ""),
            (json!({"reasoning_details": [{"type": "reasoning.text", "text": "a", "index": 0}]}), "a"),
            (json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "xyz"}]}), ""),
            (json!({"refusal": "a", "content": null}), "a"),
            (json!({"function_call": {"name": "f", "arguments": "a"}}), "fa"),
            (json!({"tool_calls": [{"index": 0, "id": "x", "type": "function", "function": {"arguments": "a"}}]}), "a"),
            (json!({"tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]}), "f{\"x\":1}"),
            (json!({"tool_calls": [{"type": "custom", "custom": {"name": "f", "input": "a"}}]}), "fa"),
            (json!({"audio": {"id": "x", "transcript": "a", "expires_at": 7}}), "a"),
            (json!({"reasoning": "r", "content": "c"}), "rc"),
        ] {
            let shown = delta.to_string();
            let mut expected: Vec<char> = expected.chars().collect();
            let mut found: Vec<char> = text(delta).chars().collect();
            // The order of fields within an object is that of their names.
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, expected, "{shown}");
        }
    }

    #[test]
    fn the_same_reasoning_under_two_names_is_one_text() {
        assert_eq!(text(json!({"reasoning": "a", "reasoning_content": "a"})), "a");
        let details = json!([{"type": "reasoning.text", "text": "a"}]);
        assert_eq!(text(json!({"reasoning": "a", "reasoning_details": details, "content": "a"})), "aa");
        assert_eq!(text(json!({"reasoning": "b", "reasoning_content": "a"})), "ab", "two texts are two texts");
        assert!(Delta::new(&json!({"thinking": "a"}), "delta").has_reasoning);
    }

    #[test]
    fn output_that_is_not_understood_is_named() {
        let unread = |delta: Value| Delta::new(&delta, "delta").unread;
        assert_eq!(unread(json!({"images": [{"image_url": {"url": "data:"}}]})), ["delta.images"]);
        assert_eq!(unread(json!({"content": [{"type": "image", "image_url": "x"}]})), ["delta.content.image_url"]);
        assert_eq!(unread(json!({"audio": {"data": "UklGR"}})), ["delta.audio.data"]);
        assert_eq!(unread(json!({"content": 7})), ["delta.content"]);
        assert_eq!(unread(json!({"images": [], "video": null, "flag": false, "role": "assistant"})), [""; 0]);
    }
}
