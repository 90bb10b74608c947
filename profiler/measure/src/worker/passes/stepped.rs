//! The stepped pass: the profiler runs the steps of the engine and reads the counters between them.
//!
//! One reading of the counters is the end of a phase and the begin of the next one. It is made between their clock readings, so its
//! time is part of `other`, and its events are part of the next phase.

use std::collections::BTreeMap;

use engine_api::{EngineError, FinishReason, Flow, Observer, Phase, Piece, Steps, Usage};
use meter::{Meter, Reading, Tally};
use traces::clock;

use super::event_rates::EventRates;
use super::stopwatch::{Edge, Stopwatch};
use crate::plan::PromptInput;
use crate::protocol::{RequestSpec, SharedStatus};

/// Decode, sample, detokenize.
const PHASES_PER_TOKEN: usize = 3;

/// Counters per phase of one request.
pub(crate) type PhaseCounts = BTreeMap<Phase, Tally>;

/// Runs steps as phases, and reads the counters between them.
struct Stepper<'w, 'b> {
    watch: &'w mut Stopwatch<'b>,
    status: &'b SharedStatus,
    meter: &'w mut Meter,
    last: Reading,
    counts: PhaseCounts,
    rates: EventRates,
}

/// The result of a stepped request.
#[derive(Debug)]
pub(crate) struct SteppedRequest {
    /// What the request consumed and produced.
    pub(crate) usage: Usage,
    /// Counters per phase.
    pub(crate) counts: PhaseCounts,
    /// Events over time.
    pub(crate) rates: EventRates,
}

impl Stepper<'_, '_> {
    /// Runs one step as one phase.
    fn phase<T>(&mut self, phase: Phase, step: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
        self.status.set_phase(phase);
        let start = clock::now();
        self.watch.mark(Edge { phase, begins: true, at: start });
        let result = step();
        let end = clock::now();
        self.watch.mark(Edge { phase, begins: false, at: end });
        let now = self.meter.read();
        self.counts.entry(phase).or_default().add(&self.last, &now);
        self.rates.add((start, end), &self.last, &now);
        self.last = now;
        result
    }
}

/// Runs a request step by step; `end_tokens` end it unless it ignores them.
///
/// # Errors
/// When a step fails.
pub(crate) fn run_stepped<'b>(
    steps: &mut dyn Steps,
    spec: &RequestSpec,
    end_tokens: &[u32],
    meter: &mut Meter,
    status: &'b SharedStatus,
    watch: &mut Stopwatch<'b>,
) -> Result<SteppedRequest, EngineError> {
    meter.energy().begin();
    let rates = EventRates::new(meter, spec.new_tokens * PHASES_PER_TOKEN + PHASES_PER_TOKEN);
    let last = meter.read();
    let mut stepper = Stepper { watch, status, meter, last, counts: PhaseCounts::new(), rates };
    let usage = request(steps, spec, end_tokens, &mut stepper)?;
    Ok(SteppedRequest { usage, counts: stepper.counts, rates: stepper.rates })
}

fn request(
    steps: &mut dyn Steps,
    spec: &RequestSpec,
    end_tokens: &[u32],
    stepper: &mut Stepper<'_, '_>,
) -> Result<Usage, EngineError> {
    let prompt_ids = match &spec.input {
        PromptInput::Text { text, add_bos, .. } => stepper.phase(Phase::Tokenize, || steps.tokenize(text, *add_bos))?,
        PromptInput::Tokens(ids) => ids.clone(),
    };
    // The energy counters are read between phases, so that no phase includes the reading, and not for each token, because a reading takes
    // longer than it is worth.
    stepper.meter.energy().end(Phase::Tokenize);
    stepper.phase(Phase::Prefill, || steps.prefill(&prompt_ids).and_then(|()| steps.sync()))?;
    stepper.meter.energy().end(Phase::Prefill);
    let mut output_tokens = 0;
    let finish = loop {
        let token = stepper.phase(Phase::Sample, || steps.sample())?;
        let text = stepper.phase(Phase::Detokenize, || steps.detokenize(token))?;
        let ends = end_tokens.contains(&token);
        let piece = Piece { index: output_tokens, token: Some(token), text: if ends { "" } else { &text } };
        output_tokens += 1;
        if stepper.watch.piece(piece) == Flow::Stop {
            break FinishReason::Interrupted;
        }
        if ends && !spec.ignore_eos {
            break FinishReason::Stop;
        }
        if output_tokens >= spec.new_tokens {
            break FinishReason::Length;
        }
        stepper.phase(Phase::Decode, || steps.decode(token).and_then(|()| steps.sync()))?;
        stepper.meter.energy().keep_up();
    };
    stepper.meter.energy().end(Phase::Decode);
    Ok(Usage { prompt_tokens: prompt_ids.len(), prompt_ids, output_tokens, finish, reported: None })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::collections::BTreeMap;

    use meter::{calls, counter_by_name, default_counters};
    use record::Pass;

    use super::*;
    use crate::protocol::TraceTargets;

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

    /// The cost of one more token: per edge one read of each group (and attached thread), one `getrusage`, one `statm`. `status`, `io`,
    /// the page cache and the high-water mark are read at the edges of a request.
    #[test]
    fn an_inner_edge_makes_three_readings() {
        let mut counters = default_counters();
        counters.extend(counter_by_name("task-clock"));
        let mut meter = Meter::open(&counters);
        let groups = usize::from(meter.has_events());
        let status = SharedStatus::unshared();
        let mut of_tokens = |new_tokens: usize| {
            let spec = RequestSpec {
                case: "c".to_owned(),
                pass: Pass::Stepped,
                round: 0,
                warmup: false,
                fresh: false,
                counter_set: 0,
                input: PromptInput::Tokens(vec![1]),
                filler: Vec::new(),
                new_tokens,
                ignore_eos: true,
                trace: TraceTargets::default(),
            };
            let mut watch = Stopwatch::new(new_tokens, &status);
            calls::take();
            run_stepped(&mut Idle, &spec, &[], &mut meter, &status, &mut watch).unwrap();
            calls::take()
        };
        let (few, many) = (of_tokens(2), of_tokens(12));
        let more: BTreeMap<&str, usize> = many.iter().map(|(&what, count)| (what, count - few[what])).collect();
        // Ten more tokens have thirty more phases.
        let mut expected = BTreeMap::from([("/proc/self/statm", 30), ("getrusage", 30)]);
        // Threads of other tests existed before: each is attached and read separately.
        let perf = more.get("perf").copied().unwrap_or(0);
        assert!(perf % 30 == 0 && perf >= 30 * groups, "{perf} readings of groups");
        if perf > 0 {
            expected.insert("perf", perf);
        }
        assert_eq!(more, expected);
    }
}
