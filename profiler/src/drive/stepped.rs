//! The stepped pass: the profiler walks the steps itself and reads the counters between them.
//!
//! One reading serves the end of a phase and the beginning of the next one; it lies between their clock readings, so its
//! own time is part of `other`, and its own events are part of the phase that follows it.

use std::collections::BTreeMap;

use engines::{EngineError, FinishReason, Flow, Observer, Phase, Piece, Session, Steps, Usage};
use traces::clock;

use super::edges::{Edge, Stopwatch};
use crate::meter::{Meter, Reading, Tally};
use crate::worker::{Ask, Beacon, Input};

/// Counters per phase of one request.
pub type PhaseCounts = BTreeMap<Phase, Tally>;

/// Reads counters at edges.
struct Walk<'w, 'b> {
    watch: &'w mut Stopwatch<'b>,
    beacon: &'b Beacon,
    meter: &'w mut Meter,
    last: Reading,
    counts: PhaseCounts,
}

impl Walk<'_, '_> {
    /// Runs one step as one phase.
    fn phase<T>(&mut self, phase: Phase, step: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
        self.beacon.set_phase(phase);
        self.watch.mark(Edge { phase, begins: true, at: clock::now() });
        let result = step();
        self.watch.mark(Edge { phase, begins: false, at: clock::now() });
        let now = self.meter.read();
        self.counts.entry(phase).or_default().add(&self.last, &now);
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
) -> Result<Option<(Usage, PhaseCounts)>, EngineError> {
    let Some(steps) = session.steps() else { return Ok(None) };
    meter.energy().begin();
    let last = meter.read();
    let mut walk = Walk { watch, beacon, meter, last, counts: PhaseCounts::new() };
    let usage = request(steps, ask, end_tokens, &mut walk)?;
    Ok(Some((usage, walk.counts)))
}

fn request(
    steps: &mut dyn Steps,
    ask: &Ask,
    end_tokens: &[u32],
    walk: &mut Walk<'_, '_>,
) -> Result<Usage, EngineError> {
    let prompt_ids = match &ask.input {
        Input::Text { text, add_bos } => walk.phase(Phase::Tokenize, || steps.tokenize(text, *add_bos))?,
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
    Ok(Usage { prompt_tokens: prompt_ids.len(), prompt_ids, output_tokens, finish })
}
