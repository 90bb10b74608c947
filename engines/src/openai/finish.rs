//! Finish reasons: the words of all servers, in one place.

use serde_json::Value;

use crate::FinishReason;

/// What a finish reason means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finish {
    /// The answer has ended.
    Ended(FinishReason),
    /// The server gave up.
    Failed,
    /// A word that is not known: it ends nothing.
    Unknown(String),
}

/// Every known word, in lower case.
const WORDS: [(&str, Finish); 26] = [
    ("abort", Finish::Failed),
    ("aborted", Finish::Failed),
    ("cancelled", Finish::Failed),
    ("complete", Finish::Ended(FinishReason::Stop)),
    ("content_filter", Finish::Ended(FinishReason::Stop)),
    ("end", Finish::Ended(FinishReason::Stop)),
    ("end_turn", Finish::Ended(FinishReason::Stop)),
    ("eos", Finish::Ended(FinishReason::Stop)),
    ("eos_token", Finish::Ended(FinishReason::Stop)),
    ("error", Finish::Failed),
    ("failed", Finish::Failed),
    ("function_call", Finish::Ended(FinishReason::Stop)),
    ("insufficient_system_resource", Finish::Failed),
    ("length", Finish::Ended(FinishReason::Length)),
    ("limit", Finish::Ended(FinishReason::Length)),
    ("max_length", Finish::Ended(FinishReason::Length)),
    ("max_tokens", Finish::Ended(FinishReason::Length)),
    ("model_length", Finish::Ended(FinishReason::Length)),
    ("refusal", Finish::Ended(FinishReason::Stop)),
    ("repetition", Finish::Ended(FinishReason::Stop)),
    ("safety", Finish::Ended(FinishReason::Stop)),
    ("stop", Finish::Ended(FinishReason::Stop)),
    ("stop_sequence", Finish::Ended(FinishReason::Stop)),
    ("tool_calls", Finish::Ended(FinishReason::Stop)),
    ("tool_use", Finish::Ended(FinishReason::Stop)),
    ("word", Finish::Ended(FinishReason::Stop)),
];

/// Words for "not ended".
const OPEN: [&str; 6] = ["", "null", "none", "nil", "undefined", "not_finished"];

/// The meaning of the finish reason of a chunk. `None`: the answer has not ended.
pub(super) fn read(reason: &Value) -> Option<Finish> {
    let word = match reason {
        Value::Null => return None,
        Value::String(word) => word.trim().to_ascii_lowercase(),
        // TGI and others send an object: `{"type":"length"}`.
        Value::Object(fields) => return read(fields.get("type")?),
        other => return Some(Finish::Unknown(other.to_string())),
    };
    if OPEN.contains(&word.as_str()) {
        return None;
    }
    let known = WORDS.iter().find(|(known, _)| *known == word).map(|(_, finish)| finish.clone());
    Some(known.unwrap_or(Finish::Unknown(word)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_are_sorted() {
        assert!(WORDS.is_sorted_by_key(|(word, _)| *word));
    }

    #[test]
    fn a_word_that_is_not_known_is_no_end() {
        let ended = |finish| Some(Finish::Ended(finish));
        assert_eq!(read(&json!("stop")), ended(FinishReason::Stop));
        assert_eq!(read(&json!("STOP")), ended(FinishReason::Stop));
        assert_eq!(read(&json!("MAX_TOKENS")), ended(FinishReason::Length));
        assert_eq!(read(&json!({"type": "length"})), ended(FinishReason::Length));
        for open in [json!(null), json!(""), json!("null"), json!(" None "), json!({})] {
            assert_eq!(read(&open), None, "{open}");
        }
        assert_eq!(read(&json!("pondering")), Some(Finish::Unknown("pondering".to_owned())));
        assert_eq!(read(&json!(true)), Some(Finish::Unknown("true".to_owned())));
        assert_eq!(read(&json!("error")), Some(Finish::Failed));
    }
}
