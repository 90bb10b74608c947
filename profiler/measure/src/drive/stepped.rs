//! The stepped pass: the profiler walks the steps itself and reads the counters between them.
//!
//! One reading serves the end of a phase and the beginning of the next one; it lies between their clock readings, so its
//! own time is part of `other`, and its own events are part of the phase that follows it.

use std::collections::BTreeMap;

use engine_api::{EngineError, FinishReason, Flow, Observer, Phase, Piece, Session, Steps, Usage};
use traces::clock;

use super::edges::{Edge, Stopwatch};
use super::tracks::Tracks;
use crate::worker::{Ask, Beacon, Input};
use meter::{Meter, Reading, Tally};

/// Decode, sample, detokenize.
const PHASES_PER_TOKEN: usize = 3;

/// Counters per phase of one request.
pub type PhaseCounts = BTreeMap<Phase, Tally>;

/// Reads counters at edges.
struct Walk<'w, 'b> {
    watch: &'w mut Stopwatch<'b>,
    beacon: &'b Beacon,
    meter: &'w mut Meter,
    last: Reading,
    counts: PhaseCounts,
    tracks: Tracks,
}

/// What a stepped request gave.
#[derive(Debug)]
pub struct Walked {
    /// The engine's account.
    pub usage: Usage,
    /// Counters per phase.
    pub counts: PhaseCounts,
    /// Events over time.
    pub tracks: Tracks,
}

impl Walk<'_, '_> {
    /// Runs one step as one phase.
    fn phase<T>(&mut self, phase: Phase, step: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
        self.beacon.set_phase(phase);
        let start = clock::now();
        self.watch.mark(Edge { phase, begins: true, at: start });
        let result = step();
        let end = clock::now();
        self.watch.mark(Edge { phase, begins: false, at: end });
        let now = self.meter.read();
        self.counts.entry(phase).or_default().add(&self.last, &now);
        self.tracks.add((start, end), &self.last, &now);
        self.last = now;
        result
    }
}

/// Walks a request; `end_tokens` end it unless it goes on past them. `None` where the engine lends no steps.
///
/// # Errors
/// When a step fails.
pub fn walk<'b>(
    session: &mut dyn Session,
    ask: &Ask,
    end_tokens: &[u32],
    meter: &mut Meter,
    beacon: &'b Beacon,
    watch: &mut Stopwatch<'b>,
) -> Result<Option<Walked>, EngineError> {
    let Some(steps) = session.steps() else { return Ok(None) };
    meter.energy().begin();
    let tracks = Tracks::new(meter, ask.new_tokens * PHASES_PER_TOKEN + PHASES_PER_TOKEN);
    let last = meter.read();
    let mut walk = Walk { watch, beacon, meter, last, counts: PhaseCounts::new(), tracks };
    let usage = request(steps, ask, end_tokens, &mut walk)?;
    Ok(Some(Walked { usage, counts: walk.counts, tracks: walk.tracks }))
}

fn request(
    steps: &mut dyn Steps,
    ask: &Ask,
    end_tokens: &[u32],
    walk: &mut Walk<'_, '_>,
) -> Result<Usage, EngineError> {
    let prompt_ids = match &ask.input {
        Input::Text { text, add_bos, .. } => walk.phase(Phase::Tokenize, || steps.tokenize(text, *add_bos))?,
        Input::Tokens(ids) => ids.clone(),
    };
    // Between the phases, so that no phase waits for the energy accounts; not for each token, which would cost more than they tell.
    walk.meter.energy().end(Phase::Tokenize);
    walk.phase(Phase::Prefill, || steps.prefill(&prompt_ids).and_then(|()| steps.sync()))?;
    walk.meter.energy().end(Phase::Prefill);
    let mut output_tokens = 0;
    let finish = loop {
        let token = walk.phase(Phase::Sample, || steps.sample())?;
        let text = walk.phase(Phase::Detokenize, || steps.detokenize(token))?;
        let ends = end_tokens.contains(&token);
        let piece = Piece { index: output_tokens, token: Some(token), text: if ends { "" } else { &text } };
        output_tokens += 1;
        if walk.watch.piece(piece) == Flow::Stop {
            break FinishReason::Interrupted;
        }
        if ends && !ask.ignore_eos {
            break FinishReason::Stop;
        }
        if output_tokens >= ask.new_tokens {
            break FinishReason::Length;
        }
        walk.phase(Phase::Decode, || steps.decode(token).and_then(|()| steps.sync()))?;
        walk.meter.energy().keep_up();
    };
    walk.meter.energy().end(Phase::Decode);
    Ok(Usage { prompt_tokens: prompt_ids.len(), prompt_ids, output_tokens, finish, reported: None })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::collections::BTreeMap;

    use engine_api::{KvBytes, Request};

    use super::*;
    use crate::worker::TraceTo;
    use meter::{calls, default_counters, named};
    use record::Pass;

    /// Steps that do nothing.
    struct Idle;

    impl Steps for Idle {
        fn tokenize(&mut self, _: &str, _: bool) -> Result<Vec<u32>, EngineError> {
            Ok(vec![1])
        }

        fn prefill(&mut self, _: &[u32]) -> Result<(), EngineError> {
            Ok(())
        }

        fn decode(&mut self, _: u32) -> Result<(), EngineError> {
            Ok(())
        }

        fn sample(&mut self) -> Result<u32, EngineError> {
            Ok(7)
        }

        fn detokenize(&mut self, _: u32) -> Result<String, EngineError> {
            Ok("x".to_owned())
        }

        fn sync(&mut self) -> Result<(), EngineError> {
            Ok(())
        }

        fn logits(&mut self) -> Result<Vec<f32>, EngineError> {
            Ok(Vec::new())
        }
    }

    impl Session for Idle {
        fn generate(&mut self, _: &Request, _: &mut dyn Observer) -> Result<Usage, EngineError> {
            unreachable!("the stepped pass walks the steps")
        }

        fn reset(&mut self) -> Result<(), EngineError> {
            Ok(())
        }

        fn kv_bytes(&self) -> KvBytes {
            KvBytes { used: 0, reserved: 0 }
        }

        fn steps(&mut self) -> Option<&mut dyn Steps> {
            Some(self)
        }
    }

    /// What one more token costs: per edge one read of each group (and attached thread), one `getrusage`, one `statm`. `status`, `io`, the page cache and the
    /// high-water mark belong to the edges of a request.
    #[test]
    fn an_inner_edge_asks_for_three_things() {
        let mut counters = default_counters();
        counters.extend(named("task-clock"));
        let mut meter = Meter::open(&counters);
        let groups = usize::from(meter.has_events());
        let beacon = Beacon::detached();
        let mut of_tokens = |new_tokens: usize| {
            let ask = Ask {
                case: "c".to_owned(),
                pass: Pass::Stepped,
                round: 0,
                warmup: false,
                fresh: false,
                counter_set: 0,
                input: Input::Tokens(vec![1]),
                filler: Vec::new(),
                new_tokens,
                ignore_eos: true,
                trace: TraceTo::default(),
            };
            let mut watch = Stopwatch::new(new_tokens, &beacon);
            calls::take();
            walk(&mut Idle, &ask, &[], &mut meter, &beacon, &mut watch).unwrap();
            calls::take()
        };
        let (few, many) = (of_tokens(2), of_tokens(12));
        let more: BTreeMap<&str, usize> = many.iter().map(|(&what, count)| (what, count - few[what])).collect();
        // Ten tokens more have thirty phases more.
        let mut expected = BTreeMap::from([("/proc/self/statm", 30), ("getrusage", 30)]);
        // Threads of other tests existed before: each is attached, and read, by itself.
        let perf = more.get("perf").copied().unwrap_or(0);
        assert!(perf % 30 == 0 && perf >= 30 * groups, "{perf} readings of groups");
        if perf > 0 {
            expected.insert("perf", perf);
        }
        assert_eq!(more, expected);
    }
}
