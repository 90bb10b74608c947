//! A streamed response: events in, phases and pieces out, until it is complete.

use serde_json::Value;

use super::completion_chunk::{CompletionChunk, StreamError, progress_in};
use super::error::{Problem, quote};
use super::server_report::ReportEvents;
use super::sse::Event;
use crate::{FinishReason, Flow, Observer, Phase, Piece, ServerReport};

/// The state of a response.
pub(super) struct Response {
    /// Maximum number of pieces; after the last one no phase begins.
    expected: usize,
    pieces: usize,
    open: Option<Phase>,
    finish: Option<FinishReason>,
    is_complete: bool,
    /// The first line that is not part of the format.
    invalid_line: Option<String>,
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
    pub(super) fn begin(expected: usize, observer: &mut dyn Observer) -> Self {
        observer.begin(Phase::Prefill);
        Self {
            expected,
            pieces: 0,
            open: Some(Phase::Prefill),
            finish: None,
            is_complete: false,
            invalid_line: None,
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
                self.close(observer);
                self.is_complete = true;
                Ok(Next::Close)
            }
            Event::Data(data) => self.process_data(data, observer),
            Event::Error(data) => {
                // An error that is not JSON is reported as it is.
                let document = serde_json::from_str(data).unwrap_or(Value::Null);
                Err(Problem::InStream(super::error::message_in(&document).unwrap_or_else(|| quote(data))))
            }
            Event::Unknown(line) => {
                self.invalid_line.get_or_insert_with(|| quote(line));
                Ok(Next::Read)
            }
        }
    }

    fn process_data(&mut self, data: &str, observer: &mut dyn Observer) -> Result<Next, Problem> {
        let document: Value = serde_json::from_str(data).map_err(|error| {
            Problem::Unexpected(format!("expected JSON in an event, found `{}` ({error})", quote(data)))
        })?;
        let chunk = CompletionChunk::new(&document).map_err(|StreamError(message)| Problem::InStream(message))?;
        if let Some((done, total)) = chunk.progress {
            observer.progress(done, total);
        }
        // A last chunk without text is not a step.
        let flow = self.emit_pieces(&chunk, observer);
        if let Some(finish) = chunk.finish {
            self.close(observer);
            self.finish = Some(finish);
        }
        self.reported.read_event(&document);
        if self.fingerprint.is_none() {
            self.fingerprint = document["system_fingerprint"].as_str().map(str::to_owned);
        }
        if flow == Flow::Stop {
            self.close(observer);
            self.finish = Some(FinishReason::Interrupted);
            self.is_complete = true;
            return Ok(Next::Close);
        }
        self.is_complete |= chunk.is_last;
        Ok(if chunk.is_last { Next::Close } else { Next::Read })
    }

    fn emit_pieces(&mut self, chunk: &CompletionChunk, observer: &mut dyn Observer) -> Flow {
        if chunk.text.is_empty() && chunk.tokens.is_empty() {
            return Flow::Continue;
        }
        self.reported.chunks += 1;
        // With ids, several tokens may arrive at once: the text is that of the last one.
        let count = chunk.tokens.len().max(1);
        for nth in 0..count {
            self.close(observer);
            let text = if nth + 1 == count { chunk.text.as_str() } else { "" };
            let piece = Piece { index: self.pieces, token: chunk.tokens.get(nth).copied(), text };
            self.pieces += 1;
            if observer.piece(piece) == Flow::Stop {
                return Flow::Stop;
            }
            let continues = nth + 1 < count || chunk.finish.is_none();
            if continues && self.finish.is_none() && self.pieces < self.expected {
                observer.begin(Phase::Decode);
                self.open = Some(Phase::Decode);
            }
        }
        Flow::Continue
    }

    /// Number of pieces so far.
    pub(super) fn pieces(&self) -> usize {
        self.pieces
    }

    /// Ends the open phase, if any.
    pub(super) fn close(&mut self, observer: &mut dyn Observer) {
        if let Some(phase) = self.open.take() {
            observer.end(phase);
        }
    }

    /// The finish reason and the number of tokens, or why the response is incomplete.
    pub(super) fn end(&self) -> Result<(FinishReason, usize), Problem> {
        let reported = self.reported.output_tokens;
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
            None => return Err(Problem::Unexpected(self.missing_end())),
        };
        // A response that is only an end-of-text token has no text.
        if self.pieces == 0 && reported.is_none_or(|tokens| tokens > 1) {
            let count =
                reported.map_or_else(|| "no token count".to_owned(), |tokens| format!("a token count of {tokens}"));
            let reason = format!("expected pieces of text, found a finish reason and {count}, but no text");
            return Err(Problem::Unexpected(reason));
        }
        Ok((finish, count))
    }

    fn missing_end(&self) -> String {
        let found = match (&self.invalid_line, self.pieces) {
            (Some(line), _) => format!("`{line}`"),
            (None, 0) => "nothing".to_owned(),
            (None, 1) => "1 piece of text and no end".to_owned(),
            (None, pieces) => format!("{pieces} pieces of text and no end"),
        };
        format!("expected a stream that ends with a finish_reason or [DONE], found {found}")
    }
}
