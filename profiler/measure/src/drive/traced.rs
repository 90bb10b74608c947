//! The traced pass: the engine's own pace with its marks recorded and its allocations counted.
//!
//! A request's marks are taken from the recorder when it is over. Only where they are more than it holds they are taken
//! out meanwhile, behind the end of a phase, so that memory does not grow with the request: that time is nobody's phase,
//! it counts as `other`; what is allocated for it is not counted.

use engine_api::{EngineError, Flow, Observer, Phase, Piece, Request, Session, Usage};
use traces::record::{self, Batch};

use super::allocations::{AllocationEdges, Allocations};
use super::edges::{Edge, Stopwatch};
use super::timing::PhaseSpan;
use meter::heap::Counting;

/// Marks are taken out where so much of the recorder is full: what is left holds any decode step.
const NEARLY_FULL: f64 = 7.0 / 8.0;

/// Takes what was recorded since the last time, and the phases that passed meanwhile; whether more of the request follows.
pub type Take<'a> = dyn FnMut(Batch, &[PhaseSpan], bool) + 'a;

/// What a traced request gave beside its marks.
#[derive(Debug)]
pub struct Traced {
    /// The engine's account.
    pub usage: Usage,
    /// What was allocated, or why that is not known.
    pub allocations: Result<Allocations, String>,
}

/// Runs a request with its marks recorded, up to `per_thread` at a time on each thread, and hands them over. Its allocations are
/// counted unless a reason is given why not.
///
/// # Errors
/// When the engine fails.
pub fn trace(
    session: &mut dyn Session,
    request: &Request,
    per_thread: usize,
    uncounted: Option<&str>,
    watch: &mut Stopwatch<'_>,
    take: &mut Take<'_>,
) -> Result<Traced, EngineError> {
    record::start(record::Config { per_thread });
    record::prepare_thread();
    // What an earlier request left behind is not this one's.
    record::drain();
    let mut edges = TracedEdges { watch, take, told: 0 };
    let counting = uncounted.map_or_else(|| Counting::start(0), Err);
    let (result, allocations) = match counting {
        Ok(counting) => {
            let mut counted = AllocationEdges::new(&mut edges, counting);
            let result = session.generate(request, &mut counted);
            (result, Ok(counted.finish()))
        }
        Err(reason) => (session.generate(request, &mut edges), Err(reason.to_owned())),
    };
    record::stop();
    edges.hand_over(false);
    Ok(Traced { usage: result?, allocations })
}

/// The stopwatch, with a look at the recorder behind each phase.
struct TracedEdges<'w, 'b, 't, 'f> {
    watch: &'w mut Stopwatch<'b>,
    take: &'t mut Take<'f>,
    /// Edges whose phases were handed over.
    told: usize,
}

impl TracedEdges<'_, '_, '_, '_> {
    fn hand_over(&mut self, more: bool) {
        let edges = self.watch.edges();
        let phases = closed(edges.get(self.told..).unwrap_or_default());
        self.told = edges.len();
        (self.take)(record::drain(), &phases, more);
    }
}

impl Observer for TracedEdges<'_, '_, '_, '_> {
    fn begin(&mut self, phase: Phase) {
        self.watch.begin(phase);
    }

    fn end(&mut self, phase: Phase) {
        self.watch.end(phase);
        if record::fullness() >= NEARLY_FULL {
            self.hand_over(true);
        }
    }

    fn piece(&mut self, piece: Piece<'_>) -> Flow {
        self.watch.piece(piece)
    }
}

/// The phases between pairs of edges; what is no pair is the timing's to complain about.
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
    use crate::worker::Beacon;

    const TOKENS: usize = 50;
    const OPS: usize = 8;

    /// Marks so many ops a token.
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

        fn kv_bytes(&self) -> KvBytes {
            KvBytes { used: 0, reserved: 0 }
        }

        fn steps(&mut self) -> Option<&mut dyn Steps> {
            None
        }
    }

    #[test]
    fn more_marks_than_fit_are_handed_over_between_the_phases() {
        let beacon = Beacon::detached();
        let request = Request { prompt: Prompt::Tokens(vec![1]), max_new_tokens: TOKENS, ignore_eos: true };
        let mut watch = Stopwatch::new(TOKENS, &beacon);
        let (mut parts, mut ops, mut phases, mut dropped) = (Vec::new(), 0, 0, 0);
        let mut take = |batch: Batch, passed: &[PhaseSpan], more| {
            let marks = batch.of(Kind::Op).filter(|op| op.name == "traced test");
            ops +=
                marks.inspect(|op| assert!(passed.iter().any(|at| at.start <= op.start && op.end() <= at.end))).count();
            phases += passed.len();
            dropped += batch.dropped;
            parts.push(more);
        };
        trace(&mut Marking, &request, 64, Some("not here"), &mut watch, &mut take).unwrap();
        assert_eq!((ops, phases, dropped), (TOKENS * OPS, TOKENS, 0));
        assert!(
            parts.len() > 5 && parts.iter().rev().skip(1).all(|&more| more) && parts.ends_with(&[false]),
            "{parts:?}"
        );
    }
}
