//! Allocations of the traced pass by phase: the allocator's counters are read at the edges. Allocations before the first phase, when
//! engines prepare their threads for recording, and allocations of observers belong to the instruments and are left out.

use engine_api::{Flow, Observer, Phase, Piece};
use meter::heap::{AllocationCounter, AllocationTotals};
use record::{AllocationRow, PhaseOrOther};

use crate::protocol::Allocations;

/// The index of the time between phases.
const OTHER: usize = Phase::ALL.len();

/// Sums of one phase.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    entered: bool,
    count: u64,
    bytes: u64,
    peak: i64,
}

/// Reads the counters at every edge, then forwards the edge. It does not allocate.
pub(super) struct AllocationEdges<'o> {
    observer: &'o mut dyn Observer,
    counting: AllocationCounter,
    sums: [Sum; Phase::ALL.len() + 1],
    /// Whether a phase has begun.
    begun: bool,
    last: AllocationTotals,
    /// Bytes held now that the instruments allocated.
    own: i64,
}

impl<'o> AllocationEdges<'o> {
    /// For a request that begins now; `observer` times it.
    pub(super) fn new(observer: &'o mut dyn Observer, counting: AllocationCounter) -> Self {
        let last = counting.read();
        Self { observer, counting, sums: [Sum::default(); OTHER + 1], begun: false, own: last.held, last }
    }

    /// Adds what was allocated since the last edge to this phase.
    fn close(&mut self, index: usize) {
        let now = self.counting.read();
        let sum = &mut self.sums[index];
        sum.entered = true;
        sum.count += now.count - self.last.count;
        sum.bytes += now.bytes - self.last.bytes;
        sum.peak = sum.peak.max(now.peak - self.own);
        self.last = now;
    }

    /// Leaves out what was allocated since the last edge.
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
        let phases = Phase::ALL.map(PhaseOrOther::Phase).into_iter().chain([PhaseOrOther::Other]);
        let rows = phases.zip(&self.sums).filter(|(_, sum)| sum.entered).map(|(phase, sum)| AllocationRow {
            phase,
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
        // Before the edge: what the observer allocates there does not belong to the phase.
        self.close(phase as usize);
        self.observer.end(phase);
        self.skip();
    }

    fn cancel(&mut self, phase: Phase) {
        self.close(OTHER);
        self.observer.cancel(phase);
        self.skip();
    }

    fn arrival(&mut self) {
        self.observer.arrival();
    }

    fn piece(&mut self, piece: Piece<'_>) -> Flow {
        self.observer.piece(piece)
    }
}
