//! The loop of a greedy request over an engine's own steps, for engines that have them.

use crate::{EngineError, FinishReason, Observer, Phase, Piece, Prompt, Request, Steps, Usage};

/// What the loop needs beside the steps.
pub(crate) trait Greedy: Steps {
    /// Tokens in the context, and tokens that it can hold.
    fn room(&self) -> (usize, usize);
    /// The ids that end a generation.
    fn end_of_generation(&self) -> &[u32];
    /// The text of a character that the last token left cut in half.
    fn flush(&mut self) -> String;
    /// Called between the end of a phase and the beginning of the next.
    fn between(&mut self) {}
}

/// Answers a request; the observer learns of every edge.
pub(crate) fn generate(
    session: &mut dyn Greedy,
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
        if flow == crate::Flow::Stop {
            finish = FinishReason::Interrupted;
            break;
        }
        if !is_last {
            phase(session, observer, Phase::Decode, |s| s.decode(token))?;
        }
    }
    Ok(Usage { prompt_tokens: prompt_ids.len(), prompt_ids, output_tokens, finish, reported: None })
}

/// The ids of a request's prompt, which with the new tokens fits into the context.
pub(crate) fn prompt_ids<S: Greedy + ?Sized>(
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
    let (used, context) = session.room();
    let needed = used + prompt_ids.len() + request.max_new_tokens;
    if needed > context {
        return Err(EngineError::ContextFull { needed, context });
    }
    Ok(prompt_ids)
}

/// One phase between its two edges.
pub(crate) fn phase<S: Greedy + ?Sized, T>(
    session: &mut S,
    observer: &mut dyn Observer,
    phase: Phase,
    work: impl FnOnce(&mut S) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    session.between();
    observer.begin(phase);
    let outcome = work(session);
    observer.end(phase);
    outcome
}

/// The index of the largest logit, the lowest among equals; `None` where one of them is no number.
pub(crate) fn argmax(logits: &[f32]) -> Option<u32> {
    // Two passes without branches are faster than one with: the compiler makes vector instructions of them.
    let mut most = [f32::NEG_INFINITY; 16];
    let mut broken = [false; 16];
    for chunk in logits.chunks(16) {
        for ((most, broken), logit) in most.iter_mut().zip(&mut broken).zip(chunk) {
            *most = if *logit > *most { *logit } else { *most };
            *broken |= logit.is_nan() | (*logit == f32::INFINITY);
        }
    }
    if broken.contains(&true) {
        return None;
    }
    let most = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
    #[allow(clippy::float_cmp, reason = "the maximum is one of the numbers")]
    let index = logits.iter().position(|logit| *logit == most)?;
    u32::try_from(index).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_of_equals_wins_and_no_number_is_no_answer() {
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
