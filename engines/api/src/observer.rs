//! The observer's side of a request: phases begin, phases end, pieces arrive.

use serde::{Deserialize, Serialize};

/// A part of a model's life that is timed by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// From the checkpoint to a session that can answer.
    Load,
    /// Text to token ids.
    Tokenize,
    /// All prompt tokens through the model, up to the logits of the last one.
    Prefill,
    /// One new token through the model, up to its logits.
    Decode,
    /// Logits to the next token.
    Sample,
    /// Token to text.
    Detokenize,
}

impl Phase {
    /// Every phase, in the order of a request.
    pub const ALL: [Self; 6] =
        [Self::Load, Self::Tokenize, Self::Prefill, Self::Decode, Self::Sample, Self::Detokenize];

    /// The name in traces, files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Tokenize => "tokenize",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Sample => "sample",
            Self::Detokenize => "detokenize",
        }
    }
}

/// One output token as the engine hands it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Its place in the answer, from 0.
    pub index: usize,
    /// Its id; `None` where the engine does not tell.
    pub token: Option<u32>,
    /// The text that it completes; empty while a character is still cut in half, and for an end-of-generation token.
    pub text: &'a str,
}

/// Whether a generation goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// Go on.
    Continue,
    /// End after this piece: the run was interrupted or its time is up.
    Stop,
}

/// Watches a request. The engine calls it at its own pace; the implementation reads the clock and must be cheap.
///
/// In order: `Tokenize`, `Prefill`, `Sample`, `Detokenize`, piece, then per further token `Decode`, `Sample`,
/// `Detokenize`, piece. Each phase begins and ends; what passes between an end and the next beginning is the engine's
/// own loop. An engine that cannot tell two phases apart reports only the later one
/// ([`PhaseSplit`](crate::PhaseSplit)).
pub trait Observer {
    /// A phase begins now.
    fn begin(&mut self, phase: Phase);
    /// The phase that began last ends now.
    fn end(&mut self, phase: Phase);
    /// Of the prompt's tokens so many are through the model, as a server tells it during prefill.
    fn progress(&mut self, _done: usize, _total: usize) {}
    /// A token is out, or what a server sends at once. Called after the phases that made it have ended.
    fn piece(&mut self, piece: Piece<'_>) -> Flow;
}

/// An observer that lets everything pass: for warm-up and for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn begin(&mut self, _phase: Phase) {}
    fn end(&mut self, _phase: Phase) {}
    fn piece(&mut self, _piece: Piece<'_>) -> Flow {
        Flow::Continue
    }
}
