//! The figures of a request: its answer, and its times as a [`Sample`].

use engine_api::{Phase, PhaseSplit, Usage};
use record::{Reasons, Sample};
use traces::Nanos;

use super::stopwatch::Stopwatch;
use super::timing::Timing;
use crate::protocol::Answer;

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

/// Adds the times to a sample. A phase that the engine merges into another one, or that the request does not have, is `null` with a
/// reason; a phase that did not occur has a time of 0.
#[allow(clippy::cast_precision_loss, reason = "token counts stay far below 2^53")]
pub(crate) fn time_figures(
    sample: &mut Sample,
    timing: &Timing,
    answer: &Answer,
    split: PhaseSplit,
    from_tokens: bool,
) {
    let seconds = |phase| Some(timing.phase(phase).as_secs_f64());
    let merged = |into: &str| format!("the engine does not report it separately: part of {into}");
    let reasons = &mut sample.reasons;
    let mut time_of = |name: &str, reason: Option<String>, phase| {
        let Some(reason) = reason else { return seconds(phase) };
        reasons.insert(name.to_owned(), reason);
        None
    };
    let ids = from_tokens.then(|| "the prompt is given as token ids: nothing to tokenize".to_owned());
    sample.tokenize_s =
        time_of("tokenize_s", ids.or_else(|| (!split.tokenize).then(|| merged("prefill_s"))), Phase::Tokenize);
    sample.sample_s = time_of("sample_s", (!split.sample).then(|| merged("decode_s")), Phase::Sample);
    sample.detokenize_s = time_of("detokenize_s", (!split.detokenize).then(|| merged("decode_s")), Phase::Detokenize);
    sample.prefill_s = seconds(Phase::Prefill);
    sample.decode_s = seconds(Phase::Decode);
    sample.other_s = Some(timing.other.as_secs_f64());
    sample.latency_s = Some(timing.latency.as_secs_f64());
    sample.prompt_tokens = Some(answer.prompt_tokens);
    sample.output_tokens = Some(answer.output_tokens);
    sample.token_times_s = timing.tokens.iter().map(|time| time.as_secs_f64()).collect();
    sample.ttft_s = sample.token_times_s.first().copied();
    let outputs = answer.output_tokens as f64;
    let reasons = &mut sample.reasons;
    if sample.ttft_s.is_none() {
        reasons.insert("ttft_s".to_owned(), "the answer has no token".to_owned());
    }
    sample.tps = rate(outputs, timing.latency, "tps", reasons);
    sample.prefill_tps = rate(answer.prompt_tokens as f64, timing.phase(Phase::Prefill), "prefill_tps", reasons);
    sample.decode_tps = match (timing.tokens.first(), timing.tokens.last()) {
        (Some(&first), Some(&last)) if timing.tokens.len() > 1 => {
            rate((timing.tokens.len() - 1) as f64, last.saturating_sub(first), "decode_tps", reasons)
        }
        _ => {
            reasons.insert("decode_tps".to_owned(), "the answer has fewer than two tokens".to_owned());
            None
        }
    };
    sample.output_sha256 = Some(answer.sha256());
}

fn rate(amount: f64, time: Nanos, name: &str, reasons: &mut Reasons) -> Option<f64> {
    if time == Nanos::ZERO {
        reasons.insert(name.to_owned(), "it took less time than the clock can measure".to_owned());
        return None;
    }
    Some(amount / time.as_secs_f64())
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

    const WHOLE: PhaseSplit = PhaseSplit { tokenize: true, sample: true, detokenize: true };

    #[test]
    fn figures_follow_their_formulas() {
        let timing = Timing {
            spans: vec![span(Phase::Tokenize, 0, 10), span(Phase::Prefill, 10, 110), span(Phase::Decode, 120, 220)],
            latency: Nanos::from_millis(220),
            other: Nanos::from_millis(10),
            tokens: [110, 165, 220].map(Nanos::from_millis).to_vec(),
        };
        let mut sample = Sample::default();
        time_figures(&mut sample, &timing, &answer(3), WHOLE, false);
        let near =
            |value: Option<f64>, wanted: f64| assert!((value.unwrap() - wanted).abs() < 1e-9, "{value:?} {wanted}");
        near(sample.tps, 3.0 / 0.22);
        near(sample.prefill_tps, 30.0);
        near(sample.decode_tps, 2.0 / 0.11);
        near(sample.ttft_s, 0.11);
        near(sample.sample_s, 0.0);
        assert!(sample.reasons.is_empty(), "{:?}", sample.reasons);
    }

    #[test]
    fn merged_phases_are_null_with_a_reason_and_the_others_add_up() {
        let timing = Timing {
            spans: vec![span(Phase::Prefill, 0, 100), span(Phase::Decode, 101, 150)],
            latency: Nanos::from_millis(150),
            other: Nanos::from_millis(1),
            tokens: vec![Nanos::from_millis(100)],
        };
        let mut sample = Sample::default();
        time_figures(
            &mut sample,
            &timing,
            &answer(1),
            PhaseSplit { tokenize: false, sample: false, detokenize: false },
            false,
        );
        assert_eq!(
            (sample.tokenize_s, sample.sample_s, sample.detokenize_s, sample.decode_tps),
            (None, None, None, None)
        );
        for field in ["tokenize_s", "sample_s", "detokenize_s", "decode_tps"] {
            assert!(sample.reasons.contains_key(field), "{field}");
        }
        let sum: f64 = [sample.prefill_s, sample.decode_s, sample.other_s].into_iter().flatten().sum();
        assert!((sum - sample.latency_s.unwrap()).abs() < 1e-12);
    }

    #[test]
    fn token_ids_as_prompt_have_no_tokenize_phase() {
        let timing = Timing {
            spans: vec![span(Phase::Prefill, 0, 100)],
            latency: Nanos::from_millis(100),
            other: Nanos::ZERO,
            tokens: vec![],
        };
        let mut sample = Sample::default();
        time_figures(&mut sample, &timing, &answer(0), WHOLE, true);
        assert_eq!(sample.tokenize_s, None);
        assert!(sample.reasons["tokenize_s"].contains("token ids"));
        assert_eq!(sample.ttft_s, None);
    }
}
