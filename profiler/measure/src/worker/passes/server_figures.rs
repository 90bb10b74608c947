//! A server's own figures of a request, beside those that its client measured.

use std::collections::BTreeMap;

use engine_api::ServerReport;
use record::ServerSample;
use traces::Nanos;

use super::timing::Timing;

/// The figures that a server reports. `progress` is the time of its first event about the prompt, `counters` are those of its processes.
pub(crate) fn server_figures(
    reported: &ServerReport,
    timing: &Timing,
    progress: Option<Nanos>,
    counters: BTreeMap<String, f64>,
) -> ServerSample {
    let seconds = |time: Option<Nanos>| time.map(Nanos::as_secs_f64);
    let queued = progress.filter(|&at| at >= timing.start()).map(|at| at.saturating_sub(timing.start()));
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
        first_token_s: seconds(reported.first_token),
        queue_s: seconds(reported.queue),
        whole_s: seconds(reported.whole),
        drafted_tokens: reported.drafted_tokens,
        accepted_tokens: reported.accepted_tokens,
        other_requests: reported.other_requests,
        chunks: reported.chunks,
        nonce: reported.nonce.is_some(),
        counters,
    }
}

#[cfg(test)]
mod tests {
    use engine_api::Phase;

    use super::super::timing::PhaseSpan;
    use super::*;

    #[test]
    fn the_queue_ends_with_the_first_progress_event() {
        let spans =
            vec![PhaseSpan { phase: Phase::Prefill, start: Nanos::from_millis(100), end: Nanos::from_millis(200) }];
        let timing = Timing { spans, latency: Nanos::from_millis(300), other: Nanos::ZERO, tokens: Vec::new() };
        let reported = ServerReport { prefill: Some(Nanos::from_millis(20)), chunks: 3, ..ServerReport::default() };
        let found = |progress: Option<u64>| {
            server_figures(&reported, &timing, progress.map(Nanos::from_millis), BTreeMap::new())
        };
        let server = found(Some(130));
        assert_eq!((server.queued_s, server.prefill_s, server.decode_s), (Some(0.03), Some(0.02), None));
        assert_eq!(found(Some(90)).queued_s, None, "an event of an earlier request");
        assert_eq!(found(None).queued_s, None);
    }
}
