//! Times the steps that a server runs before the model.

use std::collections::BTreeMap;

use engine_api::{Advice as _, PreprocessingOutput, PreprocessingStep, Prompt, Server};
use record::Reason;
use traces::clock;

use crate::protocol::{PreprocessingTimes, ServerStep};

/// How often each step is timed, in turn.
const TIMES: usize = 9;

/// Times every step that this prompt needs. A step that fails once is not tried again.
pub(super) fn measure(server: &dyn Server, prompt: &Prompt) -> PreprocessingTimes {
    let mut measured = PreprocessingTimes { chat_ids: chat_ids(server, prompt), ..PreprocessingTimes::default() };
    let mut steps = BTreeMap::from(ServerStep::ALL.map(|step| (step, needed(step, prompt).map(|()| Vec::new()))));
    let mut prompt = prompt.clone();
    for _ in 0..TIMES {
        for (&step, times) in &mut steps {
            if let Ok(times_s) = times {
                match run(server, &mut prompt, step, &mut measured) {
                    Ok(seconds) => times_s.push(seconds),
                    Err(reason) => *times = Err(reason),
                }
            }
        }
    }
    PreprocessingTimes { steps, ..measured }
}

/// The ids of the chat by the server's own template and tokenizer, where one query returns them; it is not timed. A server without
/// it is asked for the text and its tokens.
fn chat_ids(server: &dyn Server, prompt: &Prompt) -> Option<Vec<u32>> {
    match server.preprocess(PreprocessingStep::TokenizeChat, prompt) {
        Ok(Some(PreprocessingOutput::Tokens(ids))) => Some(ids),
        _ => None,
    }
}

/// Runs a step once and returns its seconds. The tokenizer gets the text that the template rendered.
fn run(
    server: &dyn Server,
    prompt: &mut Prompt,
    step: ServerStep,
    measured: &mut PreprocessingTimes,
) -> Result<f64, Reason> {
    let began = clock::now();
    let output = server.preprocess(step.of_server(), prompt);
    let seconds = clock::now().saturating_sub(began).as_secs_f64();
    let output = output
        .map_err(|error| Reason::new(error.with_advice()))?
        .ok_or_else(|| Reason::new(format!("{} has no endpoint for it", server.info().software_name())))?;
    match output {
        PreprocessingOutput::None => {}
        PreprocessingOutput::Text(rendered) => {
            if let Prompt::Text { text, .. } = prompt {
                text.clone_from(&rendered);
            }
            measured.text = Some(rendered);
        }
        PreprocessingOutput::Tokens(ids) => measured.ids = Some(ids),
    }
    Ok(seconds)
}

/// Whether a prompt needs a step, or why not.
fn needed(step: ServerStep, prompt: &Prompt) -> Result<(), Reason> {
    match (step, prompt) {
        (ServerStep::RoundTrip, _) => Ok(()),
        (_, Prompt::Tokens(_)) => Err(Reason::new("the prompt is given as token ids")),
        (ServerStep::Template, Prompt::Text { messages, .. }) if messages.is_empty() => {
            Err(Reason::new("the text is sent as it is, without a chat template"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use engine_api::{EngineError, ServerInfo};
    use models::chat::Message;
    use traces::Nanos;
    use traces::clock::VirtualClock;

    use record::Recorded;

    use super::*;

    /// A server that takes 1 ms for HTTP, 3 ms with its template, 1.5 ms with its tokens.
    struct Scripted {
        has_template: bool,
        tokenizer_fails: bool,
        chat_ids: Option<Vec<u32>>,
        calls: Cell<usize>,
    }

    impl Server for Scripted {
        fn info(&self) -> ServerInfo {
            ServerInfo { software: Ok("scripted".to_owned()), ..ServerInfo::unknown("not asked") }
        }

        fn preprocess(
            &self,
            part: PreprocessingStep,
            prompt: &Prompt,
        ) -> Result<Option<PreprocessingOutput>, EngineError> {
            self.calls.set(self.calls.get() + 1);
            let (micros, given) = match part {
                PreprocessingStep::TokenizeChat => {
                    self.calls.set(self.calls.get() - 1);
                    return Ok(self.chat_ids.clone().map(PreprocessingOutput::Tokens));
                }
                PreprocessingStep::RoundTrip => (1000, PreprocessingOutput::None),
                PreprocessingStep::Template if !self.has_template => return Ok(None),
                PreprocessingStep::Template => (3000, PreprocessingOutput::Text("<s>hi".to_owned())),
                PreprocessingStep::Tokenize if self.tokenizer_fails => return Err(EngineError::EmptyPrompt),
                PreprocessingStep::Tokenize => {
                    let Prompt::Text { text, .. } = prompt else { return Ok(None) };
                    (1500, PreprocessingOutput::Tokens(text.bytes().map(u32::from).collect()))
                }
            };
            clock::advance(Nanos::from_micros(micros));
            Ok(Some(given))
        }
    }

    fn chat() -> Prompt {
        Prompt::Text { text: "our own".to_owned(), add_bos: false, messages: vec![Message::new("user", "hi")] }
    }

    fn server() -> Scripted {
        Scripted { has_template: true, tokenizer_fails: false, chat_ids: None, calls: Cell::new(0) }
    }

    #[test]
    fn a_step_is_its_time_beyond_the_round_trip() {
        let _clock = VirtualClock::install();
        let own: Vec<u32> = "<s>hi".bytes().map(u32::from).collect();
        let found = measure(&server(), &chat()).figures("<s>hi", &own);
        let near =
            |value: &Recorded<f64>, wanted: f64| assert!((value.value().unwrap() - wanted).abs() < 1e-9, "{value:?}");
        near(&found.round_trip_s, 1e-3);
        near(&found.template_s, 2e-3);
        near(&found.tokenize_s, 0.5e-3);
        assert_eq!((found.same_text.value(), found.same_ids.value()), (Some(true), Some(true)));
        assert_eq!((found.tokens.value(), &found.differs), (Some(5), &None));
        assert!(found.reasons().is_empty() && found.times_s["tokenize_s"].len() == TIMES);
    }

    #[test]
    fn a_step_that_fails_has_a_reason_and_is_tried_once() {
        let _clock = VirtualClock::install();
        let failing = Scripted { has_template: false, tokenizer_fails: true, ..server() };
        let found = measure(&failing, &chat()).figures("<s>hi", &[1]);
        assert_eq!(failing.calls.get(), TIMES + 2);
        assert_eq!(found.template_s.reason().unwrap(), &"scripted has no endpoint for it");
        assert_eq!(found.same_text.reason(), found.template_s.reason());
        let tokenizer = found.tokenize_s.reason().unwrap();
        assert!(tokenizer.as_str().contains("prompt is empty"), "{tokenizer}");
        assert_eq!((found.same_ids.reason(), found.tokens.reason()), (Some(tokenizer), Some(tokenizer)));
        let ids = measure(&server(), &Prompt::Tokens(vec![1])).figures("", &[1]);
        assert!(ids.round_trip_s.is_present() && ids.reasons()["tokenize_s"].contains("token ids"));
    }

    #[test]
    fn other_tokens_are_a_difference() {
        let _clock = VirtualClock::install();
        let found = measure(&server(), &chat()).figures("hi", &[60, 115, 7]);
        assert_eq!((found.same_text.value(), found.same_ids.value()), (Some(false), Some(false)));
        assert_eq!(found.differs.as_deref(), Some("token 3 is 62 on the server and 7 here, of 5 and 3 tokens"));
        let unknown = measure(&server(), &chat()).figures("", &[]);
        assert_eq!(unknown.tokens.value(), Some(5));
        assert!(unknown.reasons()["same_ids"].contains("no file of the model"));
    }

    #[test]
    fn the_ids_of_a_chat_are_those_of_the_servers_own_template() {
        let _clock = VirtualClock::install();
        let own: Vec<u32> = "our own".bytes().map(u32::from).collect();
        let without = measure(&Scripted { has_template: false, ..server() }, &chat());
        assert_eq!((without.prompt(true).ids, without.figures("our own", &own).same_ids.value()), (None, Some(true)));
        let longer = Scripted { has_template: false, chat_ids: Some(vec![1, 2, 3]), ..server() };
        let found = measure(&longer, &chat());
        assert_eq!(found.prompt(true).ids, Some(vec![1, 2, 3]));
        let found = found.figures("our own", &own);
        assert_eq!(
            (found.same_ids.value(), found.tokens.value()),
            (Some(false), Some(3)),
            "its tokens of this program's text do not count"
        );
    }
}
