//! An estimate as it is written to a file.

use serde::{Deserialize, Serialize};

use super::CeilingBasis;
use record::{Limit, Reasons, Tool};

/// The version of the file; a reader refuses a newer one.
pub const PREDICTION_VERSION: u32 = 1;

/// The estimate of a model under given settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// [`PREDICTION_VERSION`].
    pub prediction_version: u32,
    /// RFC 3339; `null` in virtual time.
    pub made: Option<String>,
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
    /// Size of the model's file, in bytes.
    pub file_bytes: u64,
    /// The ceilings that it is computed with.
    #[serde(rename = "ground")]
    pub basis: CeilingBasis,
    /// How far the model's size is from those that were measured.
    #[serde(default)]
    pub extrapolation: Option<Extrapolation>,
    /// Seconds to load with a warm page cache.
    pub load_warm_s: Option<Figure>,
    /// Seconds to load from storage.
    pub load_cold_s: Option<Figure>,
    /// Peak resident memory of the process during the first request, in bytes.
    pub memory_bytes: Option<Figure>,
    /// Prompt tokens per second.
    pub prefill_tps: Option<Figure>,
    /// Output tokens per second after the first.
    pub decode_tps: Option<Figure>,
    /// Seconds of the prefill, by limit.
    pub prefill: Option<TimeParts>,
    /// Seconds per output token, by limit.
    pub decode: Option<TimeParts>,
    /// The runs that it is fitted to, each with its models.
    pub rests_on: Vec<String>,
    /// Runs and cases that were not used, with the reason.
    pub skipped: Vec<String>,
    /// Substitutes for figures that were never measured.
    pub notes: Vec<String>,
    /// Why a field is `null`.
    #[serde(default)]
    pub reasons: Reasons,
}

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

/// An estimated figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The figure.
    pub value: f64,
    /// Lower end of the interval, nominally 95 %; `null` for a bound.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Its basis.
    pub basis: Basis,
}

/// The basis of an estimated figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Ceilings and efficiencies that were measured.
    Estimate,
    /// Ceilings alone: no engine can do better.
    Bound,
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
    /// With a relative half-width: from `value / (1 + h)` to `value (1 + h)`, which never falls below 0.
    pub(super) fn within(value: f64, half: f64) -> Self {
        Self { value, low: Some(value / (1.0 + half)), high: Some(value * (1.0 + half)), basis: Basis::Estimate }
    }

    /// A bound, without an interval.
    pub(super) const fn bound(value: f64) -> Self {
        Self { value, low: None, high: None, basis: Basis::Bound }
    }
}
