//! The loop of a greedy request over the steps of an engine.

use crate::{EngineError, FinishReason, Flow, Observer, Phase, Piece, Prompt, Request, Steps, Usage};

/// What the loop needs in addition to the steps.
pub(crate) trait GreedySession: Steps {
    /// Tokens in the context, and its capacity.
    fn context_use(&self) -> (usize, usize);
    /// The ids that end a generation.
    fn end_of_generation(&self) -> &[u32];
    /// The rest of a character that the last token left incomplete.
    fn flush(&mut self) -> String;
    /// Called between the end of a phase and the start of the next.
    fn between_phases(&mut self) {}
}

/// Runs a request; the observer is notified at the start and the end of each phase.
pub(crate) fn generate(
    session: &mut dyn GreedySession,
    request: &Request,
    observer: &mut dyn Observer,
) -> Result<Usage, EngineError> {
    let prompt_ids = prompt_ids(session, request, observer)?;
    phase(session, observer, Phase::Prefill, |s| s.prefill(&prompt_ids))?;
    let mut output_tokens = 0;
    let mut finish = FinishReason::Length;
    while output_tokens < request.max_new_tokens {
        let token = phase(session, observer, Phase::Sample, Steps::sample)?;
        let ends = !request.ignore_eos && session.end_of_generation().contains(&token);
        let is_last = ends || output_tokens + 1 == request.max_new_tokens;
        let text = phase(session, observer, Phase::Detokenize, |s| {
            let mut text = s.detokenize(token)?;
            if is_last {
                text.push_str(&s.flush());
            }
            Ok(text)
        })?;
        let flow = observer.piece(Piece { index: output_tokens, token: Some(token), text: &text });
        output_tokens += 1;
        if ends {
            finish = FinishReason::Stop;
            break;
        }
        if flow == Flow::Stop {
            finish = FinishReason::Interrupted;
            break;
        }
        if !is_last {
            phase(session, observer, Phase::Decode, |s| s.decode(token))?;
        }
    }
    Ok(Usage { prompt_tokens: prompt_ids.len(), prompt_ids, output_tokens, finish, reported: None })
}

/// The ids of a request's prompt, checked to fit into the context together with the new tokens.
pub(crate) fn prompt_ids<S: GreedySession + ?Sized>(
    session: &mut S,
    request: &Request,
    observer: &mut dyn Observer,
) -> Result<Vec<u32>, EngineError> {
    let prompt_ids = match &request.prompt {
        Prompt::Tokens(ids) => ids.clone(),
        Prompt::Text { text, add_bos, .. } => {
            phase(session, observer, Phase::Tokenize, |s| s.tokenize(text, *add_bos))?
        }
    };
    if prompt_ids.is_empty() {
        return Err(EngineError::EmptyPrompt);
    }
    let (used, context) = session.context_use();
    let needed = used + prompt_ids.len() + request.max_new_tokens;
    if needed > context {
        return Err(EngineError::ContextFull { needed, context });
    }
    Ok(prompt_ids)
}

/// Runs one phase and reports its start and end.
pub(crate) fn phase<S: GreedySession + ?Sized, T>(
    session: &mut S,
    observer: &mut dyn Observer,
    phase: Phase,
    work: impl FnOnce(&mut S) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    session.between_phases();
    observer.begin(phase);
    let outcome = work(session);
    observer.end(phase);
    outcome
}

/// The index of the largest logit, the lowest among equals; `None` if there are none or one is NaN or infinite.
pub(crate) fn argmax(logits: &[f32]) -> Option<u32> {
    // Two passes without branches are faster than one with branches: the compiler vectorises them.
    let mut maxima = [f32::NEG_INFINITY; 16];
    let mut invalid = [false; 16];
    for chunk in logits.chunks(16) {
        for ((most, invalid), logit) in maxima.iter_mut().zip(&mut invalid).zip(chunk) {
            *most = if *logit > *most { *logit } else { *most };
            *invalid |= logit.is_nan() | (*logit == f32::INFINITY);
        }
    }
    if invalid.contains(&true) {
        return None;
    }
    let most = maxima.into_iter().fold(f32::NEG_INFINITY, f32::max);
    #[allow(clippy::float_cmp, reason = "the maximum is one of the logits")]
    let index = logits.iter().position(|logit| *logit == most)?;
    u32::try_from(index).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_of_equals_wins_and_logits_that_are_not_finite_have_no_maximum() {
        let mut logits = vec![-1.0; 100];
        logits[70] = 3.0;
        logits[41] = 3.0;
        assert_eq!(argmax(&logits), Some(41));
        assert_eq!(argmax(&[f32::NEG_INFINITY; 3]), Some(0));
        logits[99] = f32::NAN;
        assert_eq!(argmax(&logits), None);
        assert_eq!(argmax(&[1.0, f32::INFINITY]), None);
        assert_eq!(argmax(&[]), None);
    }
}
