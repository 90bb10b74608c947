//! The content of one event of a stream, for all servers.

use serde_json::Value;

use super::delta::{Delta, is_blank};
use super::error::message_in;
use super::finish::{self, Finish};
use crate::FinishReason;

/// The content of one event.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct CompletionChunk {
    /// The text of the model, reasoning included, and output that is no text.
    pub(super) output: Delta,
    /// Ids of its tokens, if the server reports them; a token may complete no text.
    pub(super) tokens: Vec<u32>,
    /// Number of its tokens, if the event lists them in another way.
    pub(super) listed: Option<usize>,
    /// Number of output tokens so far, if the event has a running count.
    pub(super) running: Option<usize>,
    /// Why the generation ended, in the last chunk.
    pub(super) finish: Option<FinishReason>,
    /// A finish reason that is no known word: it ends nothing.
    pub(super) unknown_finish: Option<String>,
    /// Progress of the prefill: processed prompt tokens, and all of them.
    pub(super) progress: Option<(usize, usize)>,
    /// Whether it is the last event.
    pub(super) is_last: bool,
}

/// An error message of the server in an event.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StreamError(pub(super) String);

/// Fields in which servers send an error in the place of a chunk.
const ERROR_FIELDS: [&str; 2] = ["error", "errors"];
/// The same, if the document is no chunk.
const MESSAGE_FIELDS: [&str; 4] = ["detail", "message", "msg", "error_message"];
/// A document with one of these is a chunk.
const CHUNK_FIELDS: [&str; 7] = ["choices", "done", "stop", "content", "response", "delta", "usage"];

impl CompletionChunk {
    /// Parses a chat chunk, a completion chunk, or a chunk of the native format of llama-server or ollama.
    pub(super) fn new(document: &Value) -> Result<Self, StreamError> {
        if let Some(message) = error_of(document) {
            return Err(StreamError(message));
        }
        let mut chunk = Self { progress: progress(&document["prompt_progress"]), ..Self::default() };
        if let Some(choices) = document["choices"].as_array() {
            for choice in choices {
                chunk.read_choice(choice)?;
            }
        } else if document["done"].is_boolean() {
            chunk.read_ollama(document);
        } else if document["stop"].is_boolean() {
            chunk.read_llama_server(document);
        }
        chunk.running = count(&document["usage"]["completion_tokens"]).or(count(&document["timings"]["predicted_n"]));
        Ok(chunk)
    }

    /// Whether it has text or tokens.
    pub(super) fn has_output(&self) -> bool {
        !self.output.text.is_empty() || !self.tokens.is_empty()
    }

    fn read_choice(&mut self, choice: &Value) -> Result<(), StreamError> {
        if !is_blank(&choice["error"]) {
            return Err(StreamError(message_in(&choice["error"]).unwrap_or_else(|| choice["error"].to_string())));
        }
        // Some servers send the delta under the name of a whole message.
        let (delta, name) = match &choice["delta"] {
            Value::Null => (&choice["message"], "message"),
            delta => (delta, "delta"),
        };
        self.output.add(Delta::new(delta, name));
        self.output.add(Delta::new(&choice["text"], "text"));
        let listed = [&choice["token_ids"], &choice["logprobs"]["content"], &choice["logprobs"]["tokens"]];
        let listed = listed.into_iter().find_map(Value::as_array).map(Vec::len);
        self.listed = listed.map(|tokens| tokens + self.listed.unwrap_or(0)).or(self.listed);
        match finish::read(&choice["finish_reason"]) {
            None => {}
            Some(Finish::Ended(reason)) => self.finish = Some(reason),
            Some(Finish::Failed) => {
                return Err(StreamError(format!("finish_reason is {}", choice["finish_reason"])));
            }
            Some(Finish::Unknown(word)) => self.unknown_finish = Some(word),
        }
        Ok(())
    }

    /// ollama: `/api/chat` and `/api/generate`.
    fn read_ollama(&mut self, document: &Value) {
        self.output.add(Delta::new(&document["message"], "message"));
        for key in ["thinking", "response"] {
            let part = Delta::new(&document[key], key);
            self.output.has_reasoning |= key == "thinking" && !part.text.is_empty();
            self.output.add(part);
        }
        if document["done"] == true {
            self.is_last = true;
            self.finish = Some(length_or_stop(&document["done_reason"]));
        }
    }

    /// llama-server: `/completion`. Its progress events contain a token 0, which is not part of the output.
    fn read_llama_server(&mut self, document: &Value) {
        self.output.add(Delta::new(&document["content"], "content"));
        if self.progress.is_none() {
            let ids = document["tokens"].as_array().map_or(&[][..], Vec::as_slice);
            self.tokens = ids.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect();
        }
        if document["stop"] == true {
            self.is_last = true;
            self.finish = Some(length_or_stop(&document["stop_type"]));
        }
    }
}

/// The message of a document that is an error: one with an error that says something, or with a message in the place of a chunk.
fn error_of(document: &Value) -> Option<String> {
    if let Some(error) = ERROR_FIELDS.iter().map(|key| &document[*key]).find(|error| !is_blank(error)) {
        return Some(message_in(error).or_else(|| message_in(document)).unwrap_or_else(|| document.to_string()));
    }
    let says_error = ["object", "type", "status", "event"].iter().any(|key| document[*key] == "error");
    let is_chunk = CHUNK_FIELDS.iter().any(|key| document.get(*key).is_some_and(|value| !value.is_null()));
    let message = MESSAGE_FIELDS.iter().find_map(|key| match &document[*key] {
        Value::String(_) | Value::Array(_) => message_in(&document[*key]).filter(|text| !text.is_empty()),
        _ => None,
    });
    match message {
        Some(message) if says_error || !is_chunk => Some(message),
        _ if says_error => Some(message_in(document).unwrap_or_else(|| document.to_string())),
        _ => None,
    }
}

/// Where another field already says that the answer has ended.
fn length_or_stop(reason: &Value) -> FinishReason {
    match finish::read(reason) {
        Some(Finish::Ended(reason)) => reason,
        _ => FinishReason::Stop,
    }
}

/// llama-server: `{"total":1530,"cache":0,"processed":0,"time_ms":0}`.
fn progress(progress: &Value) -> Option<(usize, usize)> {
    Some((count(&progress["processed"])?, count(&progress["total"])?))
}

/// More than any count of tokens of one request.
const MOST: u64 = 1_000_000_000;

/// A count of tokens; `None` if the value is absent or not a count. Some servers send whole numbers as `8.0`.
pub(super) fn count(value: &Value) -> Option<usize> {
    let whole = |number: f64| (number >= 0.0 && number.fract() == 0.0 && number < MOST as f64).then_some(number as u64);
    let count = value.as_u64().or_else(|| whole(value.as_f64()?))?;
    usize::try_from(count).ok().filter(|_| count < MOST)
}

/// Progress in a comment: exo's `prefill_progress {...}`, mlx_lm's `keepalive 36/37`. Other comments contain none.
pub(super) fn progress_in(comment: &str) -> Option<(usize, usize)> {
    if let Some(document) = comment.strip_prefix("prefill_progress ") {
        let document: Value = serde_json::from_str(document).ok()?;
        let progress = &document["PrefillProgressChunk"];
        return Some((count(&progress["processed_tokens"])?, count(&progress["total_tokens"])?));
    }
    let (done, total) = comment.strip_prefix("keepalive ")?.split_once('/')?;
    Some((done.trim().parse().ok()?, total.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(text: &str) -> Result<CompletionChunk, StreamError> {
        CompletionChunk::new(&serde_json::from_str(text).expect("it is JSON"))
    }

    fn text(text: &str) -> CompletionChunk {
        let output = Delta { text: text.to_owned(), ..Delta::default() };
        CompletionChunk { output, ..CompletionChunk::default() }
    }

    #[test]
    fn events_without_tokens_are_empty_chunks() {
        for event in [
            r#"{"choices":[{"delta":{"role":"assistant","content":null},"finish_reason":null}]}"#,
            r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[{"delta":{}}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":3}}"#,
            "{}",
            "5",
        ] {
            assert_eq!(chunk(event), Ok(CompletionChunk::default()), "{event}");
        }
        let progress =
            r#"{"content":"","tokens":[0],"stop":false,"prompt_progress":{"total":37,"cache":0,"processed":5}}"#;
        assert_eq!(chunk(progress), Ok(CompletionChunk { progress: Some((5, 37)), ..CompletionChunk::default() }));
    }

    #[test]
    fn text_is_found_in_every_format() {
        for event in [
            r#"{"choices":[{"delta":{"role":"assistant","content":"a"}}]}"#,
            r#"{"choices":[{"delta":{"reasoning_content":"a","content":null}}]}"#,
            r#"{"choices":[{"text":"a","finish_reason":null}]}"#,
            r#"{"message":{"role":"assistant","content":"a"},"done":false}"#,
            r#"{"response":"a","done":false}"#,
            r#"{"choices":[{"delta":null,"message":{"role":"assistant","content":"a"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a"},"text":"a"}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"a"}}]}}]}"#,
            r#"{"message":{"thinking":"a","content":""},"done":false}"#,
        ] {
            assert_eq!(chunk(event).map(|chunk| chunk.output.text), Ok("a".to_owned()), "{event}");
        }
        let with_ids = chunk(r#"{"content":"a","tokens":[788],"stop":false}"#);
        assert_eq!(with_ids, Ok(CompletionChunk { tokens: vec![788], ..text("a") }));
    }

    #[test]
    fn the_finish_reason_is_found_in_every_format() {
        let finish = |text: &str| chunk(text).expect("no error").finish;
        assert_eq!(finish(r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#), Some(FinishReason::Length));
        assert_eq!(finish(r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#), Some(FinishReason::Stop));
        assert_eq!(finish(r#"{"content":"","stop":true,"stop_type":"limit"}"#), Some(FinishReason::Length));
        assert_eq!(finish(r#"{"content":"","stop":true,"stop_type":"eos"}"#), Some(FinishReason::Stop));
        assert_eq!(finish(r#"{"response":"","done":true,"done_reason":"length"}"#), Some(FinishReason::Length));
    }

    #[test]
    fn errors_in_a_stream_are_found() {
        let message = |text: &str| chunk(text).expect_err("an error").0;
        assert_eq!(message(r#"{"error":{"message":"out of memory","code":500}}"#), "out of memory");
        assert_eq!(message(r#"{"error":"out of memory"}"#), "out of memory");
        assert_eq!(message(r#"{"error":true}"#), r#"{"error":true}"#);
        assert_eq!(message(r#"{"object":"error","message":"too long"}"#), "too long");
        assert!(message(r#"{"choices":[{"delta":{},"finish_reason":"abort"}]}"#).contains("abort"));
        assert_eq!(message(r#"{"message":"worker died","code":500}"#), "worker died");
        assert_eq!(message(r#"{"detail":[{"msg":"too long"}]}"#), "too long");
        assert_eq!(message(r#"{"errors":[{"message":"no slot"}]}"#), "no slot");
        assert_eq!(message(r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#), "busy");
        assert_eq!(message(r#"{"choices":[{"error":{"message":"upstream"},"finish_reason":"error"}]}"#), "upstream");
    }

    #[test]
    fn an_error_that_says_nothing_is_none() {
        for error in ["null", "\"\"", "{}", "[]", "false", "{\"message\":null,\"code\":null}"] {
            let event = format!(r#"{{"error":{error},"choices":[{{"delta":{{"content":"a"}}}}]}}"#);
            assert_eq!(chunk(&event), Ok(text("a")), "{event}");
        }
    }

    #[test]
    fn tokens_of_a_chunk_are_counted_by_what_it_lists() {
        let of = |event: &str| chunk(event).map(|chunk| (chunk.listed, chunk.running)).expect("a chunk");
        assert_eq!(of(r#"{"choices":[{"delta":{"content":"ab"},"token_ids":[5,6]}]}"#), (Some(2), None));
        let listed = r#"{"choices":[{"delta":{"content":"ab"},"logprobs":{"content":[{"token":"a"},{"token":"b"}]}}]}"#;
        assert_eq!(of(listed), (Some(2), None));
        let running = r#"{"choices":[{"delta":{"content":"ab"}}],"usage":{"completion_tokens":7}}"#;
        assert_eq!(of(running), (None, Some(7)));
        assert_eq!(of(r#"{"choices":[{"delta":{"content":"a"}}],"timings":{"predicted_n":3}}"#), (None, Some(3)));
    }

    #[test]
    fn counts_are_whole_numbers_of_a_possible_size() {
        let of = |text: &str| count(&serde_json::from_str(text).expect("it is JSON"));
        assert_eq!((of("8"), of("8.0"), of("0")), (Some(8), Some(8), Some(0)));
        for none in ["-1", "7.5", "\"8\"", "null", "1000000000000", "18446744073709551616", "1e30", "true"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn progress_is_found_in_comments() {
        let exo = r#"prefill_progress {"PrefillProgressChunk":{"model":"m","processed_tokens":35,"total_tokens":36}}"#;
        assert_eq!(progress_in(exo), Some((35, 36)));
        assert_eq!(progress_in("keepalive 36/37"), Some((36, 37)));
        for other in ["", "keep-alive", "keepalive", "prefill_progress {", "keepalive a/b"] {
            assert_eq!(progress_in(other), None);
        }
    }
}
