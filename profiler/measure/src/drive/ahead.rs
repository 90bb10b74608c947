//! What a server does before its model begins, each part asked for alone, outside of any measured request.
//!
//! ```text
//!  HTTP alone = median of the times there and back of a question that costs the server nothing
//!  a part     = median of the times there and back of asking for it - HTTP alone                    [s]
//! ```
//! Every question has a connection of its own, as a request has, so that connecting is in both medians and in no difference.

use std::collections::BTreeMap;

use engine_api::{Ahead, Given, Prompt, Server};
use serde::{Deserialize, Serialize};
use traces::clock;

use record::{BeforeModel, Reasons};
use statistics::median;

/// So often each part is asked for, in turn.
const TIMES: usize = 9;
/// The parts, and the field that each of them fills.
const PARTS: [(Ahead, &str); 3] =
    [(Ahead::RoundTrip, ROUND_TRIP), (Ahead::Template, TEMPLATE), (Ahead::Tokenize, TOKENIZE)];
const ROUND_TRIP: &str = "round_trip_s";
const TEMPLATE: &str = "template_s";
const TOKENIZE: &str = "tokenize_s";

/// What was asked of a server beside its requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AskedAhead {
    /// Seconds there and back of every question, by the field that they fill.
    times_s: BTreeMap<String, Vec<f64>>,
    /// What its template made of the messages.
    text: Option<String>,
    /// What its tokenizer made of the text.
    ids: Option<Vec<u32>>,
    /// Why a part is absent.
    reasons: Reasons,
}

impl AskedAhead {
    /// Asks for every part that this prompt has. What fails once is not asked again.
    pub fn ask(server: &dyn Server, prompt: &Prompt) -> Self {
        let mut asked = Self::default();
        let mut parts: Vec<(Ahead, &str)> = Vec::new();
        for (part, field) in PARTS {
            match needless(part, prompt) {
                Some(reason) => drop(asked.reasons.insert(field.to_owned(), reason.to_owned())),
                None => parts.push((part, field)),
            }
        }
        let mut prompt = prompt.clone();
        for _ in 0..TIMES {
            parts.retain(|(part, field)| asked.once(server, &mut prompt, *part, field));
        }
        asked
    }

    /// Asks for a part; false where that leads to nothing.
    fn once(&mut self, server: &dyn Server, prompt: &mut Prompt, part: Ahead, field: &str) -> bool {
        let began = clock::now();
        let given = server.ahead(part, prompt);
        let took = clock::now().saturating_sub(began).as_secs_f64();
        let reason = match given {
            Ok(Some(given)) => {
                self.times_s.entry(field.to_owned()).or_default().push(took);
                self.take(given, prompt);
                return true;
            }
            Ok(None) => format!("{} offers no question for it", server.remote().software),
            Err(error) => error.to_string(),
        };
        self.times_s.remove(field);
        self.reasons.insert(field.to_owned(), reason);
        false
    }

    /// Keeps what a part gave; the tokenizer is to have the text that the template made.
    fn take(&mut self, given: Given, prompt: &mut Prompt) {
        match given {
            Given::Nothing => {}
            Given::Text(made) => {
                if let Prompt::Text { text, .. } = prompt {
                    text.clone_from(&made);
                }
                self.text = Some(made);
            }
            Given::Tokens(ids) => self.ids = Some(ids),
        }
    }

    /// The figures, beside what this program's own template and tokenizer made; of a model that it does not know it has none.
    pub fn figures(self, rendered: &str, own: &[u32]) -> BeforeModel {
        let Self { times_s, text, ids, mut reasons } = self;
        let whole = |field: &str| times_s.get(field).and_then(|times| median(times));
        let round_trip_s = whole(ROUND_TRIP);
        let mut part = |field: &str| {
            if whole(field).is_some() && round_trip_s.is_none() {
                reasons.insert(field.to_owned(), "the time of HTTP alone is not known".to_owned());
            }
            Some(whole(field)? - round_trip_s?)
        };
        let (template_s, tokenize_s) = (part(TEMPLATE), part(TOKENIZE));
        let mut compared = |field: &str, of: &str, same: Option<bool>| {
            if same.is_none() {
                let reason = match reasons.get(of) {
                    Some(reason) => reason.clone(),
                    None => "this program has no file of the model".to_owned(),
                };
                reasons.insert(field.to_owned(), reason);
            }
            same
        };
        let knows = !own.is_empty();
        let same_text = text.as_ref().filter(|_| knows).map(|text| is_same_text(text, rendered));
        let same_ids = ids.as_ref().filter(|_| knows).map(|ids| ids == own);
        BeforeModel {
            round_trip_s,
            template_s,
            tokenize_s,
            tokens: ids.as_ref().map(Vec::len),
            same_text: compared("same_text", TEMPLATE, same_text),
            same_ids: compared("same_ids", TOKENIZE, same_ids),
            differs: ids.as_ref().filter(|_| same_ids == Some(false)).map(|ids| difference(ids, own)),
            times_s,
            reasons,
        }
    }
}

/// Why a prompt has nothing to ask for.
fn needless(part: Ahead, prompt: &Prompt) -> Option<&'static str> {
    match (part, prompt) {
        (Ahead::RoundTrip, _) => None,
        (_, Prompt::Tokens(_)) => Some("the prompt is given as token ids"),
        (Ahead::Template, Prompt::Text { messages, .. }) if messages.is_empty() => {
            Some("the text goes in as it is, without a chat template")
        }
        _ => None,
    }
}

/// Whether two rendered texts are one; a server may leave the text of the BOS out, since its tokenizer puts the token in front.
fn is_same_text(theirs: &str, ours: &str) -> bool {
    let is_one_mark = |front: &str| front.starts_with('<') && front.ends_with('>') && front.matches('<').count() == 1;
    theirs == ours || ours.strip_suffix(theirs).is_some_and(is_one_mark)
}

/// Where two lists of ids part.
fn difference(theirs: &[u32], ours: &[u32]) -> String {
    let place = theirs.iter().zip(ours).take_while(|(one, other)| one == other).count();
    let at = |ids: &[u32]| ids.get(place).map_or_else(|| "nothing".to_owned(), u32::to_string);
    format!(
        "token {} is {} there and {} here, of {} and {} tokens",
        place + 1,
        at(theirs),
        at(ours),
        theirs.len(),
        ours.len()
    )
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use engine_api::{EngineError, Remote};
    use models::chat::Message;
    use traces::Nanos;
    use traces::clock::VirtualClock;

    use super::*;

    /// Takes 1 ms for HTTP, 3 ms with its template, 1.5 ms with its tokens.
    struct Scripted {
        has_template: bool,
        tokenizer_fails: bool,
        asked: Cell<usize>,
    }

    impl Server for Scripted {
        fn remote(&self) -> Remote {
            Remote { software: "scripted".to_owned(), ..Remote::default() }
        }

        fn ahead(&self, part: Ahead, prompt: &Prompt) -> Result<Option<Given>, EngineError> {
            self.asked.set(self.asked.get() + 1);
            let (micros, given) = match part {
                Ahead::RoundTrip => (1000, Given::Nothing),
                Ahead::Template if !self.has_template => return Ok(None),
                Ahead::Template => (3000, Given::Text("<s>hi".to_owned())),
                Ahead::Tokenize if self.tokenizer_fails => return Err(EngineError::EmptyPrompt),
                Ahead::Tokenize => {
                    let Prompt::Text { text, .. } = prompt else { return Ok(None) };
                    (1500, Given::Tokens(text.bytes().map(u32::from).collect()))
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
        Scripted { has_template: true, tokenizer_fails: false, asked: Cell::new(0) }
    }

    #[test]
    fn parts_are_what_they_take_beyond_http() {
        let _clock = VirtualClock::install();
        let own: Vec<u32> = "<s>hi".bytes().map(u32::from).collect();
        let found = AskedAhead::ask(&server(), &chat()).figures("<s>hi", &own);
        let near = |value: Option<f64>, wanted: f64| assert!((value.unwrap() - wanted).abs() < 1e-9, "{value:?}");
        near(found.round_trip_s, 1e-3);
        near(found.template_s, 2e-3);
        near(found.tokenize_s, 0.5e-3);
        assert_eq!(
            (found.same_text, found.same_ids, found.tokens, found.differs),
            (Some(true), Some(true), Some(5), None)
        );
        assert!(found.reasons.is_empty() && found.times_s[TOKENIZE].len() == TIMES);
    }

    #[test]
    fn what_cannot_be_asked_has_its_reason_and_is_asked_once() {
        let _clock = VirtualClock::install();
        let mute = Scripted { has_template: false, tokenizer_fails: true, ..server() };
        let found = AskedAhead::ask(&mute, &chat()).figures("<s>hi", &[1]);
        assert_eq!(mute.asked.get(), TIMES + 2);
        assert_eq!((found.template_s, found.tokenize_s, found.same_text, found.same_ids), (None, None, None, None));
        assert_eq!(found.reasons["template_s"], "scripted offers no question for it");
        assert!(found.reasons["tokenize_s"].contains("prompt is empty"), "{:?}", found.reasons);
        assert_eq!(found.reasons["same_ids"], found.reasons["tokenize_s"]);
        let ids = AskedAhead::ask(&server(), &Prompt::Tokens(vec![1])).figures("", &[1]);
        assert!(ids.round_trip_s.is_some() && ids.reasons["tokenize_s"].contains("token ids"));
    }

    #[test]
    fn other_tokens_are_told_where_they_part() {
        let _clock = VirtualClock::install();
        let found = AskedAhead::ask(&server(), &chat()).figures("hi", &[60, 115, 7]);
        assert_eq!((found.same_text, found.same_ids), (Some(false), Some(false)));
        assert_eq!(found.differs.as_deref(), Some("token 3 is 62 there and 7 here, of 5 and 3 tokens"));
        let unknown = AskedAhead::ask(&server(), &chat()).figures("", &[]);
        assert_eq!((unknown.same_ids, unknown.tokens), (None, Some(5)));
        assert!(unknown.reasons["same_ids"].contains("no file of the model"));
    }

    #[test]
    fn a_mark_that_the_tokenizer_puts_in_front_is_no_difference() {
        assert!(is_same_text("hi", "<|begin_of_text|>hi") && is_same_text("hi", "hi"));
        assert!(!is_same_text("hi", "<a><b>hi") && !is_same_text("hi", "x hi") && !is_same_text("hi there", "hi"));
    }
}
