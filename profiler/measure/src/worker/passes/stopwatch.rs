//! [`Stopwatch`]: the observer of the timed region.

use engine_api::{Flow, Observer, Phase, Piece};
use traces::{Nanos, clock};

use crate::protocol::SharedStatus;

/// The begin or the end of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// The phase.
    pub phase: Phase,
    /// Whether it is the begin.
    pub begins: bool,
    /// When.
    pub at: Nanos,
}

/// The arrival of an output token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) at: Nanos,
    pub(super) token: Option<u32>,
}

/// Edges of a request without output tokens, and some more for engines that report too many.
const SPARE_EDGES: usize = 64;
/// Edges of one token: two each for decode, sample and detokenize.
const EDGES_PER_TOKEN: usize = 6;
/// More bytes than a token of any vocabulary has, on average over an answer.
const BYTES_PER_TOKEN: usize = 256;

/// Reads the clock at every edge and stores the reading. All memory is allocated and touched before the request begins. An edge costs
/// a clock reading and a store, and at the begin of a phase one byte of the shared status.
#[derive(Debug)]
pub struct Stopwatch<'a> {
    edges: Vec<Edge>,
    arrivals: Vec<Arrival>,
    text: String,
    /// When a server reported that it began with the prompt.
    progress: Option<Nanos>,
    /// When the last bytes of a server's response arrived.
    arrival: Option<Nanos>,
    status: &'a SharedStatus,
    full: bool,
    stopped: bool,
}

impl<'a> Stopwatch<'a> {
    /// For a request of at most so many new tokens.
    pub fn new(new_tokens: usize, status: &'a SharedStatus) -> Self {
        let edge = Edge { phase: Phase::Load, begins: false, at: Nanos::ZERO };
        let arrival = Arrival { at: Nanos::ZERO, token: None };
        Self {
            edges: touched(edge, new_tokens * EDGES_PER_TOKEN + SPARE_EDGES),
            arrivals: touched(arrival, new_tokens + 1),
            // An empty vector is valid UTF-8.
            text: String::from_utf8(touched(b' ', (new_tokens + 1) * BYTES_PER_TOKEN)).unwrap_or_default(),
            progress: None,
            arrival: None,
            status,
            full: false,
            stopped: false,
        }
    }

    /// The time of an event: that of the bytes which brought it, else now.
    fn event_time(&self) -> Nanos {
        self.arrival.unwrap_or_else(clock::now)
    }

    /// Stores an edge, for a pass that runs the steps itself.
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

    /// When the server reported that it began with the prompt.
    pub(crate) const fn prefill_began(&self) -> Option<Nanos> {
        self.progress
    }

    /// The answer so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the engine reported more than the request can have.
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
        self.status.set_phase(phase);
        let at = self.event_time();
        self.mark(Edge { phase, begins: true, at });
    }

    fn end(&mut self, phase: Phase) {
        let at = self.event_time();
        self.mark(Edge { phase, begins: false, at });
    }

    fn cancel(&mut self, phase: Phase) {
        // Any other edge stays, and makes the timing invalid.
        if self.edges.last().is_some_and(|edge| edge.begins && edge.phase == phase) {
            self.edges.pop();
        }
        // Without a phase the request begins again.
        if self.edges.is_empty() {
            self.arrival = None;
        }
    }

    fn arrival(&mut self) {
        self.arrival = Some(clock::now());
    }

    fn progress(&mut self, done: usize, _total: usize) {
        // Some servers report progress only after a part of the prompt is done.
        if done == 0 && self.progress.is_none() {
            self.progress = Some(self.event_time());
        }
    }

    fn piece(&mut self, piece: Piece<'_>) -> Flow {
        let at = self.event_time();
        if self.arrivals.len() < self.arrivals.capacity() && self.text.len() + piece.text.len() <= self.text.capacity()
        {
            self.arrivals.push(Arrival { at, token: piece.token });
            self.text.push_str(piece.text);
        } else {
            self.full = true;
        }
        if self.status.stop_requested() {
            self.stopped = true;
            return Flow::Stop;
        }
        Flow::Continue
    }
}

/// An empty vector whose pages are all in memory, so that later writes cause no page fault.
fn touched<T: Clone>(value: T, length: usize) -> Vec<T> {
    let mut vector = Vec::with_capacity(length);
    vector.extend(std::iter::repeat_n(value, length));
    // Without this the compiler may remove stores that are never read.
    std::hint::black_box(&mut vector);
    vector.clear();
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopwatch_never_grows() {
        let status = SharedStatus::unshared();
        let mut watch = Stopwatch::new(2, &status);
        let capacities = (watch.edges.capacity(), watch.arrivals.capacity(), watch.text.capacity());
        for index in 0..200 {
            watch.begin(Phase::Decode);
            watch.end(Phase::Decode);
            assert_eq!(watch.piece(Piece { index, token: Some(1), text: "some text of a token" }), Flow::Continue);
        }
        assert!(watch.is_full());
        assert_eq!(capacities, (watch.edges.capacity(), watch.arrivals.capacity(), watch.text.capacity()));
    }

    #[test]
    fn everything_that_one_read_brings_has_its_time() {
        let status = SharedStatus::unshared();
        let mut watch = Stopwatch::new(4, &status);
        watch.begin(Phase::Prefill);
        watch.arrival();
        watch.end(Phase::Prefill);
        for index in 0..3 {
            let _ = watch.piece(Piece { index, token: None, text: "a" });
            watch.begin(Phase::Decode);
            watch.end(Phase::Decode);
        }
        let read = watch.edges()[1].at;
        assert!(watch.edges()[0].at <= read);
        assert!(watch.edges()[1..].iter().all(|edge| edge.at == read), "{:?}", watch.edges());
        assert!(watch.arrivals().iter().all(|arrival| arrival.at == read));
        watch.arrival();
        watch.begin(Phase::Decode);
        assert!(watch.edges().last().is_some_and(|edge| edge.at >= read));
    }

    #[test]
    fn a_phase_that_did_not_take_place_has_no_edge() {
        let status = SharedStatus::unshared();
        let mut watch = Stopwatch::new(1, &status);
        watch.begin(Phase::Prefill);
        watch.end(Phase::Prefill);
        watch.begin(Phase::Decode);
        watch.cancel(Phase::Decode);
        assert_eq!(watch.edges().len(), 2);
        watch.cancel(Phase::Prefill);
        assert_eq!(watch.edges().len(), 2, "its end is no begin");
    }

    #[test]
    fn only_progress_of_zero_is_the_begin_of_prefill() {
        let status = SharedStatus::unshared();
        let mut watch = Stopwatch::new(1, &status);
        watch.progress(6, 7);
        assert_eq!(watch.prefill_began(), None, "a part of the prompt is done already");
        watch.progress(0, 7);
        let began = watch.prefill_began();
        assert!(began.is_some());
        watch.progress(0, 7);
        assert_eq!(watch.prefill_began(), began);
    }

    #[test]
    fn an_interrupt_ends_after_the_piece() {
        let status = SharedStatus::unshared();
        let mut watch = Stopwatch::new(4, &status);
        assert_eq!(watch.piece(Piece { index: 0, token: Some(1), text: "a" }), Flow::Continue);
        status.request_stop();
        assert_eq!(watch.piece(Piece { index: 1, token: Some(2), text: "b" }), Flow::Stop);
        assert!(watch.was_stopped());
        assert_eq!(watch.text(), "ab");
    }

    #[test]
    fn the_status_holds_the_last_phase() {
        let status = SharedStatus::unshared();
        let mut watch = Stopwatch::new(1, &status);
        watch.begin(Phase::Prefill);
        watch.end(Phase::Prefill);
        watch.begin(Phase::Sample);
        assert_eq!(status.phase(), Some(Phase::Sample));
    }
}
