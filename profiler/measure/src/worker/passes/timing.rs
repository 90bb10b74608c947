//! [`Timing`]: the durations of a request, from its edges.
//!
//! ```text
//!            first begin                                                                    last end
//!                 |tokenize|  |prefill|  |sample|  |detokenize|  |decode|  |sample| ...         |
//!                 |--------|..|-------|..|------|..|----------|..|------|..|------| ... --------|
//!                 |<------------------------------- latency ----------------------------------->|
//!     other = the dots: from an end to the next begin
//! ```
//! All sums are in whole nanoseconds, so phases + other = latency exactly.

use engine_api::Phase;
use serde::{Deserialize, Serialize};
use traces::Nanos;

use super::stopwatch::{Arrival, Edge, Stopwatch};

/// One occurrence of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseSpan {
    /// The phase.
    pub phase: Phase,
    /// When it began.
    pub start: Nanos,
    /// When it ended.
    pub end: Nanos,
}

/// The durations of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timing {
    /// Every phase in order.
    pub(crate) spans: Vec<PhaseSpan>,
    /// First begin to last end.
    pub(crate) latency: Nanos,
    /// From an end to the next begin, summed.
    pub(crate) other: Nanos,
    /// When each output token was known, from the first begin: at the end of its sampling, or at its arrival if sampling is not a
    /// phase of its own.
    pub(crate) tokens: Vec<Nanos>,
}

/// Invalid edges: an error of the engine, which makes the timing invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EdgeError {
    /// There are no edges.
    #[error("the engine reported no phase: expected at least prefill")]
    Empty,
    /// An edge at a wrong place.
    #[error("the engine's edge {index} is the {found}: expected the {expected}")]
    StartOptions {
        /// Index of the edge, from 0.
        index: usize,
        /// What the edge is.
        found: String,
        /// What it should have been.
        expected: String,
    },
    /// More edges than the request can have.
    #[error("the engine reported more phases or tokens than a request of this length has")]
    TooMany,
    /// An edge is earlier than the previous one.
    #[error("the engine's edge {index} is earlier than the previous one: the clock went backwards")]
    Backwards {
        /// Index of the edge, from 0.
        index: usize,
    },
}

impl Timing {
    /// The durations of a stopwatch's edges.
    ///
    /// # Errors
    /// When the edges are invalid.
    pub(crate) fn read(watch: &Stopwatch<'_>) -> Result<Self, EdgeError> {
        if watch.is_full() {
            return Err(EdgeError::TooMany);
        }
        Self::of(watch.edges(), watch.arrivals())
    }

    /// Durations of a series of edges.
    fn of(edges: &[Edge], arrivals: &[Arrival]) -> Result<Self, EdgeError> {
        let spans = spans(edges)?;
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else { return Err(EdgeError::Empty) };
        let start = first.start;
        let latency = last.end.saturating_sub(start);
        let other = spans.windows(2).map(|pair| match pair {
            [before, after] => after.start.saturating_sub(before.end),
            _ => Nanos::ZERO,
        });
        let other = other.fold(Nanos::ZERO, Nanos::saturating_add);
        let sampled: Vec<_> = spans
            .iter()
            .filter(|span| span.phase == Phase::Sample)
            .map(|span| span.end.saturating_sub(start))
            .collect();
        let tokens = if sampled.len() >= arrivals.len() && !sampled.is_empty() {
            sampled.into_iter().take(arrivals.len()).collect()
        } else {
            // A piece may arrive just after the last edge, but no token counts as later than the end.
            arrivals.iter().map(|arrival| arrival.at.saturating_sub(start).min(latency)).collect()
        };
        Ok(Self { spans, latency, other, tokens })
    }

    /// Time in a phase, summed over its occurrences.
    pub(crate) fn phase(&self, phase: Phase) -> Nanos {
        let times =
            self.spans.iter().filter(|span| span.phase == phase).map(|span| span.end.saturating_sub(span.start));
        times.fold(Nanos::ZERO, Nanos::saturating_add)
    }

    /// How often a phase occurred.
    pub(crate) fn count(&self, phase: Phase) -> usize {
        self.spans.iter().filter(|span| span.phase == phase).count()
    }

    /// The time of the first begin.
    pub(crate) fn start(&self) -> Nanos {
        self.spans.first().map_or(Nanos::ZERO, |span| span.start)
    }

    /// The time of the last end.
    pub(crate) fn end(&self) -> Nanos {
        self.spans.last().map_or(Nanos::ZERO, |span| span.end)
    }
}

/// Pairs begins with ends. Phases are not nested.
fn spans(edges: &[Edge]) -> Result<Vec<PhaseSpan>, EdgeError> {
    let name = |edge: &Edge| format!("{} of {}", if edge.begins { "begin" } else { "end" }, edge.phase.name());
    let mut spans = Vec::with_capacity(edges.len() / 2);
    let mut open: Option<Edge> = None;
    let mut last = Nanos::ZERO;
    for (index, &edge) in edges.iter().enumerate() {
        if edge.at < last {
            return Err(EdgeError::Backwards { index });
        }
        last = edge.at;
        open = match open {
            None if edge.begins => Some(edge),
            None => {
                return Err(EdgeError::StartOptions {
                    index,
                    found: name(&edge),
                    expected: "begin of a phase".to_owned(),
                });
            }
            Some(begun) if !edge.begins && edge.phase == begun.phase => {
                spans.push(PhaseSpan { phase: edge.phase, start: begun.at, end: edge.at });
                None
            }
            Some(begun) => {
                return Err(EdgeError::StartOptions {
                    index,
                    found: name(&edge),
                    expected: format!("end of {}", begun.phase.name()),
                });
            }
        };
    }
    match open {
        None => Ok(spans),
        Some(begun) => Err(EdgeError::StartOptions {
            index: edges.len(),
            found: "last one".to_owned(),
            expected: format!("end of {}", begun.phase.name()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(series: &[(Phase, u64, u64)]) -> Vec<Edge> {
        let both = |&(phase, start, end): &(Phase, u64, u64)| {
            [Edge { phase, begins: true, at: Nanos(start) }, Edge { phase, begins: false, at: Nanos(end) }]
        };
        series.iter().flat_map(both).collect()
    }

    fn arrivals(times: &[u64]) -> Vec<Arrival> {
        times.iter().map(|&at| Arrival { at: Nanos(at), token: Some(7) }).collect()
    }

    #[test]
    fn phases_and_other_make_the_latency_exactly() {
        let series = [
            (Phase::Tokenize, 100, 110),
            (Phase::Prefill, 113, 200),
            (Phase::Sample, 200, 205),
            (Phase::Detokenize, 206, 210),
            (Phase::Decode, 250, 300),
            (Phase::Sample, 300, 301),
            (Phase::Detokenize, 302, 303),
        ];
        let timing = Timing::of(&edges(&series), &arrivals(&[211, 304])).unwrap();
        let phases: u64 = Phase::ALL.iter().map(|&phase| timing.phase(phase).0).sum();
        assert_eq!(timing.latency, Nanos(203));
        assert_eq!(timing.other, Nanos(3 + 1 + 40 + 1));
        assert_eq!(phases + timing.other.0, timing.latency.0);
        assert_eq!(timing.tokens, [Nanos(105), Nanos(201)]);
        assert_eq!(timing.count(Phase::Sample), 2);
    }

    #[test]
    fn without_a_sample_phase_tokens_are_known_at_their_arrival() {
        let series = [(Phase::Prefill, 10, 50), (Phase::Decode, 60, 90)];
        let timing = Timing::of(&edges(&series), &arrivals(&[55, 91])).unwrap();
        assert_eq!(timing.tokens, [Nanos(45), Nanos(80)], "the last one is not later than the end");
    }

    #[test]
    fn edges_out_of_order_are_an_error() {
        let mut series = edges(&[(Phase::Prefill, 0, 5), (Phase::Sample, 5, 6)]);
        series.swap(1, 2);
        let text = Timing::of(&series, &[]).unwrap_err().to_string();
        assert_eq!(text, "the engine's edge 1 is the begin of sample: expected the end of prefill");
        let text = Timing::of(&series[..1], &[]).unwrap_err().to_string();
        assert!(text.contains("expected the end of prefill"), "{text}");
        assert_eq!(Timing::of(&[], &[]).unwrap_err(), EdgeError::Empty);
        let backwards = edges(&[(Phase::Prefill, 9, 5)]);
        assert_eq!(Timing::of(&backwards, &[]).unwrap_err(), EdgeError::Backwards { index: 1 });
    }
}
