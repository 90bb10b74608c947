//! Averages over the prompts: one summary per engine, model, thread count and depth.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::recorded::{Field, with_reasons};
use super::{Reason, Reasons, Recorded};

with_reasons! {
    /// Averages of one engine, model, thread count and depth.
    pub struct Summary {
        /// Engine label.
        pub engine: String,
        /// Model name.
        pub model: String,
        /// Threads.
        pub threads: usize,
        /// Depth.
        pub depth: usize,
        /// The number of cases.
        pub cases: usize,
        /// The number of samples.
        pub samples: usize,
        /// Metric name to estimate.
        pub metrics: SummaryMetrics,
        /// Gaps between output tokens in seconds: p50, p90, p99, max.
        pub itl_s: TokenGaps,
        /// Why a metric is an estimate or a bound in one of its samples.
        #[serde(default, skip_serializing_if = "Reasons::is_empty")]
        pub estimated: Reasons,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

/// A mean with its interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Mean over the prompts of the means over their samples. Of a rate: mean tokens / mean time. Runs of older versions have the mean of the
    /// samples' rates.
    pub mean: f64,
    /// Lower end of the bootstrap 95 % interval.
    pub low: Recorded<f64>,
    /// Upper end.
    pub high: Recorded<f64>,
    /// Smallest sample.
    pub min: f64,
    /// Median sample.
    pub median: f64,
    /// Largest sample.
    pub max: f64,
    /// Samples.
    pub n: usize,
}

impl Estimate {
    /// The ends of the interval.
    pub fn interval(&self) -> Option<(f64, f64)> {
        self.low.value().zip(self.high.value())
    }
}

/// The metrics of a summary: name to estimate, or the reason why it is absent.
///
/// A file has the estimates that are present. The `reasons` of the summary have the other metrics under their names, and an absent end of
/// an interval under `NAME.low` or `NAME.high`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SummaryMetrics(BTreeMap<String, Recorded<Estimate>>);

impl SummaryMetrics {
    /// The estimate of a metric that is present.
    pub fn get(&self, name: &str) -> Option<&Estimate> {
        self.0.get(name)?.as_ref()
    }

    /// The reason why a metric is absent.
    pub fn reason(&self, name: &str) -> Option<&Reason> {
        self.0.get(name)?.reason()
    }
}

impl FromIterator<(String, Recorded<Estimate>)> for SummaryMetrics {
    fn from_iter<I: IntoIterator<Item = (String, Recorded<Estimate>)>>(metrics: I) -> Self {
        Self(metrics.into_iter().collect())
    }
}

impl Serialize for SummaryMetrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().filter_map(|(name, estimate)| Some((name, estimate.as_ref()?))))
    }
}

impl<'de> Deserialize<'de> for SummaryMetrics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let present = BTreeMap::<String, Estimate>::deserialize(deserializer)?;
        Ok(present.into_iter().map(|(name, estimate)| (name, Recorded::Present(estimate))).collect())
    }
}

impl Field for SummaryMetrics {
    fn absent(_reason: &Reason) -> Self {
        Self::default()
    }

    fn add_reasons(&self, _name: &str, reasons: &mut Reasons) {
        for (name, metric) in &self.0 {
            metric.add_reasons(name, reasons);
            if let Some(estimate) = metric.as_ref() {
                estimate.low.add_reasons(&format!("{name}.low"), reasons);
                estimate.high.add_reasons(&format!("{name}.high"), reasons);
            }
        }
    }

    fn take_reasons(&mut self, _name: &str, reasons: &mut Reasons) {
        for (name, metric) in &mut self.0 {
            if let Some(estimate) = metric.as_mut() {
                estimate.low.take_reasons(&format!("{name}.low"), reasons);
                estimate.high.take_reasons(&format!("{name}.high"), reasons);
            }
        }
        // What is left are metrics without an estimate, and the reason of the field with another name.
        let is_metric = |name: &str| name != GAPS && !name.contains('.') && !self.0.contains_key(name);
        let absent: Vec<String> = reasons.keys().filter(|name| is_metric(name)).cloned().collect();
        for name in absent {
            let Some(reason) = reasons.remove(&name) else { continue };
            self.0.insert(name, Recorded::absent(reason));
        }
    }
}

/// The name of [`Summary::itl_s`] in files.
const GAPS: &str = "itl_s";

/// Gaps between output tokens in seconds by name, or the reason why there are none. A file has an empty map then.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenGaps(Recorded<BTreeMap<String, f64>>);

impl TokenGaps {
    /// These gaps; `without` is the reason where there are none.
    pub fn new(gaps: BTreeMap<String, f64>, without: impl Into<Reason>) -> Self {
        Self(Recorded::of((!gaps.is_empty()).then_some(gaps), without))
    }

    /// The gap of this name, such as `p50`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.as_ref()?.get(name).copied()
    }

    /// Why there are none.
    pub fn reason(&self) -> Option<&Reason> {
        self.0.reason()
    }
}

impl Serialize for TokenGaps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.as_ref().into_iter().flatten())
    }
}

impl<'de> Deserialize<'de> for TokenGaps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(BTreeMap::deserialize(deserializer)?, Reason::unrecorded()))
    }
}

impl Field for TokenGaps {
    fn absent(reason: &Reason) -> Self {
        Self(Recorded::Absent(reason.clone()))
    }

    fn add_reasons(&self, name: &str, reasons: &mut Reasons) {
        self.0.add_reasons(name, reasons);
    }

    fn take_reasons(&mut self, name: &str, reasons: &mut Reasons) {
        self.0.take_reasons(name, reasons);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_written_as_it_was_read() {
        let text = r#"{"engine":"e","model":"m","threads":1,"depth":0,"cases":1,"samples":1,"metrics":{"tps":{"mean":2.0,"low":null,"high":null,"min":2.0,"median":2.0,"max":2.0,"n":1}},"itl_s":{},"estimated":{"tps":"pieces stand in"},"reasons":{"itl_s":"one token","tps.high":"one sample","tps.low":"one sample","ttft_s":"not measured"}}"#;
        let summary: Summary = serde_json::from_str(text).unwrap();
        assert_eq!(summary.metrics.get("tps").unwrap().low.reason().unwrap(), &"one sample");
        assert_eq!(summary.metrics.reason("ttft_s").unwrap(), &"not measured");
        assert_eq!(summary.itl_s.reason().unwrap(), &"one token");
        assert!(summary.notes.is_empty() && summary.metrics.get("ttft_s").is_none());
        assert_eq!(serde_json::to_string(&summary).unwrap(), text);
    }

    #[test]
    fn a_summary_of_an_earlier_version_lacks_reasons() {
        let text = r#"{"engine":"e","model":"m","threads":1,"depth":0,"cases":1,"samples":1,"metrics":{},"itl_s":{"p50":0.5}}"#;
        let summary: Summary = serde_json::from_str(text).unwrap();
        assert_eq!((summary.itl_s.get("p50"), summary.itl_s.get("p90")), (Some(0.5), None));
        assert_eq!(serde_json::to_string(&summary).unwrap(), text);
    }
}
