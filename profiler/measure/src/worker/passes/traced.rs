//! The traced pass: the engine runs freely, its marks are recorded and its allocations counted.
//!
//! The marks are drained from the recorder after the request. If the recorder cannot hold all of them, it is also drained during the
//! request, after the end of a phase, so that memory does not grow with the request. That time is part of `other`, and its allocations
//! are not counted.

use ::record::Reason;
use engine_api::{EngineError, Flow, Observer, Phase, Piece, Request, Session, Usage};
use meter::heap::AllocationCounter;
use traces::record::{self, Batch};

use super::allocations::AllocationEdges;
use super::stopwatch::{Edge, Stopwatch};
use super::timing::PhaseSpan;
use crate::protocol::Allocations;

/// The recorder is drained from this share on: the rest holds the marks of any decode step.
const NEARLY_FULL: f64 = 7.0 / 8.0;

/// Receives the marks since the previous call, the phases in the same time, and whether more of the request follows.
pub type MarkSink<'a> = dyn FnMut(Batch, &[PhaseSpan], bool) + 'a;

/// The result of a traced request, besides its marks.
#[derive(Debug)]
pub struct TracedRequest {
    /// What the request consumed and produced.
    pub usage: Usage,
    /// What was allocated, or why it is unknown.
    pub allocations: Result<Allocations, Reason>,
}

/// Runs a request and passes its marks to `sink`. The recorder holds up to `per_thread` marks for each thread. Allocations are counted
/// unless `uncounted` is a reason against it.
///
/// # Errors
/// When the engine fails.
pub fn run_traced(
    session: &mut dyn Session,
    request: &Request,
    per_thread: usize,
    uncounted: Option<Reason>,
    watch: &mut Stopwatch<'_>,
    sink: &mut MarkSink<'_>,
) -> Result<TracedRequest, EngineError> {
    record::start(record::Config { per_thread });
    record::prepare_thread();
    // Marks of an earlier request do not belong to this one.
    record::drain();
    let mut edges = TracedEdges { watch, sink, drained: 0 };
    let counting = uncounted.map_or_else(|| AllocationCounter::start(0), Err);
    let (result, allocations) = match counting {
        Ok(counting) => {
            let mut counted = AllocationEdges::new(&mut edges, counting);
            let result = session.generate(request, &mut counted);
            (result, Ok(counted.finish()))
        }
        Err(reason) => (session.generate(request, &mut edges), Err(reason)),
    };
    record::stop();
    edges.drain(false);
    Ok(TracedRequest { usage: result?, allocations })
}

/// The stopwatch; it drains the recorder after a phase if it is nearly full.
struct TracedEdges<'w, 'b, 't, 'f> {
    watch: &'w mut Stopwatch<'b>,
    sink: &'t mut MarkSink<'f>,
    /// The number of edges whose phases the sink has.
    drained: usize,
}

impl TracedEdges<'_, '_, '_, '_> {
    fn drain(&mut self, more: bool) {
        let edges = self.watch.edges();
        let phases = closed(&edges[self.drained..]);
        self.drained = edges.len();
        (self.sink)(record::drain(), &phases, more);
    }
}

impl Observer for TracedEdges<'_, '_, '_, '_> {
    fn begin(&mut self, phase: Phase) {
        self.watch.begin(phase);
    }

    fn end(&mut self, phase: Phase) {
        self.watch.end(phase);
        if record::fullness() >= NEARLY_FULL {
            self.drain(true);
        }
    }

    fn cancel(&mut self, phase: Phase) {
        self.watch.cancel(phase);
    }

    fn arrival(&mut self) {
        self.watch.arrival();
    }

    fn piece(&mut self, piece: Piece<'_>) -> Flow {
        self.watch.piece(piece)
    }
}

/// The phases between pairs of edges. Edges that are no pair are left out; [`Timing`](super::timing::Timing) reports them.
fn closed(edges: &[Edge]) -> Vec<PhaseSpan> {
    let pairs = edges.chunks_exact(2).filter_map(|pair| match pair {
        [begin, end] if begin.begins && !end.begins && begin.phase == end.phase => {
            Some(PhaseSpan { phase: begin.phase, start: begin.at, end: end.at })
        }
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use engine_api::{FinishReason, KvBytes, Prompt, Steps};
    use traces::op;
    use traces::record::Kind;

    use super::*;
    use crate::protocol::SharedStatus;

    const TOKENS: usize = 50;
    const OPS: usize = 8;

    /// Marks a number of ops per token.
    struct Marking;

    impl Session for Marking {
        fn generate(&mut self, _: &Request, observer: &mut dyn Observer) -> Result<Usage, EngineError> {
            for _ in 0..TOKENS {
                observer.begin(Phase::Decode);
                for layer in 0..OPS {
                    drop(op!("traced test", layer));
                }
                observer.end(Phase::Decode);
            }
            let finish = FinishReason::Length;
            Ok(Usage { prompt_tokens: 1, prompt_ids: vec![1], output_tokens: TOKENS, finish, reported: None })
        }

        fn reset(&mut self) -> Result<(), EngineError> {
            Ok(())
        }

        fn kv_bytes(&self) -> Option<KvBytes> {
            None
        }

        fn steps(&mut self) -> Option<&mut dyn Steps> {
            None
        }
    }

    #[test]
    fn marks_that_do_not_fit_are_drained_between_phases() {
        let status = SharedStatus::unshared();
        let request = Request { prompt: Prompt::Tokens(vec![1]), max_new_tokens: TOKENS, ignore_eos: true };
        let mut watch = Stopwatch::new(TOKENS, &status);
        let (mut parts, mut ops, mut phases, mut dropped) = (Vec::new(), 0, 0, 0);
        let mut sink = |batch: Batch, passed: &[PhaseSpan], more| {
            let marks = batch.of(Kind::Op).filter(|op| op.name == "traced test");
            ops +=
                marks.inspect(|op| assert!(passed.iter().any(|at| at.start <= op.start && op.end() <= at.end))).count();
            phases += passed.len();
            dropped += batch.dropped;
            parts.push(more);
        };
        run_traced(&mut Marking, &request, 64, Some(Reason::new("not here")), &mut watch, &mut sink).unwrap();
        assert_eq!((ops, phases, dropped), (TOKENS * OPS, TOKENS, 0));
        assert!(
            parts.len() > 5 && parts.iter().rev().skip(1).all(|&more| more) && parts.ends_with(&[false]),
            "{parts:?}"
        );
    }
}
