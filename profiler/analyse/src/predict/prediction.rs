//! An estimate as it is written to a file.

use engine_api::RecordedKvTypes;
use serde::{Deserialize, Serialize};

use super::CeilingBasis;
use record::recorded::{with_reasons, without_reason};
use record::{Limit, Reasons, Recorded, Tool};

/// The version of the file; a reader refuses a newer one.
pub const PREDICTION_VERSION: u32 = 1;

with_reasons! {
    /// The estimate of a model under given settings.
    pub struct Prediction {
        /// [`PREDICTION_VERSION`].
        pub prediction_version: u32,
        /// When it was written: RFC 3339.
        pub made: Recorded<String>,
        /// The program.
        pub tool: Tool,
        /// Model name, as a run would call it.
        pub model: String,
        /// The reference that the user gave.
        pub reference: String,
        /// Quantisation.
        pub quant: String,
        /// Engine label.
        pub engine: String,
        /// Threads.
        pub threads: usize,
        /// Tokens in the context before the prompt.
        pub depth: usize,
        /// Tokens of the prompt.
        pub prompt_tokens: usize,
        /// New tokens.
        pub new_tokens: usize,
        /// Element types of the KV cache. Files of earlier versions do not have them: they are of the default.
        #[serde(default)]
        pub kv_type: RecordedKvTypes,
        /// Size of the model's file, in bytes.
        pub file_bytes: u64,
        /// The ceilings that it is computed with.
        #[serde(rename = "ground")]
        pub basis: CeilingBasis,
        /// How far the model's size is from those that were measured.
        pub extrapolation: Recorded<Extrapolation>,
        /// Seconds to load with a warm page cache.
        pub load_warm_s: Recorded<Figure>,
        /// Seconds to load from storage.
        pub load_cold_s: Recorded<Figure>,
        /// Peak resident memory of the process during the first request, in bytes.
        pub memory_bytes: Recorded<Figure>,
        /// The parts that it is a sum of.
        pub memory_parts: Recorded<MemoryParts>,
        /// Memory of the machine, or the limit of the processes in it, in bytes.
        pub machine_memory_bytes: Recorded<u64>,
        /// Prompt tokens per second.
        pub prefill_tps: Recorded<Figure>,
        /// Output tokens per second after the first.
        pub decode_tps: Recorded<Figure>,
        /// Seconds of the prefill, by limit.
        pub prefill: Recorded<TimeParts>,
        /// Seconds per output token, by limit.
        pub decode: Recorded<TimeParts>,
        /// The runs that it is fitted to, each with its models.
        pub rests_on: Vec<String>,
        /// Runs and cases that were not used, with the reason.
        pub skipped: Vec<String>,
        /// Substitutes for figures that were never measured.
        #[serde(rename = "notes")]
        pub remarks: Vec<String>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons")]
        pub notes: Reasons,
    }
}

without_reason!(CeilingBasis);

/// How far a model's size is from those that were measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Extrapolation {
    /// Bytes per output token / those of the nearest measured model.
    pub ratio: f64,
    /// Whether only one model was measured.
    pub one_model: bool,
    /// What it adds to the relative standard error of speeds and loads.
    pub error: f64,
}

/// The parts of an engine's memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryParts {
    /// The file of the model.
    pub file: f64,
    /// Copies that the engine makes of weights, in a layout of its own.
    pub copies: f64,
    /// KV cache in use, and recurrent states.
    pub cache: f64,
    /// Activations and logits.
    pub activations: f64,
    /// The program, the tokenizer, and whatever else earlier runs had; 0 where no run shows it.
    pub other: f64,
}

impl MemoryParts {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.file + self.copies + self.cache + self.activations + self.other
    }
}

/// More memory than a machine has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shortage {
    /// What is needed, in bytes.
    pub needed: f64,
    /// What the machine has.
    pub machine: u64,
    /// Of what is needed, the copies that the engine makes of weights.
    pub copies: f64,
    /// Whether it is certain: whether the lower end of the interval, or a lower bound, exceeds the machine.
    pub certain: bool,
}

impl Shortage {
    /// Whether the model would fit without the copies.
    #[must_use]
    pub fn fits_without_copies(&self) -> bool {
        self.copies > 0.0 && self.needed - self.copies <= self.machine as f64
    }
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { needed, machine, copies, certain } = *self;
        let gigabytes = |bytes: f64| record::figures::significant(bytes / 1e9);
        let verb = if certain { "exceeds" } else { "may exceed" };
        write!(f, "{} GB {verb} the {} GB of this machine", gigabytes(needed), gigabytes(machine as f64))?;
        if copies > 0.0 {
            write!(f, " ({} GB are copies that the engine makes of weights)", gigabytes(copies))?;
        }
        f.write_str(
            ": the system then drops pages of the file and reads them again from storage, so the rates do not hold",
        )
    }
}

impl Prediction {
    /// What is missing, where the memory exceeds or may exceed that of the machine.
    #[must_use]
    pub fn shortage(&self) -> Option<Shortage> {
        let (memory, parts) = (self.memory_bytes.value()?, self.memory_parts.value()?);
        let machine = self.machine_memory_bytes.value()?;
        let (low, high) = memory.interval().unwrap_or((memory.value(), memory.value()));
        (high > machine as f64).then(|| Shortage {
            needed: memory.value(),
            machine,
            copies: parts.copies,
            certain: low > machine as f64,
        })
    }
}

/// An estimated figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "FigureRow", try_from = "FigureRow")]
pub enum Figure {
    /// From ceilings and efficiencies that were measured.
    Estimate {
        /// The figure.
        value: f64,
        /// Lower end of the interval, nominally 95 %.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// From ceilings alone: no engine can do better.
    Bound(f64),
}

with_reasons! {
    /// A figure as it is written.
    struct FigureRow {
        value: f64,
        low: Recorded<f64>,
        high: Recorded<f64>,
        basis: Basis,
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        notes: Reasons,
    }
}

/// The basis of an estimated figure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Basis {
    Estimate,
    #[default]
    Bound,
}

without_reason!(Basis);

impl From<Figure> for FigureRow {
    fn from(figure: Figure) -> Self {
        let bound = Self { value: figure.value(), ..Self::absent("a bound has no interval") };
        match figure.interval() {
            Some((low, high)) => Self { low: low.into(), high: high.into(), basis: Basis::Estimate, ..bound },
            None => bound,
        }
    }
}

/// An estimate of a file has no interval.
#[derive(Debug, thiserror::Error)]
#[error("an estimate of {0} has no interval")]
struct WithoutInterval(f64);

impl TryFrom<FigureRow> for Figure {
    type Error = WithoutInterval;

    fn try_from(row: FigureRow) -> Result<Self, WithoutInterval> {
        let FigureRow { value, low, high, basis, .. } = row;
        match (basis, low.value().zip(high.value())) {
            (Basis::Bound, _) => Ok(Self::Bound(value)),
            (Basis::Estimate, Some((low, high))) => Ok(Self::Estimate { value, low, high }),
            (Basis::Estimate, None) => Err(WithoutInterval(value)),
        }
    }
}

/// Seconds by limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TimeParts {
    /// Time that is limited by the memory bandwidth.
    pub memory_s: f64,
    /// Time that is limited by the processor: arithmetic, overheads of calls.
    pub compute_s: f64,
    /// Of that, time between ops.
    pub between_s: f64,
    /// Least time by the ceilings of the ops that memory limits.
    #[serde(default)]
    pub least_memory_s: f64,
    /// The same of the ops that arithmetic limits.
    #[serde(default)]
    pub least_compute_s: f64,
}

impl TimeParts {
    /// All of it.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.memory_s + self.compute_s
    }

    /// Which limit binds, of memory and compute, by the rule of the verdicts: the one whose ops have the larger least time by the
    /// ceilings. `None` in a file without those times.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        let (memory, compute) = (self.least_memory_s, self.least_compute_s);
        let limit = if memory >= compute { Limit::MemoryBandwidth } else { Limit::Compute };
        (memory > 0.0 || compute > 0.0).then_some(limit)
    }

    /// The name of the limit; empty where none is known.
    #[must_use]
    pub fn limit_name(&self) -> &'static str {
        self.limit().map_or("", crate::verdicts::name)
    }

    /// Adds the least time of a call by the ceilings, in seconds:
    ///
    /// ```text
    /// max(streamed bytes / bandwidth, FLOP / operations per second), added to the limit that sets it
    /// ```
    ///
    /// Source: the roofline model, Williams et al., CACM 52(4), 2009.
    pub(super) fn add_least(&mut self, basis: &CeilingBasis, (streamed, flops): (f64, f64), repeats: f64) {
        let memory = streamed / basis.memory;
        let compute = basis.compute.map_or(0.0, |peak| flops / peak);
        let (sum, least) = match memory >= compute {
            true => (&mut self.least_memory_s, memory),
            false => (&mut self.least_compute_s, compute),
        };
        *sum += least / repeats;
    }

    /// The seconds on other ceilings: `memory_s B / B' + compute_s C / C'` (1 where a rate of operations is absent).
    #[must_use]
    pub fn on(&self, own: &CeilingBasis, other: &CeilingBasis) -> f64 {
        self.memory_s * other.factor_from(own, 1.0) + self.compute_s * other.factor_from(own, 0.0)
    }
}

impl Figure {
    /// An estimate with a relative half-width: from `value / (1 + h)` to `value (1 + h)`, which never falls below 0.
    pub(super) fn within(value: f64, half: f64) -> Self {
        Self::Estimate { value, low: value / (1.0 + half), high: value * (1.0 + half) }
    }

    /// The figure.
    #[must_use]
    pub const fn value(self) -> f64 {
        match self {
            Self::Estimate { value, .. } | Self::Bound(value) => value,
        }
    }

    /// The ends of the interval; `None` for a bound.
    #[must_use]
    pub const fn interval(self) -> Option<(f64, f64)> {
        match self {
            Self::Estimate { low, high, .. } => Some((low, high)),
            Self::Bound(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_has_a_reason_in_place_of_its_interval() {
        let text = serde_json::to_string(&Figure::Bound(2.0)).unwrap();
        insta::assert_snapshot!(text, @r#"{"value":2.0,"low":null,"high":null,"basis":"bound","reasons":{"high":"a bound has no interval","low":"a bound has no interval"}}"#);
        assert_eq!(serde_json::from_str::<Figure>(&text).unwrap(), Figure::Bound(2.0));
        let older: Figure = serde_json::from_str(r#"{"value":2.0,"low":null,"high":null,"basis":"bound"}"#).unwrap();
        assert_eq!(older, Figure::Bound(2.0));
    }

    #[test]
    fn an_estimate_has_an_interval() {
        let text = r#"{"value":2.0,"low":1.0,"high":4.0,"basis":"estimate"}"#;
        let figure: Figure = serde_json::from_str(text).unwrap();
        assert_eq!((figure.interval(), serde_json::to_string(&figure).unwrap().as_str()), (Some((1.0, 4.0)), text));
        let error =
            serde_json::from_str::<Figure>(r#"{"value":2.0,"low":null,"high":4.0,"basis":"estimate"}"#).unwrap_err();
        insta::assert_snapshot!(error, @"an estimate of 2 has no interval");
    }
}
