//! Computes the engine's most likely tokens at each position of a given text. Nothing is measured.

use engine_api::{Advice as _, EngineError, Phase};
use record::Reason;

use super::logits::top_logprobs;
use super::open_engine::OpenEngine;
use super::open_session::OpenSession;
use crate::protocol::{Examine, Examined, SharedStatus};

/// Runs the text through the engine, one token at a time.
pub(super) fn examine(engine: &mut OpenEngine, text: &Examine, status: &SharedStatus) -> Result<Examined, Reason> {
    let name = engine.name();
    let mut session = engine.session.take().ok_or("no session is loaded: expected `load` before `examine`")?;
    let result = run(&mut session, text, status, &name);
    // The session is usable after a failure: the next request resets it.
    engine.session = Some(session);
    result
}

fn run(open: &mut OpenSession, text: &Examine, status: &SharedStatus, engine: &str) -> Result<Examined, Reason> {
    open.fill(&text.filler, engine)?;
    let failed = |error: EngineError| Reason::new(error.with_advice());
    let steps = open
        .session
        .steps()
        .ok_or_else(|| Reason::new(format!("engine {engine} has no steps, so it has no logits")))?;
    status.set_phase(Phase::Prefill);
    steps.prefill(&text.prompt).and_then(|()| steps.sync()).map_err(failed)?;
    status.set_phase(Phase::Decode);
    let mut positions = Vec::with_capacity(text.text.len());
    for (index, &token) in text.text.iter().enumerate() {
        if status.stop_requested() {
            return Err(Reason::new(format!("interrupted at token {index}")));
        }
        let logits = steps.logits().map_err(failed)?;
        let top = top_logprobs(&logits, text.top).ok_or_else(|| {
            Reason::new(format!("the logits at token {index} are not finite: the weights are damaged"))
        })?;
        positions.push(top);
        if index + 1 < text.text.len() {
            steps.decode(token).and_then(|()| steps.sync()).map_err(failed)?;
        }
    }
    Ok(Examined { positions })
}
