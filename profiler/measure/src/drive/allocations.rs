//! Allocations of the traced pass by phase: the allocator's counters are read at the edges. What is allocated before the first
//! phase, where engines ready their threads for recording, and by who observes, is the instruments' own and nobody's.

use engine_api::{Flow, Observer, Phase, Piece};

use meter::heap::{Counting, Reading};
use record::AllocationRow;

/// What a request allocated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allocations {
    /// One row a phase that the request has, in their order, and `other` for what lies between them.
    pub rows: Vec<AllocationRow>,
    /// Bytes that it allocated and still held when it ended, less what it gave back of what was there before.
    pub held: i64,
}

/// Between the phases.
const OTHER: usize = Phase::ALL.len();

/// Sums of one phase.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    entered: bool,
    count: u64,
    bytes: u64,
    peak: i64,
}

/// Reads the counters at every edge and passes the edge on. It allocates nothing itself.
pub(super) struct AllocationEdges<'o> {
    observer: &'o mut dyn Observer,
    counting: Counting,
    sums: [Sum; Phase::ALL.len() + 1],
    /// A phase has begun.
    begun: bool,
    last: Reading,
    /// Of what is held now, what the instruments took.
    own: i64,
}

impl<'o> AllocationEdges<'o> {
    /// For a request that begins now, in front of the observer that times it.
    pub(super) fn new(observer: &'o mut dyn Observer, counting: Counting) -> Self {
        let last = counting.read();
        Self { observer, counting, sums: [Sum::default(); OTHER + 1], begun: false, own: last.held, last }
    }

    /// What passed since the last edge belongs to this place.
    fn close(&mut self, place: usize) {
        let now = self.counting.read();
        if let Some(sum) = self.sums.get_mut(place) {
            sum.entered = true;
            sum.count += now.count - self.last.count;
            sum.bytes += now.bytes - self.last.bytes;
            sum.peak = sum.peak.max(now.peak - self.own);
        }
        self.last = now;
    }

    /// What passed since the last edge is the instruments' own.
    fn skip(&mut self) {
        let now = self.counting.read();
        self.own += now.held - self.last.held;
        self.last = now;
    }

    /// Ends counting.
    pub(super) fn finish(mut self) -> Allocations {
        self.close(OTHER);
        let held = self.last.held - self.own;
        drop(self.counting);
        let names = Phase::ALL.map(Phase::name).into_iter().chain(["other"]);
        let rows = names.zip(&self.sums).filter(|(_, sum)| sum.entered).map(|(name, sum)| AllocationRow {
            phase: name.to_owned(),
            count: sum.count,
            bytes: sum.bytes,
            peak_bytes: u64::try_from(sum.peak).unwrap_or(0),
        });
        Allocations { rows: rows.collect(), held }
    }
}

impl Observer for AllocationEdges<'_> {
    fn begin(&mut self, phase: Phase) {
        if self.begun {
            self.close(OTHER);
        } else {
            self.begun = true;
            self.skip();
        }
        self.observer.begin(phase);
    }

    fn end(&mut self, phase: Phase) {
        // Before the edge: what the observer does behind it is not the phase's.
        self.close(phase as usize);
        self.observer.end(phase);
        self.skip();
    }

    fn piece(&mut self, piece: Piece<'_>) -> Flow {
        self.observer.piece(piece)
    }
}
