//! The observer of the timed region.

use engine_api::{Flow, Observer, Phase, Piece};
use traces::{Nanos, clock};

use crate::worker::Beacon;

/// A phase begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// The phase.
    pub phase: Phase,
    /// Whether it begins.
    pub begins: bool,
    /// When.
    pub at: Nanos,
}

/// An output token as it came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) at: Nanos,
    pub(super) token: Option<u32>,
}

/// Edges of a request that has no tokens but its prompt, and room for engines that tell more than they should.
const SPARE_EDGES: usize = 64;
/// Edges of one token: decode, sample and detokenize, each with two.
const EDGES_PER_TOKEN: usize = 6;
/// No token of any vocabulary is longer than this on average over an answer.
const BYTES_PER_TOKEN: usize = 256;

/// Reads the clock at every edge and keeps it. All memory is taken and touched before the request begins; per edge it
/// costs a clock reading, a store and, where a phase begins, one byte to the beacon.
#[derive(Debug)]
pub struct Stopwatch<'a> {
    edges: Vec<Edge>,
    arrivals: Vec<Arrival>,
    text: String,
    /// When a server told that it begins with the prompt.
    progress: Option<Nanos>,
    beacon: &'a Beacon,
    full: bool,
    stopped: bool,
}

impl<'a> Stopwatch<'a> {
    /// For a request of at most so many new tokens.
    pub fn new(new_tokens: usize, beacon: &'a Beacon) -> Self {
        let edge = Edge { phase: Phase::Load, begins: false, at: Nanos::ZERO };
        let arrival = Arrival { at: Nanos::ZERO, token: None };
        Self {
            edges: touched(edge, new_tokens * EDGES_PER_TOKEN + SPARE_EDGES),
            arrivals: touched(arrival, new_tokens + 1),
            // An empty vector is text.
            text: String::from_utf8(touched(b' ', (new_tokens + 1) * BYTES_PER_TOKEN)).unwrap_or_default(),
            progress: None,
            beacon,
            full: false,
            stopped: false,
        }
    }

    /// Keeps an edge, for a pass that walks the steps itself.
    pub fn mark(&mut self, edge: Edge) {
        if self.edges.len() < self.edges.capacity() {
            self.edges.push(edge);
        } else {
            self.full = true;
        }
    }

    /// All edges so far.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    pub(super) fn arrivals(&self) -> &[Arrival] {
        &self.arrivals
    }

    /// When the word came that the prompt's first token is being worked on.
    pub(crate) const fn prefill_began(&self) -> Option<Nanos> {
        self.progress
    }

    /// The answer so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the engine told more than the request can have.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Whether the run was interrupted.
    pub fn was_stopped(&self) -> bool {
        self.stopped
    }
}

impl Observer for Stopwatch<'_> {
    fn begin(&mut self, phase: Phase) {
        self.beacon.set_phase(phase);
        let at = clock::now();
        self.mark(Edge { phase, begins: true, at });
    }

    fn end(&mut self, phase: Phase) {
        let at = clock::now();
        self.mark(Edge { phase, begins: false, at });
    }

    fn progress(&mut self, done: usize, _total: usize) {
        // Some servers tell only what is done already: that is no beginning.
        if done == 0 && self.progress.is_none() {
            self.progress = Some(clock::now());
        }
    }

    fn piece(&mut self, piece: Piece<'_>) -> Flow {
        let at = clock::now();
        if self.arrivals.len() < self.arrivals.capacity() && self.text.len() + piece.text.len() <= self.text.capacity()
        {
            self.arrivals.push(Arrival { at, token: piece.token });
            self.text.push_str(piece.text);
        } else {
            self.full = true;
        }
        if self.beacon.is_stopped() {
            self.stopped = true;
            return Flow::Stop;
        }
        Flow::Continue
    }
}

/// An empty vector whose pages are all in memory: writing to it later faults none in.
fn touched<T: Clone>(value: T, length: usize) -> Vec<T> {
    let mut vector = Vec::with_capacity(length);
    vector.extend(std::iter::repeat_n(value, length));
    // Without this the compiler may leave out stores that nothing reads.
    std::hint::black_box(&mut vector);
    vector.clear();
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopwatch_never_grows() {
        let beacon = Beacon::detached();
        let mut watch = Stopwatch::new(2, &beacon);
        let room = (watch.edges.capacity(), watch.arrivals.capacity(), watch.text.capacity());
        for index in 0..200 {
            watch.begin(Phase::Decode);
            watch.end(Phase::Decode);
            assert_eq!(watch.piece(Piece { index, token: Some(1), text: "some text of a token" }), Flow::Continue);
        }
        assert!(watch.is_full());
        assert_eq!(room, (watch.edges.capacity(), watch.arrivals.capacity(), watch.text.capacity()));
    }

    #[test]
    fn only_a_beginning_ends_the_queue() {
        let beacon = Beacon::detached();
        let mut watch = Stopwatch::new(1, &beacon);
        watch.progress(6, 7);
        assert_eq!(watch.prefill_began(), None, "that much is done already");
        watch.progress(0, 7);
        let began = watch.prefill_began();
        assert!(began.is_some());
        watch.progress(0, 7);
        assert_eq!(watch.prefill_began(), began);
    }

    #[test]
    fn an_interrupt_ends_after_the_piece() {
        let beacon = Beacon::detached();
        let mut watch = Stopwatch::new(4, &beacon);
        assert_eq!(watch.piece(Piece { index: 0, token: Some(1), text: "a" }), Flow::Continue);
        beacon.stop();
        assert_eq!(watch.piece(Piece { index: 1, token: Some(2), text: "b" }), Flow::Stop);
        assert!(watch.was_stopped());
        assert_eq!(watch.text(), "ab");
    }

    #[test]
    fn the_beacon_knows_the_last_phase() {
        let beacon = Beacon::detached();
        let mut watch = Stopwatch::new(1, &beacon);
        watch.begin(Phase::Prefill);
        watch.end(Phase::Prefill);
        watch.begin(Phase::Sample);
        assert_eq!(beacon.phase(), Some(Phase::Sample));
    }
}
