//! A comparison as data: what `inferometer compare --format json` writes, and what its other forms are made of.

use serde::{Deserialize, Serialize};

use record::recorded::{with_reasons, without_reason};
use record::{PhaseOrOther, Reasons, Recorded, Tool};

/// The version of this format.
pub const COMPARISON_VERSION: u32 = 1;

/// Sides compared with a baseline.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// [`COMPARISON_VERSION`].
    pub schema_version: u32,
    /// What compared.
    pub tool: Tool,
    /// The least difference that matters in practice, as a share.
    pub threshold: f64,
    /// The sides, the baseline first.
    pub sides: Vec<SideRow>,
    /// One for each group of cases that both sides have.
    pub contrasts: Vec<Contrast>,
    /// Groups without a counterpart, and why.
    #[serde(rename = "lonely")]
    pub unmatched: Vec<UnmatchedRow>,
    /// Differences between the machines and settings of two runs, the likeliest causes first.
    #[serde(rename = "surroundings")]
    pub run_differences: Vec<RunDifference>,
    /// The requested gates.
    pub gates: Vec<GateRow>,
}

/// A side.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SideRow {
    /// Its label.
    pub label: String,
    /// The run's name.
    pub run: String,
    /// Its path.
    pub path: String,
    /// When it began.
    pub started: String,
    /// What measured it: name, version and revision.
    pub tool: String,
    /// Measured by another program.
    pub foreign: bool,
    /// What was left out of the file of another program, and what it does not have: sentences without a full stop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Only cases of this engine.
    pub engine: Option<String>,
    /// Only cases of this model.
    pub model: Option<String>,
}

/// A group without a counterpart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UnmatchedRow {
    /// Which one.
    pub subject: String,
    /// Why.
    pub reason: String,
}

with_reasons! {
    /// One engine, model, thread count and depth against another.
    pub struct Contrast {
        /// The baseline.
        pub baseline: ContrastSide,
        /// The side that is compared with it.
        pub other: ContrastSide,
        /// Whether both were measured in the same rounds of one run.
        pub interleaved: bool,
        /// Whether it is the same work.
        pub work: Work,
        /// Every metric that either side has.
        pub figures: Vec<FigureRow>,
        /// Figures relative to the bytes per token.
        pub normalised: Vec<NormalisedRow>,
        /// How the machine itself differed between two runs; absent where the sides were interleaved.
        pub shift: Recorded<Shift>,
        /// The parts of the difference of each phase.
        pub splits: Vec<Split>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

without_reason!(Assessment, Comparability, ContrastSide, Outcome);

/// One side of a contrast.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContrastSide {
    /// The side's label.
    pub side: String,
    /// Engine label.
    pub engine: String,
    /// Model name.
    pub model: String,
    /// Threads.
    pub threads: usize,
    /// Tokens in the context before the prompt.
    pub depth: usize,
    /// The name in headings: the properties that differ.
    pub name: String,
    /// All properties in words.
    pub text: String,
}

/// Whether two sides did the same work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparability {
    /// The same prompts, weights and settings.
    Equal,
    /// The same as far as known: what a server computed and how is in part the user's word, because the server does not report it.
    EqualOnWord,
    /// The same weights in another quantisation of about as many bits.
    QuantEquivalent,
    /// Anything else.
    #[default]
    NotComparable,
}

impl Comparability {
    /// As reports say it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::EqualOnWord => "equal, as you state",
            Self::QuantEquivalent => "quant-equivalent",
            Self::NotComparable => "not comparable",
        }
    }
}

with_reasons! {
    /// The same-work label with what it rests on.
    pub struct Work {
        /// The label.
        pub label: Comparability,
        /// All checks.
        pub checks: Vec<Check>,
        /// How far the answers agree, one entry per prompt.
        pub answers: Vec<Agreement>,
        /// How far the probabilities differ on the same text; absent where a side has none.
        pub probabilities: Recorded<ProbabilityDistance>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

/// One thing that must be the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What.
    pub what: String,
    /// The best label that this check allows.
    pub allows: Comparability,
    /// On the baseline's side.
    pub baseline: String,
    /// On the other side.
    pub other: String,
    /// Why it does not allow more; empty where it is the same.
    pub because: String,
}

with_reasons! {
    /// Two answers to a prompt.
    pub struct Agreement {
        /// The prompt.
        pub prompt: String,
        /// Tokens that agree before the first one that differs.
        pub same: Recorded<usize>,
        /// Tokens of the shorter answer.
        pub of: usize,
        /// The gap where they diverge: the sum over both sides of the log-probability by which a side prefers its own token, in nats.
        pub gap: Recorded<f64>,
        /// Whether that is a near-tie.
        pub near_tie: Recorded<bool>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

/// Two distributions over the vocabulary at each position of one text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbabilityDistance {
    /// Positions.
    pub positions: usize,
    /// Positions where both have the same most likely token, as a share.
    pub same_top: f64,
    /// Mean Kullback-Leibler divergence of the other from the baseline in nats: a lower bound, because only the most likely tokens
    /// are listed and the rest counts as one.
    pub kl_mean: f64,
    /// The largest of them.
    pub kl_max: f64,
    /// Mean difference of the log-probabilities of tokens that both list, in nats.
    pub difference_mean: f64,
    /// The largest of them.
    pub difference_max: f64,
    /// Share of the baseline's probability that the tokens in common hold, mean.
    pub covered: f64,
}

/// The assessment of a difference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assessment {
    /// The interval is beyond the practical threshold, on the better side.
    Better,
    /// The same on the worse side.
    Worse,
    /// A difference that may be smaller than the threshold.
    Small,
    /// The interval is within the threshold: the same for practical purposes.
    Same,
    /// Neither a difference nor sameness is shown.
    #[default]
    Unknown,
}

with_reasons! {
    /// One metric on both sides.
    pub struct FigureRow {
        /// Field name of a sample, or of what a case has once.
        pub metric: String,
        /// Its unit.
        pub unit: String,
        /// Whether a higher value is the better one.
        pub higher_is_better: bool,
        /// Mean over the prompts of the means over their samples; of a rate mean tokens / mean time.
        pub baseline: Recorded<f64>,
        /// The same of the other side.
        pub other: Recorded<f64>,
        /// Other / baseline: the geometric mean over pairs.
        pub ratio: Recorded<f64>,
        /// Lower end of its 95 % interval.
        pub low: Recorded<f64>,
        /// Upper end.
        pub high: Recorded<f64>,
        /// The smallest difference that is detectable with 90 % power, as a share.
        pub detectable: Recorded<f64>,
        /// The number of pairs, or of rounds where they are not paired.
        pub pairs: usize,
        /// The assessment.
        pub finding: Assessment,
        /// How many more rounds would show a difference of the threshold; absent where the interval shows a finding.
        pub more_rounds: Recorded<usize>,
        /// The ratio of each prompt.
        pub prompts: Vec<PromptRatio>,
        /// Why the figure of a side is an estimate or a bound: `baseline` and `other` to the reason. The ratio is an estimate too then.
        #[serde(default, skip_serializing_if = "Reasons::is_empty")]
        pub estimated: Reasons,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

impl FigureRow {
    /// The rounds that the ratio is of: pairs of the prompt that has the most of them.
    #[must_use]
    pub fn rounds(&self) -> usize {
        let of_prompts = self.prompts.iter().map(|prompt| prompt.pairs.len()).max();
        of_prompts.filter(|rounds| *rounds > 0).unwrap_or(self.pairs)
    }
}

with_reasons! {
    /// The ratio in one prompt.
    pub struct PromptRatio {
        /// The prompt.
        pub prompt: String,
        /// Geometric mean of its pairs.
        pub ratio: f64,
        /// Lower end of its interval.
        pub low: Recorded<f64>,
        /// Upper end.
        pub high: Recorded<f64>,
        /// The ratio of each pair with its round; empty where they are not paired.
        pub pairs: Vec<PairRow>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

/// One pair.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PairRow {
    /// The round.
    pub round: usize,
    /// Other / baseline.
    pub ratio: f64,
    /// Far from the other pairs: marked, but not left out.
    pub outlier: bool,
}

with_reasons! {
    /// A phase per token and per byte.
    pub struct NormalisedRow {
        /// `prefill` or `decode`.
        pub phase: PhaseOrOther,
        /// What it shows: a field name.
        pub metric: String,
        /// Its unit.
        pub unit: String,
        /// The baseline.
        pub baseline: Recorded<f64>,
        /// The other side.
        pub other: Recorded<f64>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

with_reasons! {
    /// How the machine's own limits, probed between the rounds, differ between two runs.
    pub struct Shift {
        /// Memory bandwidth, other / baseline: mean of the probes.
        pub memory_read: Recorded<f64>,
        /// Arithmetic, other / baseline.
        pub compute: Recorded<f64>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

/// The difference of a whole split into parts that add up to it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// `latency`, `prefill` or `decode`.
    pub whole: String,
    /// What the times are of: a request, a prompt token, an output token.
    pub per: String,
    /// The baseline's time in seconds.
    pub baseline_s: f64,
    /// The other side's.
    pub other_s: f64,
    /// The parts.
    pub parts: Vec<SplitPart>,
}

with_reasons! {
    /// A part of a split.
    pub struct SplitPart {
        /// The phase, or a group of ops.
        pub name: String,
        /// Seconds on the baseline's side.
        pub baseline_s: f64,
        /// On the other.
        pub other_s: f64,
        /// `(other_s - baseline_s) / (whole other_s - whole baseline_s)`; absent where the whole does not differ, or where parts
        /// change in both directions.
        pub share: Recorded<f64>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

/// Something that differs between two runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunDifference {
    /// The other side's label.
    pub side: String,
    /// What, as a path in `run.json`.
    pub what: String,
    /// On the baseline's side.
    pub baseline: String,
    /// On the other.
    pub other: String,
    /// How likely it explains a difference in speed: 3 = it is known to, 2 = it may, 1 = it rarely does.
    pub weight: u8,
    /// Why.
    pub because: String,
}

/// The outcome of a gate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The interval is not entirely beyond the gate.
    Passed,
    /// The whole interval is beyond the gate.
    Failed,
    /// There is no interval, or the work is not the same.
    #[default]
    NotJudged,
}

with_reasons! {
    /// A gate on one contrast.
    pub struct GateRow {
        /// The metric.
        pub metric: String,
        /// How much worse it may be, as a share.
        pub allowed: f64,
        /// The contrast.
        pub subject: String,
        /// Its outcome.
        pub outcome: Outcome,
        /// Other / baseline.
        pub ratio: Recorded<f64>,
        /// Lower end of its interval.
        pub low: Recorded<f64>,
        /// Upper end.
        pub high: Recorded<f64>,
        /// In words.
        pub text: String,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}
