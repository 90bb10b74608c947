//! The whole run: `run.json`.

use serde::{Deserialize, Serialize};

use super::recorded::{with_reasons, without_reason};
use super::{Case, Environment, PlanFile, Reason, Reasons, Recorded, RecordedList, Summary};

/// The version of `run.json`; a reader refuses a newer one.
pub const SCHEMA_VERSION: u32 = 1;

/// The key in the reasons of a [`WhatIf`] under which its basis is.
pub const RESTS_ON: &str = "rests on";

with_reasons! {
    /// `run.json`.
    pub struct RunFile {
        /// [`SCHEMA_VERSION`].
        pub schema_version: u32,
        /// Name of the run folder.
        pub name: String,
        /// The program that measured.
        pub tool: Tool,
        /// The whole command line.
        pub command_line: Vec<String>,
        /// RFC 3339.
        pub started: String,
        /// RFC 3339; absent while it runs or when it was killed.
        pub finished: Recorded<String>,
        /// Whether it was interrupted: the samples until then are kept.
        pub interrupted: bool,
        /// The machine and its state.
        pub environment: Environment,
        /// The requested run.
        pub plan: PlanFile,
        /// Measured limits of this machine.
        pub ceilings: Recorded<super::Ceilings>,
        /// Short measurements of the same limits before, during and after the run.
        #[serde(default)]
        pub ceiling_probes: RecordedList<super::CeilingProbe>,
        /// The machine between the rounds: frequencies, temperatures, use of control groups, pressure.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub conditions: Vec<crate::ConditionsAt>,
        /// The most likely tokens of each engine in one passage: per engine, model and thread count.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub examinations: Vec<super::Examination>,
        /// Every case.
        pub cases: Vec<Case>,
        /// Averages over the prompts, per engine, model, threads and depth.
        pub summaries: Vec<Summary>,
        /// The smallest detectable differences; only where a precision ends the rounds.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub precision: Vec<super::PrecisionReached>,
        /// The time of a token against the context, where a run has several depths.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub depth_laws: Vec<super::DepthLaw>,
        /// The cost of the instruments.
        pub probes: Vec<ProbeEffect>,
        /// Messages of the run itself, such as a failed probe.
        #[serde(default, rename = "notes", skip_serializing_if = "Vec::is_empty")]
        pub messages: Vec<String>,
        /// Thermal throttle events since boot when the run ended; compare with `environment.processor.throttle_events`.
        #[serde(skip_serializing_if = "Recorded::is_absent")]
        pub throttle_events_after: Recorded<u64>,
        /// What may have disturbed the numbers, with advice.
        pub warnings: Vec<String>,
        /// Which limit binds each phase, per engine, model, thread count and depth.
        pub verdicts: Vec<super::GroupVerdict>,
        /// Estimates for other settings and models, from this run.
        #[serde(default)]
        pub what_if: RecordedList<WhatIf>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons")]
        pub notes: Reasons,
    }
}

without_reason!(Environment, PlanFile, Tool);

/// A record without content, for those of other programs.
impl Default for RunFile {
    fn default() -> Self {
        Self::absent(Reason::unrecorded())
    }
}

impl RunFile {
    /// Whether some request was measured.
    pub fn has_samples(&self) -> bool {
        self.cases.iter().any(|case| case.clean_samples().next().is_some())
    }

    /// Whether every engine of the run uses a server: its code and its threads are not those of this program.
    pub fn uses_only_servers(&self) -> bool {
        let engines = &self.environment.engines;
        !engines.is_empty() && engines.iter().all(|engine| engine.device.is_remote())
    }

    /// Whether the thread counts of the plan are only names: every engine uses a server, and no command takes them.
    pub fn threads_are_names(&self) -> bool {
        self.uses_only_servers() && !self.command_line.iter().any(|word| word.contains("{threads}"))
    }

    /// The identity of an engine by the label of its cases. `environment.engines` has the order of `plan.engines`.
    pub fn identity(&self, label: &str) -> Option<&engine_api::Identity> {
        let index = self.plan.engines.iter().position(|engine| engine == label);
        let engines = &self.environment.engines;
        index.and_then(|index| engines.get(index)).or_else(|| engines.iter().find(|engine| engine.label() == label))
    }
}

with_reasons! {
    /// An estimate for settings or a model without a run.
    pub struct WhatIf {
        /// The change or the model, in words: `q8_0 instead of q4_0`, `llama-3.1-8b q4_0`.
        pub what: String,
        /// Model name.
        pub model: String,
        /// Quantisation.
        pub quant: String,
        /// Engine label.
        #[serde(default)]
        pub engine: String,
        /// Threads.
        pub threads: usize,
        /// Tokens in the context.
        pub depth: usize,
        /// Seconds to load with a warm page cache.
        pub load_s: Recorded<super::Spread>,
        /// Peak resident memory, in bytes.
        pub memory_bytes: Recorded<super::Spread>,
        /// Prompt tokens per second.
        pub prefill_tps: Recorded<super::Spread>,
        /// Output tokens per second.
        pub decode_tps: Recorded<super::Spread>,
        /// Its basis, under [`RESTS_ON`].
        #[serde(default, rename = "reasons", getter = "Self::reasons")]
        pub notes: Reasons,
    }
}

/// The program that measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// `inferometer`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The git revision that it was built from.
    pub revision: Option<String>,
    /// `release` or `debug`.
    pub profile: String,
    /// Target triple.
    pub target: String,
    /// Target features that the compiler could use.
    pub target_features: Vec<String>,
    /// The compiler.
    pub compiler: String,
}

with_reasons! {
    /// What the instruments cost: a pass's latency per output token against the clean pass's, same case.
    pub struct ProbeEffect {
        /// The case.
        pub case: String,
        /// Stepped / clean; 1 = no effect.
        pub stepped: Recorded<f64>,
        /// Traced / clean.
        pub traced: Recorded<f64>,
        /// Counted / clean; `None` without a counted pass.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub counted: Option<Recorded<f64>>,
        /// Clean latency of the last half of the rounds / the first half: the effect of drift alone.
        pub clean: Recorded<f64>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}
