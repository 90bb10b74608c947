//! An answer as it grows: events in, phases and pieces out, until it has ended as it should.

use serde_json::Value;

use super::account::Account;
use super::chunk::{Chunk, Told, progress_in};
use super::failure::{Problem, quote};
use super::sse::Event;
use crate::{FinishReason, Flow, Observer, Phase, Piece, Reported};

/// What is known of an answer so far.
pub(super) struct Answer {
    /// So many pieces may come; behind the last one no phase is opened.
    expected: usize,
    pieces: usize,
    open: Option<Phase>,
    finish: Option<FinishReason>,
    is_complete: bool,
    /// A line that no stream should have.
    junk: Option<String>,
    /// What made the answer, in the server's words.
    pub(super) fingerprint: Option<String>,
    pub(super) reported: Reported,
}

/// Whether more is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Read,
    Close,
}

impl Answer {
    /// Opens the first phase: to be called right before the request is sent.
    pub(super) fn begin(expected: usize, observer: &mut dyn Observer) -> Self {
        observer.begin(Phase::Prefill);
        Self {
            expected,
            pieces: 0,
            open: Some(Phase::Prefill),
            finish: None,
            is_complete: false,
            junk: None,
            fingerprint: None,
            reported: Reported::default(),
        }
    }

    /// Takes one event.
    pub(super) fn take(&mut self, event: &Event, observer: &mut dyn Observer) -> Result<Next, Problem> {
        match event {
            Event::Comment(comment) => {
                if let Some((done, total)) = progress_in(comment) {
                    observer.progress(done, total);
                }
                self.reported.take_comment(comment);
                Ok(Next::Read)
            }
            Event::Data(data) if data.trim() == "[DONE]" => {
                self.close(observer);
                self.is_complete = true;
                Ok(Next::Close)
            }
            Event::Data(data) => self.take_data(data, observer),
            Event::Error(data) => {
                let document = serde_json::from_str(data).unwrap_or(Value::Null);
                Err(Problem::Told(super::failure::message_in(&document).unwrap_or_else(|| quote(data))))
            }
            Event::Unknown(line) => {
                self.junk.get_or_insert_with(|| quote(line));
                Ok(Next::Read)
            }
        }
    }

    fn take_data(&mut self, data: &str, observer: &mut dyn Observer) -> Result<Next, Problem> {
        let document: Value = serde_json::from_str(data).map_err(|error| {
            Problem::Broken(format!("expected JSON in an event, found `{}` ({error})", quote(data)))
        })?;
        let chunk = Chunk::new(&document).map_err(|Told(message)| Problem::Told(message))?;
        if let Some((done, total)) = chunk.progress {
            observer.progress(done, total);
        }
        // A chunk that ends the answer and brings nothing was no step of its own.
        let flow = self.take_pieces(&chunk, observer);
        if let Some(finish) = chunk.finish {
            self.close(observer);
            self.finish = Some(finish);
        }
        self.reported.take(&document);
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

    fn take_pieces(&mut self, chunk: &Chunk, observer: &mut dyn Observer) -> Flow {
        if chunk.text.is_empty() && chunk.tokens.is_empty() {
            return Flow::Continue;
        }
        self.reported.chunks += 1;
        // Where ids are told, several may come at once: the text is that of the last one.
        let count = chunk.tokens.len().max(1);
        for nth in 0..count {
            self.close(observer);
            let text = if nth + 1 == count { chunk.text.as_str() } else { "" };
            let piece = Piece { index: self.pieces, token: chunk.tokens.get(nth).copied(), text };
            self.pieces += 1;
            if observer.piece(piece) == Flow::Stop {
                return Flow::Stop;
            }
            let goes_on = nth + 1 < count || chunk.finish.is_none();
            if goes_on && self.finish.is_none() && self.pieces < self.expected {
                observer.begin(Phase::Decode);
                self.open = Some(Phase::Decode);
            }
        }
        Flow::Continue
    }

    /// Pieces that have come.
    pub(super) fn pieces(&self) -> usize {
        self.pieces
    }

    /// Closes the phase that is open.
    pub(super) fn close(&mut self, observer: &mut dyn Observer) {
        if let Some(phase) = self.open.take() {
            observer.end(phase);
        }
    }

    /// Why it ended and how many tokens came, or what is wrong with how it ended.
    pub(super) fn end(&self) -> Result<(FinishReason, usize), Problem> {
        let told = self.reported.output_tokens;
        let count = told.unwrap_or(self.pieces);
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
            None => return Err(Problem::Broken(self.what_is_missing())),
        };
        // An end-of-text token alone is an answer without text.
        if self.pieces == 0 && told.is_none_or(|tokens| tokens > 1) {
            let told = told.map_or_else(|| "no count of them".to_owned(), |tokens| format!("a count of {tokens}"));
            let reason = format!("expected pieces of text, found none, a reason to end and {told}");
            return Err(Problem::Broken(reason));
        }
        Ok((finish, count))
    }

    fn what_is_missing(&self) -> String {
        let found = match (&self.junk, self.pieces) {
            (Some(line), _) => format!("`{line}`"),
            (None, 0) => "nothing".to_owned(),
            (None, 1) => "1 piece of text and no end".to_owned(),
            (None, pieces) => format!("{pieces} pieces of text and no end"),
        };
        format!("expected a stream that ends with a finish_reason or [DONE], found {found}")
    }
}
