//! [`judge`]: what the tokens of a streamed answer and their times are, decided from what arrived.
//!
//! ```text
//! piece     = the text of one event; its time is that of the read that completed it
//! arrival   = pieces whose times are less than SEPARATE apart: they came in one read, or waited together in a buffer
//! n         = tokens of the text: the server's count, less reasoning that it hides and an end token; else those that the model's own
//!             tokenizer makes of the text; else the pieces
//! decode    = (n - tokens of the first arrival) / (time of the last arrival - time of the first)
//! ```
//!
//! What a server says of itself is held against this. A count that cannot be true voids the rates of the request. Several pieces in
//! one arrival are no separate token times: beyond what a busy machine does by chance, decode and gaps are not measured.
//!
//! The tokens of the first arrival are known by the server's running count; else by the model's own tokenizer, if it makes as many
//! tokens of the whole text as the server counts; else they are taken as an average share of all, and the rate is an estimate.

use engine_api::{FinishReason, StreamFacts};
use record::Reason;
use traces::Nanos;

/// Two reads less than this apart are one arrival: a client needs about as long for an event, so the later bytes were there already.
/// A rate above 10,000 tokens/s therefore cannot be measured from outside.
const SEPARATE: Nanos = Nanos::from_micros(100);
/// One token in so many, and one in any case, may arrive together with an earlier one: a busy machine delays some reads.
const ONE_IN: usize = 10;
/// From this many tokens of the first arrival on, its time is not that of the first token.
const SEVERAL: f64 = 1.5;

/// A streamed answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamedAnswer<'a> {
    /// Times of the pieces, from the begin of the request.
    pub(super) times: &'a [Nanos],
    /// Their text.
    pub(super) text: &'a str,
    pub(super) facts: &'a StreamFacts,
    /// The number of tokens of the text after each piece, as the model's own tokenizer divides it; `None` without a tokenizer.
    pub(super) tokenized: Option<&'a [usize]>,
    /// Output tokens as the server counts them.
    pub(super) reported: Option<usize>,
    /// The most tokens that were requested.
    pub(super) requested: usize,
    pub(super) finish: FinishReason,
}

/// A figure, and why it is an estimate.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Judged<T> {
    pub(super) value: T,
    pub(super) estimated: Option<Reason>,
}

/// What the tokens of an answer and their times are, each with the reason why it is not known.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Judgement {
    /// Why no rate of the request is valid.
    pub(super) void: Option<Reason>,
    /// Why the server's count is not used, if it gives one.
    pub(super) not_counted: Option<Reason>,
    /// Output tokens.
    pub(super) output_tokens: Result<Judged<usize>, Reason>,
    /// Whether every piece has the time of its token.
    pub(super) token_times: Result<Judged<()>, Reason>,
    /// Whether the first text ended prefill.
    pub(super) prefill: Result<Judged<()>, Reason>,
    /// Whether decode has a duration: from the first text to the end.
    pub(super) decode_time: Result<(), Reason>,
    /// Output tokens per second after the first arrival.
    pub(super) decode_tps: Result<Judged<f64>, Reason>,
}

/// Pieces that arrived together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Arrival {
    at: Nanos,
    pieces: usize,
}

impl<T> Judged<T> {
    const fn exact(value: T) -> Self {
        Self { value, estimated: None }
    }
}

impl StreamedAnswer<'_> {
    fn pieces(&self) -> usize {
        self.times.len()
    }

    fn arrivals(&self) -> Vec<Arrival> {
        let mut arrivals: Vec<Arrival> = Vec::new();
        let mut last = None;
        for &at in self.times {
            let together = last.is_some_and(|last| at.saturating_sub(last) < SEPARATE);
            match arrivals.last_mut() {
                Some(arrival) if together => arrival.pieces += 1,
                _ => arrivals.push(Arrival { at, pieces: 1 }),
            }
            last = Some(at);
        }
        arrivals
    }

    /// The server's count; 0 beside a text is none.
    fn count(&self) -> Option<usize> {
        self.reported.filter(|&tokens| tokens > 0 || self.pieces() == 0)
    }

    /// Why the counts cannot be true.
    fn impossible(&self) -> Option<String> {
        let (pieces, requested) = (self.pieces(), self.requested);
        if let Some((field, value)) = self.facts.no_counts.iter().next() {
            return Some(format!("the server reports `{value}` as {field}: expected a count"));
        }
        if self.facts.is_cut {
            return Some(format!(
                "more than {pieces} pieces of text arrived, but at most {requested} tokens were requested"
            ));
        }
        let Some(reported) = self.count() else {
            return (pieces > requested && !self.shows_more_than_requested()).then(|| {
                format!("{pieces} pieces of text arrived, but at most {requested} tokens were requested: pieces are no tokens")
            });
        };
        // The end token may be beyond the limit.
        let limit = requested + usize::from(self.finish == FinishReason::Stop);
        if reported > limit && !(self.shows_more_than_requested() && reported <= self.text.len()) {
            return Some(format!("the server counts {reported} output tokens, but at most {requested} were requested"));
        }
        if pieces > reported {
            return Some(format!("{pieces} pieces of text arrived, but the server counts {reported} tokens"));
        }
        let running: Vec<usize> = self.facts.running.iter().copied().flatten().collect();
        if running.windows(2).any(|pair| pair[1] < pair[0]) {
            return Some("the server's running count of output tokens decreases".to_owned());
        }
        let last = running.last().copied().filter(|&last| last > reported)?;
        Some(format!("the server counted {last} output tokens while they arrived, and {reported} at the end"))
    }

    /// Whether the text has more words than tokens were requested: the server ignored the limit. A word is at least one token.
    fn shows_more_than_requested(&self) -> bool {
        self.text.split_whitespace().count() > self.requested
    }

    /// Tokens that have text: without an end token and without reasoning that was not sent.
    fn visible(&self, reported: usize) -> usize {
        let pieces = self.pieces();
        let visible = reported.saturating_sub(self.hidden(reported));
        // The end token has no text.
        if self.finish == FinishReason::Stop && visible == pieces + 1 { pieces } else { visible }
    }

    /// Tokens of reasoning that was not sent.
    fn hidden(&self, reported: usize) -> usize {
        let hidden = self.facts.reasoning_tokens.filter(|_| !self.facts.has_reasoning).unwrap_or(0);
        // Otherwise its text is in the answer under another name.
        if reported.saturating_sub(hidden) >= self.pieces() { hidden } else { 0 }
    }

    /// Tokens from the first arrival to the last one, without those of the first: by the server's running count, else by the model's
    /// own tokenizer.
    fn counted_after(&self, first: Arrival) -> Option<usize> {
        let running = &self.facts.running;
        let running = || Some(((*running.get(first.pieces - 1)?)?, (*running.get(self.pieces() - 1)?)?));
        let tokenized = || {
            let tokens = self.tokens_by_piece()?;
            Some((*tokens.get(first.pieces - 1)?, *tokens.last()?))
        };
        // A total that is sent with each piece counts nothing.
        let after =
            |(from, to): (usize, usize)| to.checked_sub(from).filter(|&tokens| tokens >= self.pieces() - first.pieces);
        running().and_then(after).or_else(|| tokenized().and_then(after))
    }

    /// The number of tokens after each piece, as the model's own tokenizer divides the text; `None` if it makes another number of tokens
    /// of the whole text than the server counts.
    fn tokens_by_piece(&self) -> Option<&[usize]> {
        let total = self.tokenized_total()?;
        self.tokenized.filter(|_| self.count().is_none_or(|reported| self.visible(reported) == total))
    }

    /// Tokens of the whole text by the model's own tokenizer. Each piece of text is at least one token.
    fn tokenized_total(&self) -> Option<usize> {
        self.tokenized?.last().copied().filter(|&tokens| tokens >= self.pieces())
    }
}

/// Decides from what arrived. No text at all is an answer of an end token alone.
pub(super) fn judge(answer: StreamedAnswer<'_>) -> Judgement {
    let void = answer.impossible().map(|reason| Reason::new(format!("void: {reason}")));
    let not_counted = (answer.reported == Some(0) && answer.pieces() > 0)
        .then(|| Reason::new("the server counts 0 output tokens, but text arrived: it does not count them"));
    let arrivals = answer.arrivals();
    let bundled = bundled(answer, &arrivals);
    let unread = unread(answer);
    let stopped = void.clone().or_else(|| unread.clone());
    Judgement {
        output_tokens: output_tokens(answer, void.as_ref(), unread.as_ref()),
        token_times: match stopped.clone().or_else(|| bundled.clone()) {
            Some(reason) => Err(reason),
            None => token_times(answer, arrivals.len()),
        },
        prefill: prefill(answer, &arrivals, bundled.as_ref(), unread.as_ref()),
        decode_time: match unread.clone().or_else(|| bundled.clone()).or_else(|| at_once(answer, &arrivals)) {
            Some(reason) => Err(reason),
            None => Ok(()),
        },
        decode_tps: match stopped.or(bundled) {
            Some(reason) => Err(reason),
            None => decode(answer, &arrivals),
        },
        void,
        not_counted,
    }
}

/// Why the pieces have no times of their own.
fn bundled(answer: StreamedAnswer<'_>, arrivals: &[Arrival]) -> Option<Reason> {
    let pieces = answer.pieces();
    let together = pieces - arrivals.len();
    // A single arrival has no duration, however few its pieces are.
    (together > allowed(pieces) || pieces > 1 && arrivals.len() == 1).then(|| {
        Reason::new(format!(
            "{pieces} pieces of text arrived in {} reads: the server or a proxy sends them together, so they are no times of tokens",
            arrivals.len()
        ))
    })
}

/// Why an answer of one arrival has no decode, if it has several tokens.
fn at_once(answer: StreamedAnswer<'_>, arrivals: &[Arrival]) -> Option<Reason> {
    let tokens = answer.count().map_or_else(|| uncounted(answer).value, |reported| answer.visible(reported));
    (arrivals.len() == 1 && tokens > 1)
        .then(|| Reason::new("all tokens arrived in one piece of text: their rate is not known"))
}

fn allowed(tokens: usize) -> usize {
    (tokens / ONE_IN).max(1)
}

/// Why a part of the output has no known time.
fn unread(answer: StreamedAnswer<'_>) -> Option<Reason> {
    let fields = &answer.facts.unread;
    (!fields.is_empty())
        .then(|| Reason::new(format!("the stream has output in {}, which is not understood", fields.join(", "))))
}

const PIECES_STAND_IN: &str = "the server does not count its tokens: pieces of text stand in for them";
const TOKENIZED: &str =
    "the server does not count its tokens: they are those that the model's own tokenizer makes of the text";

fn output_tokens(
    answer: StreamedAnswer<'_>,
    void: Option<&Reason>,
    unread: Option<&Reason>,
) -> Result<Judged<usize>, Reason> {
    match (void, answer.count(), unread) {
        (Some(reason), ..) | (None, None, Some(reason)) => Err(reason.clone()),
        (None, Some(reported), _) => Ok(Judged::exact(reported)),
        (None, None, None) => Ok(uncounted(answer)),
    }
}

/// Tokens of an answer whose server does not count them.
fn uncounted(answer: StreamedAnswer<'_>) -> Judged<usize> {
    let (value, why) = match answer.tokenized_total() {
        Some(tokens) => (tokens, TOKENIZED),
        None => (answer.pieces(), PIECES_STAND_IN),
    };
    Judged { value, estimated: Some(Reason::new(why)) }
}

fn token_times(answer: StreamedAnswer<'_>, arrivals: usize) -> Result<Judged<()>, Reason> {
    let found = match answer.count() {
        Some(reported) => Judged::exact(answer.visible(reported)),
        None => uncounted(answer),
    };
    let tokens = found.value;
    if tokens.saturating_sub(arrivals) > allowed(tokens) {
        return Err(Reason::new(format!(
            "{tokens} tokens arrived in {} pieces of text: the gaps are those of pieces, not of tokens",
            answer.pieces()
        )));
    }
    Ok(Judged { value: (), estimated: found.estimated })
}

fn prefill(
    answer: StreamedAnswer<'_>,
    arrivals: &[Arrival],
    bundled: Option<&Reason>,
    unread: Option<&Reason>,
) -> Result<Judged<()>, Reason> {
    let Some(first) = arrivals.first() else { return Ok(Judged::exact(())) };
    match bundled {
        // The first text waited for later text, so its time contains that of decoding.
        Some(reason) if first.pieces > 1 => return Err(reason.clone()),
        _ => {}
    }
    if let Some(reason) = unread {
        return Err(reason.clone());
    }
    let hidden = answer.count().map_or(0, |reported| answer.hidden(reported));
    if hidden > 0 {
        return Err(Reason::new(format!(
            "{hidden} tokens of reasoning were not sent: the time until the first text contains their decoding"
        )));
    }
    let tokens = first_tokens(answer, *first);
    let estimated = (tokens >= SEVERAL).then(|| {
        Reason::new(format!(
            "a lower bound: the first text has about {tokens:.0} tokens, so its time contains the decoding of all but one"
        ))
    });
    Ok(Judged { value: (), estimated })
}

/// Tokens of the first arrival: by the model's own tokenizer; else its pieces where every piece is a token, else its share of them.
fn first_tokens(answer: StreamedAnswer<'_>, first: Arrival) -> f64 {
    if let Some(tokens) = answer.tokens_by_piece().and_then(|tokens| tokens.get(first.pieces - 1)) {
        return *tokens as f64;
    }
    let tokens = answer.count().map_or(answer.pieces(), |reported| answer.visible(reported));
    tokens as f64 * first.pieces as f64 / answer.pieces().max(1) as f64
}

fn decode(answer: StreamedAnswer<'_>, arrivals: &[Arrival]) -> Result<Judged<f64>, Reason> {
    let (first, last) = match arrivals {
        [first, .., last] => (*first, *last),
        _ => {
            let few = || Reason::new("the answer has fewer than two tokens");
            return Err(at_once(answer, arrivals).unwrap_or_else(few));
        }
    };
    let duration = last.at.saturating_sub(first.at).as_secs_f64();
    let pieces_after = answer.pieces() - first.pieces;
    let Some(reported) = answer.count() else {
        let after = answer.counted_after(first).unwrap_or(pieces_after);
        return Ok(Judged { value: after as f64 / duration, estimated: uncounted(answer).estimated });
    };
    let ignored = (reported > answer.requested + usize::from(answer.finish == FinishReason::Stop)).then(|| {
        format!(
            "the server ignored the limit of {} tokens, and its count of {reported} is not confirmed",
            answer.requested
        )
    });
    if let Some(tokens) = answer.counted_after(first) {
        return Ok(Judged { value: tokens as f64 / duration, estimated: ignored.map(Reason::new) });
    }
    let (tokens, pieces) = (answer.visible(reported), answer.pieces());
    let after = tokens as f64 - first_tokens(answer, first);
    let shared = (tokens != pieces).then(|| {
        format!("{tokens} tokens arrived in {pieces} pieces of text: those of the first piece are taken as the average of all")
    });
    let estimated = [shared, ignored].into_iter().flatten().reduce(|one, other| format!("{one}; {other}"));
    Ok(Judged { value: after / duration, estimated: estimated.map(Reason::new) })
}

#[cfg(test)]
mod tests;
