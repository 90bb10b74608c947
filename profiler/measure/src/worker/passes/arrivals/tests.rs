//! Answers as they arrive, in milliseconds, and what is made of them.

use std::collections::BTreeMap;

use super::*;

/// An answer: times of its pieces in ms, what the server counts, and what is changed.
struct Case {
    times: Vec<Nanos>,
    text: String,
    facts: StreamFacts,
    tokenized: Option<Vec<usize>>,
    reported: Option<usize>,
    requested: usize,
    finish: FinishReason,
}

impl Case {
    fn new(times_ms: &[f64], reported: Option<usize>) -> Self {
        let times: Vec<Nanos> = times_ms.iter().map(|ms| Nanos::from_secs_f64(ms / 1e3)).collect();
        let words = vec!["word"; times.len()];
        let (text, requested) = (words.join(" "), times.len().max(8));
        let (facts, finish) = (StreamFacts::default(), FinishReason::Length);
        Self { times, text, facts, tokenized: None, reported, requested, finish }
    }

    /// First text after 100 ms, then a gap of 20 ms each.
    fn even(pieces: usize, reported: Option<usize>) -> Self {
        Self::new(&(0..pieces).map(|nth| 100.0 + 20.0 * nth as f64).collect::<Vec<_>>(), reported)
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn judge(&self) -> Judgement {
        judge(StreamedAnswer {
            times: &self.times,
            text: &self.text,
            facts: &self.facts,
            tokenized: self.tokenized.as_deref(),
            reported: self.reported,
            requested: self.requested,
            finish: self.finish,
        })
    }
}

fn rate(found: &Judgement) -> f64 {
    found.decode_tps.as_ref().unwrap_or_else(|reason| panic!("no rate: {reason}")).value
}

fn is_near(found: f64, expected: f64) -> bool {
    (found / expected - 1.0).abs() < 1e-6
}

fn is_estimate(found: &Judgement) -> bool {
    found.decode_tps.as_ref().is_ok_and(|rate| rate.estimated.is_some())
}

#[test]
fn one_token_a_piece_is_exact() {
    let found = Case::even(8, Some(8)).judge();
    assert!(is_near(rate(&found), 50.0) && !is_estimate(&found), "{found:?}");
    assert_eq!((&found.token_times, &found.output_tokens), (&Ok(Judged::exact(())), &Ok(Judged::exact(8))));
    let ended = Case::even(8, Some(9)).with(|case| case.finish = FinishReason::Stop).judge();
    assert!(is_near(rate(&ended), 50.0) && !is_estimate(&ended), "an end token has no text: {ended:?}");
}

#[test]
fn pieces_of_one_read_are_no_token_times() {
    let held_back = Case::new(&[1000.0; 8], Some(8)).judge();
    assert!(held_back.void.is_none() && held_back.output_tokens.is_ok());
    let reason = held_back.decode_tps.clone().unwrap_err().to_string();
    insta::assert_snapshot!(reason, @"8 pieces of text arrived in 1 reads: the server or a proxy sends them together, so they are no times of tokens");
    assert!(held_back.decode_time.is_err() && held_back.token_times.is_err() && held_back.prefill.is_err());
    let blocks = Case::new(&[500.0, 500.0, 500.0, 500.0, 900.0, 900.0, 900.0, 900.0], Some(8)).judge();
    assert!(blocks.decode_tps.is_err() && blocks.prefill.is_err(), "two blocks: {blocks:?}");
    let pairs: Vec<f64> = (0..32).map(|nth| 100.0 + 40.0 * f64::from(nth / 2)).collect();
    let pairs = Case::new(&pairs, Some(32)).judge();
    assert!(pairs.decode_tps.is_err() && pairs.token_times.is_err());
    // Two pieces of an answer of two are no rate either.
    assert!(Case::new(&[100.0, 100.0], Some(2)).judge().decode_tps.is_err());
}

#[test]
fn bytes_that_waited_in_a_buffer_are_one_arrival() {
    let released: Vec<f64> = (0..20).map(|nth| 1000.0 + 0.03 * f64::from(nth)).collect();
    let found = Case::new(&released, Some(20)).judge();
    assert!(found.decode_tps.is_err() && found.prefill.is_err(), "{found:?}");
}

#[test]
fn an_isolated_read_of_two_pieces_is_no_reason() {
    let mut times: Vec<f64> = (0..32).map(|nth| 100.0 + 20.0 * f64::from(nth)).collect();
    times[7] = times[8];
    let found = Case::new(&times, Some(32)).judge();
    assert!(is_near(rate(&found), 50.0) && found.token_times.is_ok(), "{found:?}");
    // In the first read the tokens that it brought do not count.
    let first = Case::new(&[120.0, 120.0, 140.0, 160.0, 180.0, 200.0, 220.0, 240.0], Some(8)).judge();
    assert!(is_near(rate(&first), 50.0), "{first:?}");
}

#[test]
fn several_tokens_a_piece_are_an_estimate() {
    let times: Vec<f64> = (0..8).map(|nth| 100.0 + 80.0 * f64::from(nth)).collect();
    let four = Case::new(&times, Some(32)).with(|case| case.requested = 32);
    let found = four.judge();
    assert!(is_near(rate(&found), 50.0) && is_estimate(&found), "(32 - 4) / 0.56 s: {found:?}");
    let reason = found.token_times.clone().unwrap_err().to_string();
    insta::assert_snapshot!(reason, @"32 tokens arrived in 8 pieces of text: the gaps are those of pieces, not of tokens");
    assert!(found.decode_time.is_ok() && found.prefill.is_ok_and(|prefill| prefill.estimated.is_some()));
    // With a running count nothing is estimated: the first piece has 11 tokens, the others have 3.
    let running = (0..8).map(|nth| Some(11 + 3 * nth)).collect();
    let found = four.with(|case| case.facts.running = running).judge();
    assert!(is_near(rate(&found), 21.0 / 0.56) && !is_estimate(&found), "{found:?}");
}

#[test]
fn the_tokenizer_tells_the_tokens_of_each_piece() {
    // First 11 tokens, then 3 with each piece.
    let times: Vec<f64> = (0..8).map(|nth| 100.0 + 80.0 * f64::from(nth)).collect();
    let by_piece: Vec<usize> = (0..8).map(|nth| 11 + 3 * nth).collect();
    let case = |reported| {
        Case::new(&times, reported).with(|case| {
            case.requested = 40;
            case.tokenized = Some(by_piece.clone());
        })
    };
    let agrees = case(Some(32)).judge();
    assert!(is_near(rate(&agrees), 21.0 / 0.56) && !is_estimate(&agrees), "{agrees:?}");
    let reason = agrees.prefill.clone().unwrap().estimated.unwrap().to_string();
    insta::assert_snapshot!(reason, @"a lower bound: the first text has about 11 tokens, so its time contains the decoding of all but one");
    // The server counts another number of tokens of the same text: its total decides, and its share is an average.
    let differs = case(Some(40)).judge();
    assert!(is_near(rate(&differs), 35.0 / 0.56) && is_estimate(&differs), "{differs:?}");
    // A server that counts as it sends is believed first.
    let counts = case(Some(32)).with(|case| case.facts.running = (0..8).map(|nth| Some(4 + 4 * nth)).collect()).judge();
    assert!(is_near(rate(&counts), 28.0 / 0.56) && !is_estimate(&counts), "{counts:?}");
    // A server that does not count at all: the tokens of the tokenizer stand in, not the pieces.
    let uncounted = case(None).judge();
    assert!(is_near(rate(&uncounted), 21.0 / 0.56) && is_estimate(&uncounted), "{uncounted:?}");
    let tokens = uncounted.output_tokens.clone().unwrap();
    assert_eq!(tokens.value, 32);
    insta::assert_snapshot!(tokens.estimated.unwrap().to_string(), @"the server does not count its tokens: they are those that the model's own tokenizer makes of the text");
    assert!(uncounted.token_times.is_err(), "pieces are not tokens: {uncounted:?}");
    // Fewer tokens than pieces: another tokenizer than the server's.
    let other = case(None).with(|case| case.tokenized = Some(vec![1, 1, 2, 2, 3, 3, 4, 4])).judge();
    assert_eq!(other.output_tokens.unwrap().value, 8);
}

#[test]
fn a_running_count_may_lag_by_one() {
    let running = (0..8).map(Some).collect();
    let found = Case::even(8, Some(8)).with(|case| case.facts.running = running).judge();
    assert!(found.void.is_none() && is_near(rate(&found), 50.0) && !is_estimate(&found), "{found:?}");
    // The same total with every piece is no running count.
    let constant = Case::even(8, Some(8)).with(|case| case.facts.running = vec![Some(8); 8]).judge();
    assert!(is_near(rate(&constant), 50.0), "{constant:?}");
}

#[test]
fn counts_that_cannot_be_true_void_the_rates() {
    let no_count = |value: &str| BTreeMap::from([("completion_tokens".to_owned(), value.to_owned())]);
    let cases = [
        Case::even(8, Some(900)),
        Case::even(8, Some(12)),
        Case::even(8, Some(7)),
        Case::even(8, Some(10)).with(|case| case.finish = FinishReason::Stop),
        Case::even(8, None).with(|case| case.facts.no_counts = no_count("-3")),
        Case::even(8, Some(8)).with(|case| case.facts.running = vec![Some(2), Some(1)]),
        Case::even(8, Some(8)).with(|case| case.facts.running = vec![Some(9)]),
        Case::even(70, Some(8)).with(|case| (case.facts.is_cut, case.requested) = (true, 8)),
        Case::even(9, None).with(|case| (case.requested, case.text) = (8, "abcdefghi".to_owned())),
    ];
    let shown: Vec<String> = cases
        .iter()
        .map(|case| {
            let found = case.judge();
            let void = found.void.unwrap_or_else(|| panic!("reported {:?}", case.reported));
            assert_eq!(found.decode_tps.as_ref(), Err(&void));
            assert_eq!(found.output_tokens.as_ref(), Err(&void));
            assert!(found.decode_time.is_ok(), "a time needs no count");
            void.to_string()
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
    void: the server counts 900 output tokens, but at most 8 were requested
    void: the server counts 12 output tokens, but at most 8 were requested
    void: 8 pieces of text arrived, but the server counts 7 tokens
    void: the server counts 10 output tokens, but at most 8 were requested
    void: the server reports `-3` as completion_tokens: expected a count
    void: the server's running count of output tokens decreases
    void: the server counted 9 output tokens while they arrived, and 8 at the end
    void: more than 70 pieces of text arrived, but at most 8 tokens were requested
    void: 9 pieces of text arrived, but at most 8 tokens were requested: pieces are no tokens
    ");
}

/// Its text has more words than tokens were requested: the limit was ignored, and the count may be true.
#[test]
fn a_server_that_ignores_the_limit_is_estimated() {
    let times: Vec<f64> = (0..8).map(|nth| 100.0 + 80.0 * f64::from(nth)).collect();
    let found = Case::new(&times, Some(32)).with(|case| case.text = "a b c d ".repeat(8)).judge();
    assert!(found.void.is_none() && is_near(rate(&found), 50.0) && is_estimate(&found), "{found:?}");
    let more_than_bytes = Case::new(&times, Some(3200)).with(|case| case.text = "a b c d ".repeat(8)).judge();
    assert!(more_than_bytes.void.is_some());
}

#[test]
fn no_count_and_a_count_of_zero_are_the_same() {
    for reported in [None, Some(0)] {
        let found = Case::even(8, reported).judge();
        assert!(is_near(rate(&found), 50.0) && is_estimate(&found), "{found:?}");
        assert!(found.output_tokens.is_ok_and(|tokens| tokens.value == 8 && tokens.estimated.is_some()));
        assert!(found.token_times.is_ok_and(|times| times.estimated.is_some()));
        assert_eq!(found.not_counted.is_some(), reported.is_some());
    }
    let empty = Case::even(0, Some(0)).judge();
    assert_eq!((empty.not_counted, empty.output_tokens), (None, Ok(Judged::exact(0))));
}

#[test]
fn output_that_is_not_understood_has_no_rate() {
    let unread = |case: &mut Case| case.facts.unread = vec!["delta.images".to_owned()];
    let found = Case::even(8, Some(8)).with(unread).judge();
    let reason = found.decode_tps.clone().unwrap_err().to_string();
    insta::assert_snapshot!(reason, @"the stream has output in delta.images, which is not understood");
    assert!(found.output_tokens.is_ok() && found.decode_time.is_err() && found.prefill.is_err());
    assert!(Case::even(8, None).with(unread).judge().output_tokens.is_err(), "pieces are not all of it");
}

#[test]
fn hidden_reasoning_is_no_decoded_text() {
    let hidden = |case: &mut Case| (case.facts.reasoning_tokens, case.requested) = (Some(100), 200);
    let found = Case::even(8, Some(108)).with(hidden).judge();
    assert!(is_near(rate(&found), 50.0) && found.prefill.is_err(), "{found:?}");
    // Its text was sent under the name of the answer.
    let sent = Case::even(8, Some(8)).with(|case| case.facts.reasoning_tokens = Some(3)).judge();
    assert!(is_near(rate(&sent), 50.0) && sent.prefill.is_ok(), "{sent:?}");
    let shown = |case: &mut Case| (case.facts.reasoning_tokens, case.facts.has_reasoning) = (Some(4), true);
    assert!(Case::even(8, Some(8)).with(shown).judge().prefill.is_ok());
}

#[test]
fn one_piece_has_no_rate() {
    let whole = Case::new(&[900.0], Some(8)).judge();
    insta::assert_snapshot!(whole.decode_tps.clone().unwrap_err().to_string(), @"all tokens arrived in one piece of text: their rate is not known");
    assert!(whole.token_times.is_err() && whole.decode_time.is_err(), "{whole:?}");
    insta::assert_snapshot!(Case::new(&[900.0], Some(1)).judge().decode_tps.unwrap_err().to_string(), @"the answer has fewer than two tokens");
}
