//! The content of one event of a stream, for all servers.

use serde_json::Value;

use super::error::message_in;
use crate::FinishReason;

/// The content of one event.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct CompletionChunk {
    /// The text of the model, reasoning included.
    pub(super) text: String,
    /// Ids of its tokens, if the server reports them; a token may complete no text.
    pub(super) tokens: Vec<u32>,
    /// Why the generation ended, in the last chunk.
    pub(super) finish: Option<FinishReason>,
    /// Progress of the prefill: processed prompt tokens, and all of them.
    pub(super) progress: Option<(usize, usize)>,
    /// Whether it is the last event.
    pub(super) is_last: bool,
}

/// An error message of the server in an event.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StreamError(pub(super) String);

impl CompletionChunk {
    /// Parses a chat chunk, a completion chunk, or a chunk of the native format of llama-server or ollama.
    pub(super) fn new(document: &Value) -> Result<Self, StreamError> {
        if !document["error"].is_null() || document["object"] == "error" {
            return Err(StreamError(message_in(document).unwrap_or_else(|| document.to_string())));
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
        Ok(chunk)
    }

    fn read_choice(&mut self, choice: &Value) -> Result<(), StreamError> {
        let delta = &choice["delta"];
        for part in [&delta["reasoning_content"], &delta["reasoning"], &delta["content"], &choice["text"]] {
            self.text.push_str(part.as_str().unwrap_or_default());
        }
        self.finish = match choice["finish_reason"].as_str() {
            None => self.finish,
            Some("length") => Some(FinishReason::Length),
            Some(reason @ ("error" | "abort")) => return Err(StreamError(format!("finish_reason is `{reason}`"))),
            Some(_) => Some(FinishReason::Stop),
        };
        Ok(())
    }

    /// ollama: `/api/chat` and `/api/generate`.
    fn read_ollama(&mut self, document: &Value) {
        let message = &document["message"];
        for part in [&message["thinking"], &document["thinking"], &message["content"], &document["response"]] {
            self.text.push_str(part.as_str().unwrap_or_default());
        }
        if document["done"] == true {
            self.is_last = true;
            self.finish = Some(length_or_stop(&document["done_reason"], "length"));
        }
    }

    /// llama-server: `/completion`. Its progress events contain a token 0, which is not part of the output.
    fn read_llama_server(&mut self, document: &Value) {
        self.text.push_str(document["content"].as_str().unwrap_or_default());
        if self.progress.is_none() {
            let ids = document["tokens"].as_array().map_or(&[][..], Vec::as_slice);
            self.tokens = ids.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect();
        }
        if document["stop"] == true {
            self.is_last = true;
            self.finish = Some(length_or_stop(&document["stop_type"], "limit"));
        }
    }
}

fn length_or_stop(reason: &Value, length: &str) -> FinishReason {
    if reason == length { FinishReason::Length } else { FinishReason::Stop }
}

/// llama-server: `{"total":1530,"cache":0,"processed":0,"time_ms":0}`.
fn progress(progress: &Value) -> Option<(usize, usize)> {
    Some((count(&progress["processed"])?, count(&progress["total"])?))
}

/// A count; `None` if the value is absent or not a count.
pub(super) fn count(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|count| usize::try_from(count).ok())
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
        CompletionChunk { text: text.to_owned(), ..CompletionChunk::default() }
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
        ] {
            assert_eq!(chunk(event), Ok(text("a")), "{event}");
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
