//! The figures of a request: its answer, its times and rates.

use engine_api::{Phase, PhaseSplit, Usage};
use record::{Reason, Reasons, Recorded, RecordedList};
use traces::Nanos;

use super::stopwatch::Stopwatch;
use super::timing::Timing;
use crate::protocol::Answer;

/// Why a request has no time of a token.
const NO_TOKEN: &str = "the answer has no token";

/// The answer of a request, from its stopwatch and its usage.
pub(crate) fn answer(watch: &Stopwatch<'_>, usage: Usage) -> Answer {
    let ids: Option<Vec<u32>> = watch.arrivals().iter().map(|arrival| arrival.token).collect();
    Answer {
        text: watch.text().to_owned(),
        // One missing id makes the others useless.
        token_ids: ids.unwrap_or_default(),
        prompt_ids: usage.prompt_ids,
        prompt_tokens: usage.prompt_tokens,
        output_tokens: usage.output_tokens,
        finish: usage.finish,
        reported: usage.reported,
    }
}

/// The times of a request, and what follows from them; the fields are those of [`record::Sample`].
#[derive(Debug)]
pub(crate) struct TimeFigures {
    pub(crate) latency_s: Recorded<f64>,
    pub(crate) ttft_s: Recorded<f64>,
    pub(crate) tokenize_s: Recorded<f64>,
    pub(crate) prefill_s: Recorded<f64>,
    pub(crate) decode_s: Recorded<f64>,
    pub(crate) sample_s: Recorded<f64>,
    pub(crate) detokenize_s: Recorded<f64>,
    pub(crate) other_s: Recorded<f64>,
    pub(crate) prompt_tokens: Recorded<usize>,
    pub(crate) output_tokens: Recorded<usize>,
    pub(crate) tps: Recorded<f64>,
    pub(crate) prefill_tps: Recorded<f64>,
    pub(crate) decode_tps: Recorded<f64>,
    pub(crate) token_times_s: RecordedList<f64>,
    pub(crate) estimated: Reasons,
    pub(crate) notes: Reasons,
}

/// The figures of a request. A phase that the engine merges into another one, or that the request does not have, is absent; a phase
/// that did not occur has a time of 0. Every piece is one token here; [`server_figures`](super::server_figures()) corrects the figures of a
/// server, whose pieces need not be.
#[allow(clippy::cast_precision_loss, reason = "token counts stay far below 2^53")]
pub(crate) fn time_figures(timing: &Timing, answer: &Answer, split: PhaseSplit, from_tokens: bool) -> TimeFigures {
    let seconds = |phase| Recorded::Present(timing.phase(phase).as_secs_f64());
    let separate = |is_separate: bool, phase, into: &str| match is_separate {
        true => seconds(phase),
        false => Recorded::absent(format!("the engine does not report it separately: part of {into}")),
    };
    let token_times_s: Vec<f64> = timing.tokens.iter().map(|time| time.as_secs_f64()).collect();
    TimeFigures {
        latency_s: timing.latency.as_secs_f64().into(),
        ttft_s: Recorded::of(token_times_s.first().copied(), NO_TOKEN),
        tokenize_s: match from_tokens {
            true => Recorded::absent("the prompt is given as token ids: nothing to tokenize"),
            false => separate(split.tokenize, Phase::Tokenize, "prefill_s"),
        },
        prefill_s: seconds(Phase::Prefill),
        decode_s: seconds(Phase::Decode),
        sample_s: separate(split.sample, Phase::Sample, "decode_s"),
        detokenize_s: separate(split.detokenize, Phase::Detokenize, "decode_s"),
        other_s: timing.other.as_secs_f64().into(),
        output_tokens: answer.output_tokens.into(),
        tps: rate(answer.output_tokens as f64, timing.latency).into(),
        prefill_tps: rate(answer.prompt_tokens as f64, timing.phase(Phase::Prefill)).into(),
        prompt_tokens: answer.prompt_tokens.into(),
        decode_tps: decode_rate(timing).into(),
        token_times_s: RecordedList::new(token_times_s, NO_TOKEN),
        estimated: Reasons::new(),
        notes: Reasons::new(),
    }
}

/// Tokens per second after the first one.
#[allow(clippy::cast_precision_loss, reason = "token counts stay far below 2^53")]
fn decode_rate(timing: &Timing) -> Result<f64, Reason> {
    let (first, last) = match timing.tokens.as_slice() {
        [first, .., last] => (*first, *last),
        _ => return Err(Reason::new("the answer has fewer than two tokens")),
    };
    rate((timing.tokens.len() - 1) as f64, last.saturating_sub(first))
}

/// A rate; none over a time of 0.
pub(super) fn rate(amount: f64, time: Nanos) -> Result<f64, Reason> {
    match time {
        Nanos::ZERO => Err(Reason::new("it took less time than the clock can measure")),
        time => Ok(amount / time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use engine_api::FinishReason;

    use super::super::timing::PhaseSpan;
    use super::*;

    fn answer(tokens: usize) -> Answer {
        Answer {
            text: "abc".to_owned(),
            token_ids: vec![1; tokens],
            prompt_ids: vec![1, 2, 3],
            prompt_tokens: 3,
            output_tokens: tokens,
            finish: FinishReason::Length,
            reported: None,
        }
    }

    fn span(phase: Phase, start: u64, end: u64) -> PhaseSpan {
        PhaseSpan { phase, start: Nanos::from_millis(start), end: Nanos::from_millis(end) }
    }

    fn near(figure: &Recorded<f64>, wanted: f64) {
        assert!((figure.value().unwrap() - wanted).abs() < 1e-9, "{figure:?} {wanted}");
    }

    const WHOLE: PhaseSplit = PhaseSplit { tokenize: true, sample: true, detokenize: true };

    #[test]
    fn figures_follow_their_formulas() {
        let timing = Timing {
            spans: vec![span(Phase::Tokenize, 0, 10), span(Phase::Prefill, 10, 110), span(Phase::Decode, 120, 220)],
            latency: Nanos::from_millis(220),
            other: Nanos::from_millis(10),
            tokens: [110, 165, 220].map(Nanos::from_millis).to_vec(),
        };
        let found = time_figures(&timing, &answer(3), WHOLE, false);
        near(&found.tps, 3.0 / 0.22);
        near(&found.prefill_tps, 30.0);
        near(&found.decode_tps, 2.0 / 0.11);
        near(&found.ttft_s, 0.11);
        near(&found.sample_s, 0.0);
        assert_eq!((found.prompt_tokens.value(), found.output_tokens.value()), (Some(3), Some(3)));
    }

    #[test]
    fn merged_phases_are_absent_and_the_others_add_up() {
        let timing = Timing {
            spans: vec![span(Phase::Prefill, 0, 100), span(Phase::Decode, 101, 150)],
            latency: Nanos::from_millis(150),
            other: Nanos::from_millis(1),
            tokens: vec![Nanos::from_millis(100)],
        };
        let merged = PhaseSplit { tokenize: false, sample: false, detokenize: false };
        let found = time_figures(&timing, &answer(1), merged, false);
        insta::assert_snapshot!(found.tokenize_s.reason().unwrap(), @"the engine does not report it separately: part of prefill_s");
        insta::assert_snapshot!(found.sample_s.reason().unwrap(), @"the engine does not report it separately: part of decode_s");
        insta::assert_snapshot!(found.detokenize_s.reason().unwrap(), @"the engine does not report it separately: part of decode_s");
        insta::assert_snapshot!(found.decode_tps.reason().unwrap(), @"the answer has fewer than two tokens");
        let sum: f64 =
            [&found.prefill_s, &found.decode_s, &found.other_s].into_iter().filter_map(Recorded::value).sum();
        assert!((sum - found.latency_s.value().unwrap()).abs() < 1e-12);
    }

    #[test]
    fn token_ids_as_prompt_have_no_tokenize_phase() {
        let timing = Timing {
            spans: vec![span(Phase::Prefill, 0, 100)],
            latency: Nanos::from_millis(100),
            other: Nanos::ZERO,
            tokens: vec![],
        };
        let found = time_figures(&timing, &answer(0), WHOLE, true);
        assert!(found.tokenize_s.reason().unwrap().as_str().contains("token ids"));
        assert!(found.ttft_s.is_absent());
    }
}
