//! Examination: what the engine holds likely at each position of a text that is given. Nothing is measured here.

use engine_api::{EngineError, Phase, Session};
use serde::{Deserialize, Serialize};

use super::beacon::Beacon;
use super::logits::top_logprobs;
use super::measure::fill;
use super::serve::Bench;
use record::TopLogprobs;

/// A text to walk through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examine {
    /// What lies in the context before the prompt, run by itself as a measured request's is.
    pub filler: Vec<u32>,
    /// What is run at once; at least one token.
    pub prompt: Vec<u32>,
    /// What follows it, one token at a time, whatever the engine would have chosen.
    pub text: Vec<u32>,
    /// How many of the likeliest tokens are told at each position.
    pub top: usize,
}

/// What the engine holds likely before each token of the text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Examined {
    /// One per token of the text.
    pub positions: Vec<TopLogprobs>,
}

/// Walks through a text.
pub(super) fn examine(bench: &mut Bench, ask: &Examine, beacon: &Beacon) -> Result<Examined, String> {
    let engine = bench.name();
    let mut session = bench.session.take().ok_or("no session is loaded: expected `load` before `examine`")?;
    let result = walk(session.as_mut(), ask, beacon, &engine);
    // It stays usable after a failure: the next request resets it.
    bench.session = Some(session);
    result
}

fn walk(session: &mut dyn Session, ask: &Examine, beacon: &Beacon, engine: &str) -> Result<Examined, String> {
    fill(session, &ask.filler, engine)?;
    let told = |error: EngineError| error.to_string();
    let steps = session.steps().ok_or_else(|| format!("engine {engine} lends no steps: it tells no logits"))?;
    beacon.set_phase(Phase::Prefill);
    steps.prefill(&ask.prompt).and_then(|()| steps.sync()).map_err(told)?;
    beacon.set_phase(Phase::Decode);
    let mut positions = Vec::with_capacity(ask.text.len());
    for (index, &token) in ask.text.iter().enumerate() {
        if beacon.is_stopped() {
            return Err(format!("interrupted at token {index}"));
        }
        let logits = steps.logits().map_err(told)?;
        let top = top_logprobs(&logits, ask.top)
            .ok_or_else(|| format!("the logits at token {index} are not finite: the weights are damaged"))?;
        positions.push(top);
        if index + 1 < ask.text.len() {
            steps.decode(token).and_then(|()| steps.sync()).map_err(told)?;
        }
    }
    Ok(Examined { positions })
}
