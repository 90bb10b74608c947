//! One measured request.

use super::recorded::with_reasons;
use super::{Pass, Reasons, Recorded, RecordedList, ServerSample};

with_reasons! {
    /// One measured request, as in `run.json`, in `samples.jsonl` and, with one column per field, in `results.csv`.
    ///
    /// Times are in seconds, sizes in bytes. The phases that are not `null` and `other_s` add up to `latency_s`. A phase that the engine
    /// cannot separate is `null` and part of the next one.
    pub struct Sample {
        /// The case that it belongs to ([`super::Case::id`]).
        pub case: String,
        /// The pass that made it.
        pub pass: Pass,
        /// Its round, from 0; warm-up requests have their own count.
        pub round: usize,
        /// It warmed up the session and is not part of summaries.
        pub warmup: bool,
        /// The disturbance, with its figures, where one of the indicators exceeded its running median. Clean requests only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub disturbed: Option<String>,
        /// Measured again because its block was disturbed: kept in the file, and left out of every figure.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub repeated: bool,
        /// Its set of counters (stepped pass): counters that do not fit the processor's registers together take requests of their own.
        #[serde(default, skip_serializing_if = "is_first")]
        pub counter_set: usize,
        /// The first request of a fresh session: its memory figures are the headline.
        pub fresh: bool,
        /// When it began, RFC 3339 with milliseconds.
        pub started: String,
        /// When its first phase began on the axis of the run's trace, in microseconds; `null` without a trace.
        pub trace_us: Recorded<f64>,
        /// Start of encoding the prompt to end of decoding the response; of a server, to the event that ends the answer.
        pub latency_s: Recorded<f64>,
        /// Start of encoding to the first output token known.
        pub ttft_s: Recorded<f64>,
        /// Text to token ids.
        pub tokenize_s: Recorded<f64>,
        /// Prompt tokens through the model.
        pub prefill_s: Recorded<f64>,
        /// Output tokens through the model, summed.
        pub decode_s: Recorded<f64>,
        /// Logits to tokens, summed.
        pub sample_s: Recorded<f64>,
        /// Tokens to text, summed.
        pub detokenize_s: Recorded<f64>,
        /// Between the phases: measured from each phase's end to the next one's beginning.
        pub other_s: Recorded<f64>,
        /// Tokens of the prompt.
        pub prompt_tokens: Recorded<usize>,
        /// Output tokens.
        pub output_tokens: Recorded<usize>,
        /// Output tokens / latency.
        pub tps: Recorded<f64>,
        /// Prompt tokens that were computed / prefill time: those of a prefix cache do not count.
        pub prefill_tps: Recorded<f64>,
        /// (n - 1) / (t_last - t_first); from a server, (n - tokens of the first arrival) / (t_last - t_first).
        pub decode_tps: Recorded<f64>,
        /// Resident memory after the request less before it.
        pub memory_delta_bytes: Recorded<i64>,
        /// Highest resident memory during the request less before it.
        pub memory_peak_delta_bytes: Recorded<i64>,
        /// Highest resident memory of the process during the request.
        pub memory_peak_bytes: Recorded<u64>,
        /// CPU time of the process during the request, user and system.
        pub cpu_s: Recorded<f64>,
        /// Share of the processor time that other processes took meanwhile, 0 to 1 of all cores.
        pub load_others: Recorded<f64>,
        /// Share of time that the hypervisor took away meanwhile, 0 to 1 of all cores.
        pub steal: Recorded<f64>,
        /// For how long the control groups around the engine were stopped meanwhile because their processor time was used up.
        pub throttled_s: Recorded<f64>,
        /// For how long some task of this machine waited for memory meanwhile (pressure stall information).
        pub memory_stall_s: Recorded<f64>,
        /// For how long some task waited for storage.
        pub io_stall_s: Recorded<f64>,
        /// Frequency of the fastest processor when the request ended, in Hz.
        pub frequency_hz: Recorded<u64>,
        /// When each output token was known, from the start of encoding; absent where a server's pieces are not its tokens.
        pub token_times_s: RecordedList<f64>,
        /// The report of the server on this request, where one computed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub server: Option<ServerSample>,
        /// SHA-256 of the output token ids (or of the text where ids are unknown): a wrong output voids a timing.
        pub output_sha256: Recorded<String>,
        /// Why a field is an estimate or a bound: field name to reason. Other fields are measured.
        #[serde(default, skip_serializing_if = "Reasons::is_empty")]
        pub estimated: Reasons,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

impl Sample {
    /// Whether it is part of figures: neither warm-up nor measured again.
    pub const fn counts(&self) -> bool {
        !self.warmup && !self.repeated
    }

    /// Prompt tokens that the model computed: those that a server reports as cached do not count.
    pub fn computed_prompt_tokens(&self) -> Option<usize> {
        let cached = self.server.as_ref().and_then(|server| server.cached_tokens.value()).unwrap_or(0);
        self.prompt_tokens.value()?.checked_sub(cached).filter(|&tokens| tokens > 0)
    }

    /// Seconds of latency per output token.
    pub fn pace(&self) -> Option<f64> {
        Some(self.latency_s.value()? / self.output_tokens.value().filter(|&tokens| tokens > 0)? as f64)
    }
}

/// Of the clean requests of a case, in the order in which they ran: the last one of a round counts, those before it were repeated.
/// `samples.jsonl` is only ever appended to, so its lines do not say so.
pub fn mark_repeated(samples: &mut [Sample]) {
    let mut seen = std::collections::BTreeSet::new();
    for sample in samples.iter_mut().rev().filter(|sample| sample.counts()) {
        sample.repeated = !seen.insert((sample.round, sample.counter_set));
    }
}

/// Most runs have one set.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_first(set: &usize) -> bool {
    *set == 0
}

/// The unit of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// A rate per second.
    PerSecond,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// The symbol in files and reports.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::PerSecond => "1/s",
            Self::Bytes => "B",
        }
    }
}

/// A figure of a sample that is summarised.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Field name in files.
    pub name: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// Whether a higher value is the better one.
    pub higher_is_better: bool,
    /// What it means, in one sentence.
    pub meaning: &'static str,
    /// Reads it.
    pub value: fn(&Sample) -> Option<f64>,
    /// Of a rate of tokens: how many tokens of the sample it counts. `None` for other metrics.
    pub tokens: Option<TokenCount>,
}

/// A number of tokens of a sample.
pub type TokenCount = fn(&Sample) -> Option<usize>;

/// Every metric, in the order of reports.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "latency_s",
        unit: Unit::Seconds,
        higher_is_better: false,
        meaning: "start of encoding the prompt to end of decoding the response",
        value: |s| s.latency_s.value(),
        tokens: None,
    },
    Metric {
        name: "ttft_s",
        unit: Unit::Seconds,
        higher_is_better: false,
        meaning: "start of encoding to the first output token known",
        value: |s| s.ttft_s.value(),
        tokens: None,
    },
    Metric {
        name: "tps",
        unit: Unit::PerSecond,
        higher_is_better: true,
        meaning: "output tokens / latency",
        value: |s| s.tps.value(),
        tokens: Some(|s| s.output_tokens.value()),
    },
    Metric {
        name: "prefill_tps",
        unit: Unit::PerSecond,
        higher_is_better: true,
        meaning: "prompt tokens that were computed / prefill time",
        value: |s| s.prefill_tps.value(),
        tokens: Some(Sample::computed_prompt_tokens),
    },
    Metric {
        name: "decode_tps",
        unit: Unit::PerSecond,
        higher_is_better: true,
        meaning: "(n - 1) / (t_last - t_first)",
        value: |s| s.decode_tps.value(),
        tokens: Some(|s| s.output_tokens.value()?.checked_sub(1)),
    },
    Metric {
        name: "tokenize_s",
        unit: Unit::Seconds,
        higher_is_better: false,
        meaning: "text to token ids",
        value: |s| s.tokenize_s.value(),
        tokens: None,
    },
    Metric {
        name: "prefill_s",
        unit: Unit::Seconds,
        higher_is_better: false,
        meaning: "prompt tokens through the model",
        value: |s| s.prefill_s.value(),
        tokens: None,
    },
    Metric {
        name: "decode_s",
        unit: Unit::Seconds,
        higher_is_better: false,
        meaning: "output tokens through the model, summed",
        value: |s| s.decode_s.value(),
        tokens: None,
    },
    Metric {
        name: "sample_s",
        unit: Unit::Seconds,
        higher_is_better: false,
        meaning: "logits to tokens, summed",
        value: |s| s.sample_s.value(),
        tokens: None,
    },
    Metric {
        name: "detokenize_s",
        unit: Unit::Seconds,
        higher_is_better: false,
        meaning: "tokens to text, summed",
        value: |s| s.detokenize_s.value(),
        tokens: None,
    },
    Metric {
        name: "other_s",
        unit: Unit::Seconds,
        higher_is_better: false,
        meaning: "between the phases, measured by edges",
        value: |s| s.other_s.value(),
        tokens: None,
    },
    Metric {
        name: "memory_delta_bytes",
        unit: Unit::Bytes,
        higher_is_better: false,
        meaning: "resident memory after the request less before it",
        value: |s| s.memory_delta_bytes.value().map(|b| b as f64),
        tokens: None,
    },
    Metric {
        name: "memory_peak_delta_bytes",
        unit: Unit::Bytes,
        higher_is_better: false,
        meaning: "highest resident memory during the request less before it",
        value: |s| s.memory_peak_delta_bytes.value().map(|b| b as f64),
        tokens: None,
    },
    Metric {
        name: "memory_peak_bytes",
        unit: Unit::Bytes,
        higher_is_better: false,
        meaning: "highest resident memory of the process during the request",
        value: |s| s.memory_peak_bytes.value().map(|b| b as f64),
        tokens: None,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_of_a_round_counts() {
        let sample = |round, warmup| Sample { round, warmup, ..Sample::absent("not measured") };
        let mut samples = vec![sample(0, true), sample(0, false), sample(1, false), sample(0, false), sample(0, false)];
        for _ in 0..2 {
            mark_repeated(&mut samples);
            let counting: Vec<usize> =
                samples.iter().enumerate().filter(|(_, sample)| sample.counts()).map(|(place, _)| place).collect();
            assert_eq!(counting, [2, 4]);
        }
        assert!(!samples[0].repeated, "warm-up has its own count");
    }

    #[test]
    fn a_mark_that_is_not_set_is_not_written() {
        let value = serde_json::to_value(Sample::absent("not measured")).unwrap();
        assert!(value.get("disturbed").is_none() && value.get("repeated").is_none());
    }
}
