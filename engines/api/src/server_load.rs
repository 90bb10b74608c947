//! How busy a server is, and what it has counted since its start.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use traces::Nanos;

use crate::{CacheHit, ServerReport};

/// What a server says about its work at one time: read before and after a request, outside of its timed region.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerLoad {
    /// Where it says so, such as `/metrics`.
    pub sources: Vec<String>,
    /// Figures at this time, and totals since its start.
    pub figures: BTreeMap<LoadFigure, f64>,
    /// The number of the last task of each slot.
    pub tasks: BTreeMap<u64, i64>,
    /// The last request in its log.
    pub logged: Option<LoggedRequest>,
    /// Facts about the loaded model, by name.
    pub details: BTreeMap<String, String>,
}

/// A request in the log of a server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LoggedRequest {
    /// Prompt tokens, those from its cache included.
    pub prompt_tokens: usize,
    /// Prompt tokens from its prefix cache.
    pub cached_tokens: usize,
    /// Output tokens.
    pub output_tokens: usize,
    /// Prompt tokens per second.
    pub prefill_tps: Option<f64>,
    /// Output tokens per second.
    pub decode_tps: Option<f64>,
    /// Time of the whole request, in seconds.
    pub whole_s: f64,
}

/// A figure of a server's work. Times are in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadFigure {
    /// Requests that it works on now.
    Running,
    /// Requests that wait now.
    Waiting,
    /// Requests that ended.
    Ended,
    /// Times to the first token, summed over requests.
    FirstToken,
    /// Times in the queue.
    Queue,
    /// Times of prompts.
    Prefill,
    /// Times of outputs, from the first token on.
    Decode,
    /// Times of whole requests.
    Whole,
    /// Prompt tokens that were looked up in the prefix cache.
    CacheQueries,
    /// Prompt tokens that were found there.
    CacheHits,
    /// Output tokens.
    OutputTokens,
}

/// What a server's totals say about one request: it was the only one between two readings.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SingleRequest {
    /// Time to the first token, in seconds.
    pub first_token_s: Option<f64>,
    /// Time in the queue.
    pub queue_s: Option<f64>,
    /// Time of the prompt.
    pub prefill_s: Option<f64>,
    /// Time of the output, from its first token on.
    pub decode_s: Option<f64>,
    /// Time of the whole request.
    pub whole_s: Option<f64>,
    /// Prompt tokens from the prefix cache.
    pub cached_tokens: Option<usize>,
}

impl ServerLoad {
    /// Requests that it works on or that wait; `None` if it does not say.
    pub fn requests(&self) -> Option<usize> {
        let parts = [LoadFigure::Running, LoadFigure::Waiting].map(|figure| self.figures.get(&figure));
        let known: Vec<f64> = parts.into_iter().flatten().copied().collect();
        (!known.is_empty()).then(|| count(known.iter().sum()))
    }

    /// Whether the readings of a request that ended since `before` are complete: it counts as ended if such requests are counted, and
    /// the server works on no more requests than before.
    pub fn has_settled_since(&self, before: &Self) -> bool {
        let ended = self.grown(before, LoadFigure::Ended).is_none_or(|ended| ended > 0.0);
        ended && self.requests().zip(before.requests()).is_none_or(|(now, then)| now <= then)
    }

    /// The number of other requests that the server worked on between these readings, with one request of this program; `None` if it says
    /// nothing about that. `output_tokens` are those of the own request.
    pub fn others_since(&self, before: &Self, output_tokens: Option<usize>) -> Option<usize> {
        let ended = self.grown(before, LoadFigure::Ended).map(|ended| count(ended).saturating_sub(1));
        let tasks = (!self.tasks.is_empty() && !before.tasks.is_empty()).then(|| {
            let changed =
                self.tasks.iter().filter(|(slot, task)| before.tasks.get(slot).is_some_and(|old| old != *task));
            changed.count().saturating_sub(1)
        });
        // Tokens of other requests that have not ended: the end token counts or does not.
        let tokens = self.grown(before, LoadFigure::OutputTokens).zip(output_tokens);
        let tokens = tokens.map(|(made, own)| usize::from(count(made) > own + 1));
        [before.requests(), self.requests(), ended, tasks, tokens].into_iter().flatten().max()
    }

    /// The figures of the only request between these readings.
    pub fn single_request_since(&self, before: &Self) -> SingleRequest {
        let seconds = |figure| self.grown(before, figure).filter(|seconds| *seconds > 0.0);
        if !self.is_single(before) {
            return SingleRequest::default();
        }
        SingleRequest {
            first_token_s: seconds(LoadFigure::FirstToken),
            queue_s: self.grown(before, LoadFigure::Queue).filter(|seconds| *seconds >= 0.0),
            prefill_s: seconds(LoadFigure::Prefill),
            decode_s: seconds(LoadFigure::Decode),
            whole_s: seconds(LoadFigure::Whole),
            cached_tokens: self.grown(before, LoadFigure::CacheHits).map(count),
        }
    }

    /// Whether exactly one request ended between these readings.
    fn is_single(&self, before: &Self) -> bool {
        self.grown(before, LoadFigure::Ended).is_some_and(|ended| count(ended) == 1)
    }

    /// How far a total has grown; `None` if one reading lacks it, or if it was reset.
    fn grown(&self, before: &Self, figure: LoadFigure) -> Option<f64> {
        let grown = self.figures.get(&figure)? - before.figures.get(&figure)?;
        (grown >= 0.0).then_some(grown)
    }
}

impl ServerReport {
    /// Adds what the server's load before and after the request says about it. Figures of the response itself are kept. With other
    /// requests in between the totals are not those of this one.
    pub fn add_load(&mut self, before: &ServerLoad, after: &ServerLoad) {
        self.other_requests = after.others_since(before, self.output_tokens);
        if self.other_requests.is_some_and(|others| others > 0) {
            return;
        }
        let time = |seconds: Option<f64>| seconds.map(Nanos::from_secs_f64);
        let single = after.single_request_since(before);
        self.first_token = self.first_token.or(time(single.first_token_s));
        self.queue = self.queue.or(time(single.queue_s));
        self.prefill = self.prefill.or(time(single.prefill_s));
        self.decode = self.decode.or(time(single.decode_s));
        self.whole = self.whole.or(time(single.whole_s));
        self.cached_tokens = self.cached_tokens.or(single.cached_tokens);
        if let Some(logged) = after.logged.as_ref().filter(|_| after.is_single(before)) {
            self.prompt_tokens = self.prompt_tokens.or(Some(logged.prompt_tokens));
            self.cached_tokens = self.cached_tokens.or(Some(logged.cached_tokens));
            self.output_tokens = self.output_tokens.or(Some(logged.output_tokens));
            self.prefill_tps = self.prefill_tps.or(logged.prefill_tps);
            self.decode_tps = self.decode_tps.or(logged.decode_tps);
            self.whole = self.whole.or(time(Some(logged.whole_s)));
        }
        if self.cache.is_none() {
            self.cache = CacheHit::of(self.cached_tokens, self.prompt_tokens);
        }
    }
}

/// A count that a server writes as a number with a fraction.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is rounded, and negative values are 0")]
fn count(value: f64) -> usize {
    value.round().max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(figures: &[(LoadFigure, f64)]) -> ServerLoad {
        ServerLoad { figures: figures.iter().copied().collect(), ..ServerLoad::default() }
    }

    fn slots(tasks: &[i64]) -> ServerLoad {
        ServerLoad { tasks: (0..).zip(tasks.iter().copied()).collect(), ..load(&[(LoadFigure::Running, 0.0)]) }
    }

    #[test]
    fn requests_of_others_are_found_in_every_figure() {
        use LoadFigure::{Ended, OutputTokens, Running, Waiting};
        let idle = load(&[(Running, 0.0), (Waiting, 0.0), (Ended, 7.0), (OutputTokens, 100.0)]);
        let after = |figures: &[(LoadFigure, f64)]| load(figures).others_since(&idle, Some(8));
        assert_eq!(after(&[(Running, 0.0), (Ended, 8.0), (OutputTokens, 108.0)]), Some(0));
        assert_eq!(after(&[(Running, 0.0), (Ended, 8.0), (OutputTokens, 109.0)]), Some(0), "an end token");
        assert_eq!(after(&[(Running, 1.0), (Waiting, 2.0), (Ended, 8.0)]), Some(3), "busy at the end");
        assert_eq!(after(&[(Running, 0.0), (Ended, 10.0)]), Some(2), "ended meanwhile");
        assert_eq!(after(&[(Running, 0.0), (Ended, 8.0), (OutputTokens, 140.0)]), Some(1), "tokens of others");
        let busy = load(&[(Running, 1.0), (Ended, 7.0)]);
        assert_eq!(load(&[(Running, 0.0), (Ended, 8.0)]).others_since(&busy, Some(8)), Some(1), "busy at the start");
        assert_eq!(ServerLoad::default().others_since(&ServerLoad::default(), Some(8)), None);
        assert_eq!(load(&[(Running, 0.0), (Ended, 1.0)]).others_since(&idle, None), Some(0), "a restarted server");
    }

    #[test]
    fn each_slot_has_its_last_task() {
        assert_eq!(slots(&[5, -1]).others_since(&slots(&[1, -1]), Some(8)), Some(0));
        assert_eq!(slots(&[5, 9]).others_since(&slots(&[1, -1]), Some(8)), Some(1));
    }

    #[test]
    fn totals_are_those_of_one_request() {
        use LoadFigure::{CacheHits, Decode, Ended, Prefill, Queue};
        let before = load(&[(Ended, 1.0), (Prefill, 2.0), (Decode, 3.0), (Queue, 0.5), (CacheHits, 16.0)]);
        let after = |ended| load(&[(Ended, ended), (Prefill, 2.25), (Decode, 3.5), (Queue, 0.5), (CacheHits, 16.0)]);
        let found = after(2.0).single_request_since(&before);
        assert_eq!((found.prefill_s, found.decode_s, found.queue_s), (Some(0.25), Some(0.5), Some(0.0)));
        assert_eq!((found.cached_tokens, found.first_token_s), (Some(0), None));
        assert_eq!(after(3.0).single_request_since(&before), SingleRequest::default(), "two requests");
        assert!(!after(1.0).has_settled_since(&before) && after(2.0).has_settled_since(&before));
    }

    #[test]
    fn the_figures_of_a_request_are_kept_and_completed() {
        use LoadFigure::{CacheHits, Ended, OutputTokens, Prefill};
        let reading = |ended, tokens| {
            load(&[(Ended, ended), (OutputTokens, tokens), (Prefill, ended * 0.25), (CacheHits, ended * 16.0)])
        };
        let counted = || ServerReport { prompt_tokens: Some(40), output_tokens: Some(8), ..ServerReport::default() };
        let mut report = counted();
        report.add_load(&reading(1.0, 0.0), &reading(2.0, 8.0));
        assert_eq!((report.other_requests, report.prefill), (Some(0), Some(Nanos::from_millis(250))));
        assert_eq!((report.cached_tokens, report.cache), (Some(16), Some(CacheHit::Partial)));
        let mut reported = ServerReport { prefill: Some(Nanos::from_millis(1)), cached_tokens: Some(0), ..counted() };
        reported.add_load(&reading(1.0, 0.0), &reading(2.0, 8.0));
        assert_eq!((reported.prefill, reported.cached_tokens), (Some(Nanos::from_millis(1)), Some(0)));
        let mut shared = counted();
        shared.add_load(&reading(1.0, 0.0), &reading(3.0, 40.0));
        assert_eq!((shared.other_requests, shared.prefill, shared.cached_tokens), (Some(1), None, None));
    }

    #[test]
    fn a_log_has_the_figures_of_its_last_request() {
        let logged = LoggedRequest {
            prompt_tokens: 50,
            cached_tokens: 5,
            output_tokens: 8,
            prefill_tps: Some(90.0),
            decode_tps: None,
            whole_s: 1.5,
        };
        let reading = |ended| ServerLoad { logged: Some(logged.clone()), ..load(&[(LoadFigure::Ended, ended)]) };
        let mut report = ServerReport::default();
        report.add_load(&reading(1.0), &reading(1.0));
        assert_eq!(report.prefill_tps, None, "that of an earlier request");
        report.add_load(&reading(1.0), &reading(2.0));
        assert_eq!(
            (report.prefill_tps, report.cached_tokens, report.whole),
            (Some(90.0), Some(5), Some(Nanos::from_millis(1500)))
        );
    }
}
