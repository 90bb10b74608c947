//! Adds a server's own figures of a request to those that its client measured.

use std::collections::BTreeMap;

use engine_api::{FinishReason, ServerReport};
use record::{Sample, ServerSample};
use traces::Nanos;

use super::timing::Timing;
use crate::protocol::Answer;

/// Adds the server's own figures. If one event carries several tokens, or tokens have no text, the decode rate counts the tokens that
/// the server reports (an end token has no text). The series of times is that of the pieces in any case.
#[allow(clippy::cast_precision_loss, reason = "token counts stay far below 2^53")]
pub(crate) fn server_figures(sample: &mut Sample, timing: &Timing, answer: &Answer, progress: Option<Nanos>) {
    let Some(reported) = &answer.reported else { return };
    let queued = progress.filter(|&at| at >= timing.start()).map(|at| at.saturating_sub(timing.start()));
    sample.server = Some(server_sample(reported, queued));
    if reported.prompt_tokens.is_none() {
        (sample.prompt_tokens, sample.prefill_tps) = (None, None);
        for field in ["prompt_tokens", "prefill_tps"] {
            sample
                .reasons
                .insert(field.to_owned(), "the server does not report the number of prompt tokens".to_owned());
        }
    }
    let (first, last) = (timing.tokens.first(), timing.tokens.last());
    if let Some((&first, &last)) = first.zip(last)
        // The end token has no text.
        && answer.output_tokens > timing.tokens.len() + usize::from(answer.finish == FinishReason::Stop)
        && last > first
    {
        sample.decode_tps = Some((answer.output_tokens - 1) as f64 / last.saturating_sub(first).as_secs_f64());
    }
}

fn server_sample(reported: &ServerReport, queued: Option<Nanos>) -> ServerSample {
    let seconds = |time: Option<Nanos>| time.map(Nanos::as_secs_f64);
    ServerSample {
        prompt_tokens: reported.prompt_tokens,
        cached_tokens: reported.cached_tokens,
        cache: reported.cache,
        output_tokens: reported.output_tokens,
        prefill_s: seconds(reported.prefill),
        decode_s: seconds(reported.decode),
        load_s: seconds(reported.load),
        prefill_tps: reported.prefill_tps,
        decode_tps: reported.decode_tps,
        peak_memory_bytes: reported.peak_memory_bytes,
        energy_j: reported.energy_j,
        queued_s: seconds(queued),
        chunks: reported.chunks,
        nonce: reported.nonce.is_some(),
        counters: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(output_tokens: usize) -> Answer {
        Answer {
            text: "abc".to_owned(),
            token_ids: Vec::new(),
            prompt_ids: Vec::new(),
            prompt_tokens: 3,
            output_tokens,
            finish: FinishReason::Length,
            reported: Some(ServerReport {
                prefill: Some(Nanos::from_millis(20)),
                prompt_tokens: Some(3),
                chunks: 3,
                ..ServerReport::default()
            }),
        }
    }

    fn timing() -> Timing {
        Timing {
            spans: vec![super::super::timing::PhaseSpan {
                phase: engine_api::Phase::Prefill,
                start: Nanos::from_millis(100),
                end: Nanos::from_millis(200),
            }],
            latency: Nanos::from_millis(300),
            other: Nanos::ZERO,
            tokens: [100, 200, 300].map(Nanos::from_millis).to_vec(),
        }
    }

    #[test]
    fn tokens_that_arrive_together_count_as_tokens() {
        let mut sample = Sample { decode_tps: Some(10.0), ..Sample::default() };
        server_figures(&mut sample, &timing(), &answer(3), Some(Nanos::from_millis(130)));
        assert_eq!(sample.decode_tps, Some(10.0), "one token per event: the figure is the client's");
        let server = sample.server.clone().unwrap();
        assert_eq!((server.queued_s, server.prefill_s, server.decode_s), (Some(0.03), Some(0.02), None));
        let ended = Answer { finish: FinishReason::Stop, ..answer(4) };
        server_figures(&mut sample, &timing(), &ended, None);
        assert_eq!(sample.decode_tps, Some(10.0), "an end token has no text");
        server_figures(&mut sample, &timing(), &answer(4), None);
        assert!((sample.decode_tps.unwrap() - 15.0).abs() < 1e-9, "three further tokens in 0.2 s");
        server_figures(&mut sample, &timing(), &answer(9), None);
        assert!((sample.decode_tps.unwrap() - 40.0).abs() < 1e-9, "eight further tokens in 0.2 s");
        assert_eq!(sample.server.unwrap().queued_s, None);
    }

    #[test]
    fn a_prompt_of_unknown_length_has_no_rate() {
        let mut sample = Sample { prompt_tokens: Some(0), prefill_tps: Some(0.0), ..Sample::default() };
        let silent = Answer { reported: Some(ServerReport::default()), ..answer(3) };
        server_figures(&mut sample, &timing(), &silent, None);
        assert_eq!((sample.prompt_tokens, sample.prefill_tps), (None, None));
        assert!(sample.reasons.contains_key("prefill_tps"));
    }

    #[test]
    fn an_engine_of_this_process_adds_no_figures() {
        let mut sample = Sample::default();
        server_figures(&mut sample, &timing(), &Answer { reported: None, ..answer(3) }, None);
        assert_eq!(sample.server, None);
    }
}
