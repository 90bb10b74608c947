//! A streamed response: events in, phases and pieces out, until it is complete.
//!
//! What arrives decides, not what a field says. A phase ends when text arrives, or when a known finish reason does. After either of
//! them the next phase begins at once: if text follows, it lasted until then; if nothing follows, it is cancelled, and the answer
//! ended where the last phase did. A finish reason therefore ends an answer only if no text comes after it. The end of the stream
//! ends an answer that has no finish reason.
//!
//! ```text
//! request      text       text       finish_reason        [DONE]
//!    |--prefill--|--decode--|--decode-----|  (cancelled)     |
//! ```

use serde_json::Value;

use super::completion_chunk::{CompletionChunk, StreamError, progress_in};
use super::error::{Problem, message_in, quote};
use super::server_report::ReportEvents;
use super::sse::Event;
use crate::{FinishReason, Flow, Observer, Phase, Piece, Request, ServerReport};

/// The longest text of lines that are not part of the format: a server's error, not a page.
const LONGEST_INVALID: usize = 64 << 10;

/// The state of a response.
pub(super) struct Response {
    /// Maximum number of tokens.
    expected: usize,
    /// Number of pieces after which nothing more is read.
    most: usize,
    pieces: usize,
    open: Option<Phase>,
    finish: Option<FinishReason>,
    /// Whether text arrived after the last finish reason.
    is_reopened: bool,
    is_complete: bool,
    /// Output tokens so far, by what the events list; `None` after an event that lists none.
    listed: Option<usize>,
    /// Lines that are not part of the format.
    invalid: String,
    /// The server's `system_fingerprint`.
    pub(super) fingerprint: Option<String>,
    pub(super) reported: ServerReport,
}

/// Whether to read more of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Read,
    Close,
}

impl Response {
    /// Begins the first phase. To be called immediately before the request is sent.
    pub(super) fn begin(request: &Request, observer: &mut dyn Observer) -> Self {
        observer.begin(Phase::Prefill);
        Self {
            expected: request.max_new_tokens,
            most: request.most_pieces(),
            pieces: 0,
            open: Some(Phase::Prefill),
            finish: None,
            is_reopened: false,
            is_complete: false,
            listed: Some(0),
            invalid: String::new(),
            fingerprint: None,
            reported: ServerReport::default(),
        }
    }

    /// Processes one event.
    pub(super) fn process(&mut self, event: &Event, observer: &mut dyn Observer) -> Result<Next, Problem> {
        match event {
            Event::Comment(comment) => {
                if let Some((done, total)) = progress_in(comment) {
                    observer.progress(done, total);
                }
                self.reported.read_comment(comment);
                Ok(Next::Read)
            }
            Event::Data(data) if data.trim() == "[DONE]" => {
                self.is_complete = true;
                Ok(Next::Close)
            }
            Event::Data(data) => {
                let document: Value = serde_json::from_str(data).map_err(|error| {
                    Problem::Unexpected(format!("expected JSON in an event, found `{}` ({error})", quote(data)))
                })?;
                self.process_document(&document, observer)
            }
            Event::Error(data) => Err(Problem::InStream(error_text(data))),
            Event::Unknown(line) => self.process_line(line, observer),
        }
    }

    /// A line without the name of a field: a document that lacks `data:`, or something else than events.
    fn process_line(&mut self, line: &str, observer: &mut dyn Observer) -> Result<Next, Problem> {
        if let Ok(document @ Value::Object(_)) = serde_json::from_str(line) {
            return self.process_document(&document, observer);
        }
        if self.invalid.len() < LONGEST_INVALID {
            self.invalid.push_str(line);
            self.invalid.push('\n');
        }
        // A document of several lines.
        if let Ok(document @ Value::Object(_)) = serde_json::from_str(&self.invalid) {
            self.invalid.clear();
            return self.process_document(&document, observer);
        }
        Ok(Next::Read)
    }

    fn process_document(&mut self, document: &Value, observer: &mut dyn Observer) -> Result<Next, Problem> {
        let chunk = CompletionChunk::new(document).map_err(|StreamError(message)| Problem::InStream(message))?;
        if let Some((done, total)) = chunk.progress {
            observer.progress(done, total);
        }
        let flow = self.emit_pieces(&chunk, observer);
        self.note(&chunk);
        if let Some(finish) = chunk.finish {
            if !chunk.has_output() {
                self.split(observer);
            }
            self.finish = Some(finish);
            self.is_reopened = false;
        }
        self.reported.read_event(document);
        if self.fingerprint.is_none() {
            self.fingerprint = document["system_fingerprint"].as_str().map(str::to_owned);
        }
        if flow == Flow::Stop {
            self.finish = Some(FinishReason::Interrupted);
            self.is_complete = true;
            return Ok(Next::Close);
        }
        if self.pieces >= self.most {
            self.reported.stream.is_cut = true;
            self.finish = Some(FinishReason::Length);
            return Ok(Next::Close);
        }
        self.is_complete |= chunk.is_last;
        Ok(if chunk.is_last { Next::Close } else { Next::Read })
    }

    fn emit_pieces(&mut self, chunk: &CompletionChunk, observer: &mut dyn Observer) -> Flow {
        if !chunk.has_output() {
            return Flow::Continue;
        }
        self.reported.chunks += 1;
        if self.finish.is_some() {
            self.is_reopened = true;
            self.reported.stream.reopened += 1;
        }
        // With ids, several tokens may arrive at once: the text is that of the last one.
        let count = chunk.tokens.len().max(1);
        for nth in 0..count {
            self.end(observer);
            let text = if nth + 1 == count { chunk.output.text.as_str() } else { "" };
            let piece = Piece { index: self.pieces, token: chunk.tokens.get(nth).copied(), text };
            self.pieces += 1;
            let flow = observer.piece(piece);
            let stream = &mut self.reported.stream;
            stream.text_bytes.push(stream.text_bytes.last().unwrap_or(&0) + text.len());
            self.count(chunk, nth);
            if flow == Flow::Stop {
                return flow;
            }
            observer.begin(Phase::Decode);
            self.open = Some(Phase::Decode);
        }
        Flow::Continue
    }

    /// Stores the number of output tokens after a piece.
    fn count(&mut self, chunk: &CompletionChunk, nth: usize) {
        let listed = if chunk.tokens.is_empty() { chunk.listed.filter(|tokens| *tokens > 0) } else { Some(1) };
        self.listed = self.listed.zip(listed).map(|(before, tokens)| before + tokens);
        // Tokens with ids are counted one by one; the running count is that after the last of them.
        let running = chunk.running.filter(|_| chunk.tokens.len() <= nth + 1);
        self.reported.stream.running.push(self.listed.or(running));
    }

    /// Stores what the figures of the answer have to be compared with.
    fn note(&mut self, chunk: &CompletionChunk) {
        let stream = &mut self.reported.stream;
        stream.has_reasoning |= chunk.output.has_reasoning;
        for field in &chunk.output.unread {
            if !stream.unread.contains(field) {
                stream.unread.push(field.clone());
            }
        }
        if stream.unknown_finish.is_none() {
            stream.unknown_finish.clone_from(&chunk.unknown_finish);
        }
    }

    /// Ends the open phase and begins it again: the answer may have ended here.
    fn split(&mut self, observer: &mut dyn Observer) {
        if let Some(phase) = self.open {
            observer.end(phase);
            observer.begin(phase);
        }
    }

    /// Number of pieces so far.
    pub(super) fn pieces(&self) -> usize {
        self.pieces
    }

    fn end(&mut self, observer: &mut dyn Observer) {
        if let Some(phase) = self.open.take() {
            observer.end(phase);
        }
    }

    /// Ends the open phase, if any; after a finish reason it did not take place.
    pub(super) fn close(&mut self, observer: &mut dyn Observer) {
        let has_ended = self.finish.is_some() && !self.is_reopened;
        match self.open.take() {
            Some(phase) if has_ended => observer.cancel(phase),
            Some(phase) => observer.end(phase),
            None => {}
        }
    }

    /// The finish reason and the number of tokens, or why the response is incomplete.
    pub(super) fn finish(&self) -> Result<(FinishReason, usize), Problem> {
        // A server that counts 0 tokens of a text does not count.
        let reported = self.reported.output_tokens.filter(|tokens| *tokens > 0);
        let count = reported.unwrap_or(self.pieces);
        let finish = match self.finish {
            Some(FinishReason::Interrupted) => return Ok((FinishReason::Interrupted, self.pieces)),
            Some(finish) => finish,
            None if self.is_complete && self.pieces > 0 => {
                if count >= self.expected {
                    FinishReason::Length
                } else {
                    FinishReason::Stop
                }
            }
            None => return Err(self.missing_end()),
        };
        // A response that is only an end-of-text token has no text.
        if self.pieces == 0 && reported.is_none_or(|tokens| tokens > 1) {
            let count =
                reported.map_or_else(|| "no token count".to_owned(), |tokens| format!("a token count of {tokens}"));
            let unread = match self.reported.stream.unread.as_slice() {
                [] => String::new(),
                fields => format!(", and output that is not understood in {}", fields.join(", ")),
            };
            let reason = format!("expected pieces of text, found a finish reason and {count}, but no text{unread}");
            return Err(Problem::Unexpected(reason));
        }
        Ok((finish, count))
    }

    /// Why there is no end: the server's words, if what arrived is an error in another format.
    fn missing_end(&self) -> Problem {
        let found = match (self.invalid.lines().next(), &self.reported.stream.unknown_finish, self.pieces) {
            (Some(_), _, _) if self.pieces == 0 => format!("`{}`", quote(&self.invalid)),
            (_, Some(word), pieces) => {
                format!("{} and the finish_reason `{}`, which is unknown", count_of(pieces), quote(word))
            }
            (Some(line), None, _) => format!("`{}`", quote(line)),
            (None, None, 0) => "nothing".to_owned(),
            (None, None, pieces) => format!("{} and no end", count_of(pieces)),
        };
        Problem::Unexpected(format!("expected a stream that ends with a finish_reason or [DONE], found {found}"))
    }
}

fn count_of(pieces: usize) -> String {
    format!("{pieces} piece{} of text", if pieces == 1 { "" } else { "s" })
}

/// The message of an error event. An error that is not JSON is reported as it is.
fn error_text(data: &str) -> String {
    let document = serde_json::from_str(data).unwrap_or(Value::Null);
    message_in(&document).unwrap_or_else(|| quote(data))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Prompt;

    /// The calls of an observer, with the number of the event in which they came: `prefill 0..2`.
    #[derive(Default)]
    struct Spans {
        now: usize,
        spans: Vec<(Phase, usize, usize)>,
        open: Vec<(Phase, usize)>,
        text: Vec<(usize, String)>,
    }

    impl Observer for Spans {
        fn begin(&mut self, phase: Phase) {
            assert!(self.open.is_empty(), "phases are not nested");
            self.open.push((phase, self.now));
        }
        fn end(&mut self, phase: Phase) {
            let (open, start) = self.open.pop().expect("a phase has begun");
            assert_eq!(open, phase);
            self.spans.push((phase, start, self.now));
        }
        fn cancel(&mut self, phase: Phase) {
            assert_eq!(self.open.pop().map(|(open, _)| open), Some(phase));
        }
        fn piece(&mut self, piece: Piece<'_>) -> Flow {
            assert!(self.open.is_empty(), "the phase of a piece has ended");
            self.text.push((self.now, piece.text.to_owned()));
            Flow::Continue
        }
    }

    /// Events 1, 2, ... of an answer of at most 8 tokens: the spans, and the response.
    fn run(events: &[Value]) -> (Spans, Result<(FinishReason, usize), String>, ServerReport) {
        let prompt = Prompt::Tokens(vec![1]);
        let request = Request { prompt, max_new_tokens: 8, ignore_eos: false };
        let mut spans = Spans::default();
        let mut response = Response::begin(&request, &mut spans);
        let mut result = Ok(Next::Read);
        for event in events {
            spans.now += 1;
            let event = match event {
                Value::String(line) if line.starts_with(['{', '<', ' ', '}', '"']) => Event::Unknown(line.clone()),
                Value::String(data) => Event::Data(data.clone()),
                document => Event::Data(document.to_string()),
            };
            result = response.process(&event, &mut spans);
            if result.as_ref() != Ok(&Next::Read) {
                break;
            }
        }
        response.close(&mut spans);
        assert!(spans.open.is_empty());
        let finish = result.and_then(|_| response.finish()).map_err(|problem| problem.to_string());
        (spans, finish, response.reported)
    }

    #[allow(clippy::needless_pass_by_value, reason = "the argument is written with json!")]
    fn text(text: &str, finish: Value) -> Value {
        json!({"choices": [{"delta": {"content": text}, "finish_reason": finish}]})
    }

    #[allow(clippy::needless_pass_by_value, reason = "the argument is written with json!")]
    fn end(finish: Value) -> Value {
        json!({"choices": [{"delta": {}, "finish_reason": finish}]})
    }

    const PREFILL: Phase = Phase::Prefill;
    const DECODE: Phase = Phase::Decode;

    #[test]
    fn an_answer_ends_with_its_finish_reason_not_with_the_stream() {
        let usage = json!({"choices": [], "usage": {"completion_tokens": 2}});
        let (spans, finish, _) =
            run(&[text("a", json!(null)), text("b", json!(null)), end(json!("stop")), usage, json!("[DONE]")]);
        assert_eq!(spans.spans, [(PREFILL, 0, 1), (DECODE, 1, 2), (DECODE, 2, 3)]);
        assert_eq!(finish, Ok((FinishReason::Stop, 2)));
    }

    #[test]
    fn the_last_text_with_its_finish_reason_ends_the_answer() {
        let (spans, finish, reported) = run(&[text("a", json!(null)), text("b", json!("length")), json!("[DONE]")]);
        assert_eq!(spans.spans, [(PREFILL, 0, 1), (DECODE, 1, 2)]);
        assert_eq!((finish, reported.stream.reopened), (Ok((FinishReason::Length, 2)), 0));
    }

    #[test]
    fn a_finish_reason_before_more_text_ends_nothing() {
        for word in ["stop", "", "null", "thinking"] {
            let (spans, finish, reported) = run(&[
                end(json!(word)),
                text("a", json!(word)),
                text("b", json!(word)),
                end(json!("stop")),
                json!("[DONE]"),
            ]);
            let prefill: usize = spans.spans.iter().filter(|span| span.0 == PREFILL).map(|span| span.2 - span.1).sum();
            assert_eq!(prefill, 2, "{word}: prefill lasts until the first text");
            assert_eq!(spans.spans.last(), Some(&(DECODE, 3, 4)), "{word}");
            assert_eq!(finish, Ok((FinishReason::Stop, 2)), "{word}");
            assert_eq!(reported.stream.reopened, if word == "stop" { 2 } else { 0 }, "{word}");
        }
    }

    #[test]
    fn text_after_the_last_finish_reason_lasts_until_the_end_of_the_stream() {
        let (spans, finish, _) =
            run(&[text("a", json!("stop")), text("b", json!(null)), json!({"choices": []}), json!("[DONE]")]);
        assert_eq!(spans.spans, [(PREFILL, 0, 1), (DECODE, 1, 2), (DECODE, 2, 4)]);
        assert_eq!(finish, Ok((FinishReason::Stop, 2)));
    }

    #[test]
    fn an_unknown_finish_reason_is_no_end() {
        let (spans, finish, _) = run(&[text("a", json!(null)), end(json!("pondering")), json!("[DONE]")]);
        assert_eq!(spans.spans, [(PREFILL, 0, 1), (DECODE, 1, 3)]);
        assert_eq!(finish, Ok((FinishReason::Stop, 1)));
        let (_, finish, _) = run(&[text("a", json!(null)), end(json!("pondering"))]);
        insta::assert_snapshot!(finish.unwrap_err(), @"expected a stream that ends with a finish_reason or [DONE], found 1 piece of text and the finish_reason `pondering`, which is unknown");
    }

    #[test]
    fn an_answer_without_text_ends_with_its_finish_reason() {
        let usage = json!({"choices": [], "usage": {"completion_tokens": 1}});
        let (spans, finish, _) = run(&[end(json!(null)), end(json!("stop")), usage, json!("[DONE]")]);
        assert_eq!(spans.spans, [(PREFILL, 0, 2)]);
        assert_eq!(finish, Ok((FinishReason::Stop, 1)));
        let image = json!({"choices": [{"delta": {"images": ["x"]}, "finish_reason": "stop"}]});
        insta::assert_snapshot!(run(&[image, json!("[DONE]")]).1.unwrap_err(), @"expected pieces of text, found a finish reason and no token count, but no text, and output that is not understood in delta.images");
    }

    #[test]
    fn documents_without_data_are_documents() {
        let line = |value: Value| Value::String(value.to_string());
        let (spans, finish, _) = run(&[line(text("a", json!(null))), line(end(json!("stop")))]);
        assert_eq!((spans.spans.len(), finish), (2, Ok((FinishReason::Stop, 1))));
        let error = run(&[text("a", json!(null)), line(json!({"error": {"message": "worker died"}}))]).1;
        insta::assert_snapshot!(error.unwrap_err(), @"the server reported an error in its stream: worker died");
        let lines = [json!("{"), json!("  \"detail\": \"worker died\""), json!("}")];
        insta::assert_snapshot!(run(&lines).1.unwrap_err(), @"the server reported an error in its stream: worker died");
    }

    #[test]
    fn tokens_so_far_are_stored_with_each_piece() {
        let with = |tokens: usize| json!({"choices": [{"delta": {"content": "x"}}], "usage": {"prompt_tokens": 3, "completion_tokens": tokens}});
        let (_, _, reported) = run(&[with(3), with(5), text("c", json!("stop")), json!("[DONE]")]);
        assert_eq!(reported.stream.running, [Some(3), Some(5), None]);
        let ids = |ids: &[u32]| json!({"choices": [{"delta": {"content": "x"}, "token_ids": ids}]});
        let (_, _, reported) = run(&[ids(&[1, 2]), ids(&[3]), json!("[DONE]")]);
        assert_eq!(reported.stream.running, [Some(2), Some(3)]);
    }

    #[test]
    fn an_answer_without_an_end_is_cut() {
        let endless = vec![text("a", json!(null)); 8 * 4 + 64 + 1];
        let (spans, finish, reported) = run(&endless);
        assert_eq!((spans.text.len(), finish), (8 * 4 + 64, Ok((FinishReason::Length, 8 * 4 + 64))));
        assert!(reported.stream.is_cut);
    }
}
