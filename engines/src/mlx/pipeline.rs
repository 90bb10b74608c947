//! A request at MLX's own pace: the step for the next token is handed over before the last token is waited for, so that
//! the device has work while its result is read and turned into text.
//!
//! A step ends with the choice of its token, so sampling is a part of prefill and decode. Handing over the step behind the
//! prompt is a part of prefill; it takes no time from the prompt, whose own operations run before it. While marks are
//! recorded there is one step at a time, so that each operation lies in the phase that it belongs to.

use super::choice::Choice;
use super::session::MlxSession;
use crate::greedy::{Greedy, phase, prompt_ids};
use crate::{EngineError, FinishReason, Flow, Observer, Phase, Piece, Request, Steps, Usage};

/// Answers a request; the observer learns of every edge.
pub(super) fn generate(
    session: &mut MlxSession,
    request: &Request,
    observer: &mut dyn Observer,
) -> Result<Usage, EngineError> {
    let prompt_ids = prompt_ids(session, request, observer)?;
    let is_ahead = !traces::record::is_on();
    let wanted = request.max_new_tokens;
    let mut steps = Ahead::default();
    let mut token =
        phase(session, observer, Phase::Prefill, |s| steps.prefill(s, &prompt_ids, is_ahead && wanted > 1))?;
    let mut output_tokens = 0;
    let mut finish = FinishReason::Length;
    while output_tokens < wanted {
        let ends = !request.ignore_eos && session.end_of_generation().contains(&token);
        let is_last = ends || output_tokens + 1 == wanted;
        let text = phase(session, observer, Phase::Detokenize, |s| {
            let mut text = s.detokenize(token)?;
            if is_last {
                text.push_str(&s.flush());
            }
            Ok(text)
        })?;
        let flow = observer.piece(Piece { index: output_tokens, token: Some(token), text: &text });
        output_tokens += 1;
        if ends || flow == Flow::Stop {
            finish = if ends { FinishReason::Stop } else { FinishReason::Interrupted };
            break;
        }
        if !is_last {
            let more = is_ahead && output_tokens + 1 < wanted;
            token = phase(session, observer, Phase::Decode, |s| steps.decode(s, token, more))?;
        }
    }
    steps.abandon(session)?;
    Ok(Usage { prompt_tokens: prompt_ids.len(), prompt_ids, output_tokens, finish, reported: None })
}

/// The step that the device has already, if any.
#[derive(Default)]
struct Ahead(Option<Choice>);

impl Ahead {
    /// The prompt's first token; the step behind it is handed over if `more` is wanted.
    fn prefill(&mut self, session: &mut MlxSession, ids: &[u32], more: bool) -> Result<u32, EngineError> {
        let logits = session.forward(ids)?;
        let choice = Choice::of(&logits)?;
        choice.begin()?;
        session.logits = Some(logits);
        self.wait(session, &choice, more)
    }

    /// The token behind `token`, which was the last.
    fn decode(&mut self, session: &mut MlxSession, token: u32, more: bool) -> Result<u32, EngineError> {
        let choice = match self.0.take() {
            Some(choice) => choice,
            None => {
                let logits = session.forward(&[token])?;
                let choice = Choice::of(&logits)?;
                choice.begin()?;
                session.logits = Some(logits);
                choice
            }
        };
        self.wait(session, &choice, more)
    }

    /// Hands over the step behind `choice`, then waits for `choice`.
    fn wait(&mut self, session: &mut MlxSession, choice: &Choice, more: bool) -> Result<u32, EngineError> {
        if more {
            let logits = session.decoder.step(&choice.token)?;
            let next = Choice::of(&logits)?;
            next.begin()?;
            session.logits = Some(logits);
            self.0 = Some(next);
        }
        choice.wait()
    }

    /// A step that nobody wants any more is waited for, so that it does not run into what comes next, and taken back.
    fn abandon(self, session: &mut MlxSession) -> Result<(), EngineError> {
        let Some(choice) = self.0 else { return Ok(()) };
        session.decoder.rewind(session.decoder.position() - 1);
        session.logits = None;
        choice.wait().map(|_| ())
    }
}
