//! [`PreprocessingTimes`]: what a server does before the model, each step timed alone, outside of any measured request.
//!
//! ```text
//! round trip = median time of a query that costs the server nothing                    [s]
//! a step     = median time of the query that runs it - round trip                      [s]
//! ```
//! Every query has a connection of its own, as a request has, so connecting is in both medians and not in the difference.

use std::collections::BTreeMap;

use engine_api::PreprocessingStep;
use record::{Reason, Reasons};
use serde::{Deserialize, Serialize};
use statistics::median;

/// Why a step has no time, where it has no reason of its own.
const NOT_TIMED: &str = "it was not timed";
/// Why the time of a step is not known although its query was timed.
const NO_ROUND_TRIP: &str = "the time of a round trip is not known";

/// A step, under the name of the field of [`record::Preprocessing`] that holds its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ServerStep {
    /// The round trip.
    #[serde(rename = "round_trip_s")]
    RoundTrip,
    /// The chat template.
    #[serde(rename = "template_s")]
    Template,
    /// The tokenizer.
    #[serde(rename = "tokenize_s")]
    Tokenize,
}

impl ServerStep {
    /// Every step, in the order of a request.
    pub const ALL: [Self; 3] = [Self::RoundTrip, Self::Template, Self::Tokenize];

    /// The field that holds its time.
    pub const fn field(self) -> &'static str {
        match self {
            Self::RoundTrip => "round_trip_s",
            Self::Template => "template_s",
            Self::Tokenize => "tokenize_s",
        }
    }

    /// The step as engines name it.
    pub const fn of_server(self) -> PreprocessingStep {
        match self {
            Self::RoundTrip => PreprocessingStep::RoundTrip,
            Self::Template => PreprocessingStep::Template,
            Self::Tokenize => PreprocessingStep::Tokenize,
        }
    }
}

/// The measured steps of a server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PreprocessingTimes {
    /// Seconds of every query of a step, at least one, or why it has no time.
    pub steps: BTreeMap<ServerStep, Result<Vec<f64>, Reason>>,
    /// The text that the server's template rendered.
    pub text: Option<String>,
    /// The ids that the server's tokenizer made of that text, or of this program's.
    pub ids: Option<Vec<u32>>,
    /// The ids that the server's own template and tokenizer made of the chat, in one query.
    #[serde(default)]
    pub chat_ids: Option<Vec<u32>>,
}

/// A prompt as a server's own template and tokenizer make it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerPrompt {
    /// The rendered text; `None` if the server has no endpoint that renders it.
    pub text: Option<String>,
    /// The token ids of that text, or of a prompt that needs no template; `None` if they are unknown.
    pub ids: Option<Vec<u32>>,
}

impl PreprocessingTimes {
    /// The prompt as the server's own template and tokenizer make it. The tokenizer's ids of a text that this program rendered are
    /// not known to be those of the prompt.
    pub fn prompt(&self, is_chat: bool) -> ServerPrompt {
        let ids = self.ids.as_ref().filter(|_| self.text.is_some() || !is_chat);
        ServerPrompt { text: self.text.clone(), ids: self.chat_ids.as_ref().or(ids).cloned() }
    }

    /// The figures of the record. `rendered` and `own` are the text and the ids of this program's own template and tokenizer; both
    /// are empty for a model whose files it does not have.
    pub fn figures(self, rendered: &str, own: &[u32]) -> record::Preprocessing {
        let Self { steps, text, ids, chat_ids } = self;
        let ids = chat_ids.or(ids);
        let why_not = |step: ServerStep| match steps.get(&step) {
            Some(Err(reason)) => reason.clone(),
            None | Some(Ok(_)) => Reason::new(NOT_TIMED),
        };
        let middle = |step: ServerStep| {
            let times = steps.get(&step).and_then(|times| times.as_ref().ok());
            times.and_then(|times| median(times)).ok_or_else(|| why_not(step))
        };
        let round_trip_s = middle(ServerStep::RoundTrip);
        let beyond_round_trip = |step: ServerStep| {
            let seconds = middle(step)?;
            let round_trip_s = round_trip_s.clone().map_err(|_| Reason::new(NO_ROUND_TRIP))?;
            Ok::<f64, Reason>(seconds - round_trip_s)
        };
        let (template_s, tokenize_s) =
            (beyond_round_trip(ServerStep::Template), beyond_round_trip(ServerStep::Tokenize));
        let has_tokenizer = !own.is_empty();
        let compared = |step: ServerStep, same: Option<bool>| {
            same.filter(|_| has_tokenizer).ok_or_else(|| match steps.get(&step) {
                Some(Err(reason)) => reason.clone(),
                _ if has_tokenizer => Reason::new("the server returned no result of it"),
                _ => Reason::new("this program has no file of the model"),
            })
        };
        let same_text = compared(ServerStep::Template, text.as_ref().map(|text| is_same_text(text, rendered)));
        let same_ids = compared(ServerStep::Tokenize, ids.as_ref().map(|ids| ids == own));
        record::Preprocessing {
            differs: ids.as_ref().filter(|_| same_ids == Ok(false)).map(|ids| difference(ids, own)),
            tokens: ids.map(|ids| ids.len()).ok_or_else(|| why_not(ServerStep::Tokenize)).into(),
            round_trip_s: round_trip_s.into(),
            template_s: template_s.into(),
            tokenize_s: tokenize_s.into(),
            same_text: same_text.into(),
            same_ids: same_ids.into(),
            times_s: steps
                .into_iter()
                .filter_map(|(step, times)| Some((step.field().to_owned(), times.ok()?)))
                .collect(),
            notes: Reasons::new(),
        }
    }
}

/// Whether two rendered texts are the same. A server may omit the text of the BOS token if its tokenizer prepends the token.
fn is_same_text(theirs: &str, ours: &str) -> bool {
    let is_special_token =
        |front: &str| front.starts_with('<') && front.ends_with('>') && front.matches('<').count() == 1;
    theirs == ours || ours.strip_suffix(theirs).is_some_and(is_special_token)
}

/// The first position at which two lists of ids differ, in words.
fn difference(theirs: &[u32], ours: &[u32]) -> String {
    let position = theirs.iter().zip(ours).take_while(|(one, other)| one == other).count();
    let at = |ids: &[u32]| ids.get(position).map_or_else(|| "nothing".to_owned(), u32::to_string);
    format!(
        "token {} is {} on the server and {} here, of {} and {} tokens",
        position + 1,
        at(theirs),
        at(ours),
        theirs.len(),
        ours.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_different_token_is_named() {
        let measured = |ids: &[u32]| PreprocessingTimes { ids: Some(ids.to_vec()), ..PreprocessingTimes::default() };
        let found = measured(&[60, 115, 62, 104, 105]).figures("hi", &[60, 115, 7]);
        assert_eq!(found.same_ids, false.into());
        assert_eq!(found.differs.as_deref(), Some("token 3 is 62 on the server and 7 here, of 5 and 3 tokens"));
        let unknown = measured(&[1, 2]).figures("", &[]);
        assert_eq!(unknown.tokens.value(), Some(2));
        assert!(unknown.same_ids.reason().unwrap().as_str().contains("no file of the model"));
        assert_eq!(unknown.tokenize_s.reason().unwrap(), &NOT_TIMED);
    }

    #[test]
    fn a_special_token_at_the_front_is_no_difference() {
        assert!(is_same_text("hi", "<|begin_of_text|>hi") && is_same_text("hi", "hi"));
        assert!(!is_same_text("hi", "<a><b>hi") && !is_same_text("hi", "x hi") && !is_same_text("hi there", "hi"));
    }
}
