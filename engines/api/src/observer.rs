//! Observation of a request: phases begin and end, pieces of output arrive.

use serde::{Deserialize, Serialize};

/// A part of loading or of a request that is timed separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// From the checkpoint to a session that is ready.
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

    /// The phase with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

/// One output token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Its index in the output, from 0.
    pub index: usize,
    /// Its id; `None` if the engine does not report it.
    pub token: Option<u32>,
    /// The text that it completes; empty for an incomplete character and for an end-of-generation token.
    pub text: &'a str,
}

/// Whether a generation continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// Continue.
    Continue,
    /// Stop after this piece: the run was interrupted or its time is over.
    Stop,
}

/// Receives the events of a request. The engine calls it at its own pace; the implementation reads the clock and must be cheap.
///
/// The order is `Tokenize`, `Prefill`, `Sample`, `Detokenize`, piece, then for each further token `Decode`, `Sample`, `Detokenize`,
/// piece. Each phase begins and ends. The time between the end of a phase and the start of the next belongs to the engine's own
/// loop. An engine that cannot separate two phases reports only the later one ([`PhaseSplit`](crate::PhaseSplit)).
///
/// "Now" is the time of the call. For a server it is the time of its last [`Observer::arrival`]: everything that one read brought has
/// one time.
pub trait Observer {
    /// A phase begins now.
    fn begin(&mut self, phase: Phase);
    /// The phase that began last ends now.
    fn end(&mut self, phase: Phase);
    /// The phase that began last did not take place: nothing followed that could end it.
    fn cancel(&mut self, phase: Phase);
    /// Bytes of a server's response arrived now.
    fn arrival(&mut self) {}
    /// Progress of a prefill that a server reports: `done` of `total` prompt tokens are processed.
    fn progress(&mut self, _done: usize, _total: usize) {}
    /// An output token, or one chunk of text from a server. Called after the phases that made it have ended.
    fn piece(&mut self, piece: Piece<'_>) -> Flow;
}

/// An observer that ignores every event: for warm-up and for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullObserver;

impl Observer for NullObserver {
    fn begin(&mut self, _phase: Phase) {}
    fn end(&mut self, _phase: Phase) {}
    fn cancel(&mut self, _phase: Phase) {}
    fn piece(&mut self, _piece: Piece<'_>) -> Flow {
        Flow::Continue
    }
}
