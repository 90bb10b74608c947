//! The counted pass: the engine runs freely, and the counters are read at each edge of an op.
//!
//! A reading takes about as long as a small op, so this is a pass of its own, whose times are not used. The counters are those of the
//! whole process, so they include what all threads do for an op.

use std::cell::RefCell;
use std::collections::BTreeMap;

use ::record::{CounterTotals, OpCounters};
use engine_api::{EngineError, Flow, Observer, Phase, Piece, Request, Session, Usage};
use meter::{Meter, Reading, Tally};
use traces::record::{self, OpEdge};

use super::phase_rows::totals;
use super::stopwatch::Stopwatch;

thread_local! {
    /// The counters while a request is counted on this thread.
    static COUNTING: RefCell<Option<Counting>> = const { RefCell::new(None) };
}

#[derive(Debug)]
struct Counting {
    meter: Meter,
    phase: Option<Phase>,
    /// Ops that have begun, the innermost last.
    open: Vec<(&'static str, Reading)>,
    sums: BTreeMap<(Phase, &'static str), (usize, Tally)>,
}

impl Counting {
    fn edge(&mut self, edge: OpEdge) {
        match edge {
            OpEdge::Begins(name) => {
                let now = self.meter.read_events();
                self.open.push((name, now));
            }
            OpEdge::Ended => {
                let now = self.meter.read_events();
                if let (Some((name, before)), Some(phase)) = (self.open.pop(), self.phase) {
                    let (count, tally) = self.sums.entry((phase, name)).or_default();
                    *count += 1;
                    tally.add(&before, &now);
                }
            }
        }
    }
}

fn on_edge(edge: OpEdge) {
    COUNTING.with_borrow_mut(|counting| {
        if let Some(counting) = counting {
            counting.edge(edge);
        }
    });
}

/// Runs a request and reads the counters at the edges of its ops. The recorder holds up to `per_thread` marks for each thread.
///
/// # Errors
/// When the engine fails.
pub(crate) fn run_counted(
    session: &mut dyn Session,
    request: &Request,
    per_thread: usize,
    meter: &mut Meter,
    watch: &mut Stopwatch<'_>,
) -> Result<(Usage, Vec<OpCounters>), EngineError> {
    let counting = Counting {
        meter: std::mem::replace(meter, Meter::closed()),
        phase: None,
        open: Vec::new(),
        sums: BTreeMap::new(),
    };
    COUNTING.set(Some(counting));
    record::start(record::Config { per_thread });
    record::set_op_hook(on_edge);
    let result = session.generate(request, &mut CountedEdges { watch });
    record::disable_op_hook();
    record::stop();
    // The marks are not used.
    record::drain();
    let mut rows = Vec::new();
    if let Some(counting) = COUNTING.take() {
        let counted: Vec<_> =
            counting.meter.counted().into_iter().filter(|(_, counter)| counter.source.is_event()).collect();
        for ((phase, op), (count, tally)) in &counting.sums {
            let CounterTotals { values, notes } = totals(tally, &counted);
            rows.push(OpCounters {
                phase: (*phase).into(),
                op: (*op).to_owned(),
                count: *count,
                counters: values,
                derived: BTreeMap::new(),
                notes,
            });
        }
        *meter = counting.meter;
    }
    Ok((result?, rows))
}

/// The stopwatch; it also stores the current phase.
struct CountedEdges<'w, 'b> {
    watch: &'w mut Stopwatch<'b>,
}

fn set_phase(phase: Option<Phase>) {
    COUNTING.with_borrow_mut(|counting| {
        if let Some(counting) = counting {
            counting.phase = phase;
        }
    });
}

impl Observer for CountedEdges<'_, '_> {
    fn begin(&mut self, phase: Phase) {
        set_phase(Some(phase));
        self.watch.begin(phase);
    }

    fn end(&mut self, phase: Phase) {
        self.watch.end(phase);
        set_phase(None);
    }

    fn cancel(&mut self, phase: Phase) {
        self.watch.cancel(phase);
        set_phase(None);
    }

    fn arrival(&mut self) {
        self.watch.arrival();
    }

    fn piece(&mut self, piece: Piece<'_>) -> Flow {
        self.watch.piece(piece)
    }
}
