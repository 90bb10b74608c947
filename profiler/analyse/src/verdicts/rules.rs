//! The rules as data: a limit, the phases that it applies to, the share of the phase's time that it explains, and its threshold.
//!
//! The formula of each share is above its function in [`shares`].

use engine_api::Phase;

use super::facts::{Fact, Facts};
use super::shares::DISTURBS;
use super::{advice, evidence, shares};
use record::{Advice, Evidence, Limit};

/// Whether a cause disturbs the measurement or belongs to the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CauseKind {
    /// Independent of the engine and the model: other limits cannot be determined under it.
    Disturbing,
    /// A property of engine, model and machine.
    Steady,
}

/// One rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The limit that it finds.
    pub limit: Limit,
    /// Its kind.
    pub kind: CauseKind,
    /// The phases that it applies to.
    pub phases: &'static [Phase],
    /// It applies from this share on.
    pub threshold: f64,
    /// The facts that it needs: each absent one is a doubt.
    pub needs: &'static [Fact],
    /// Share of the phase's time that the limit explains; `None` where a fact is missing.
    pub share: fn(&Facts) -> Option<f64>,
    /// Its figures.
    pub evidence: fn(&Facts) -> Vec<Evidence>,
    /// What would help.
    pub advice: fn(&Facts) -> Vec<Advice>,
}

const FORWARD: &[Phase] = &[Phase::Prefill, Phase::Decode];
const WORK: &[Phase] = &[Phase::Load, Phase::Prefill, Phase::Decode];
const EVERY: &[Phase] = &Phase::ALL;
const REQUEST: &[Phase] = &[Phase::Tokenize, Phase::Prefill, Phase::Decode, Phase::Sample, Phase::Detokenize];

/// Every rule, in the order that breaks ties: disturbing causes first, of these the ones that the user can end at once.
#[rustfmt::skip]
pub const RULES: &[Rule] = &[
    Rule { limit: Limit::ColdFile, kind: CauseKind::Disturbing, phases: WORK, threshold: DISTURBS, needs: &[Fact::ReadBytes, Fact::ColdRate], share: shares::cold_file, evidence: evidence::cold_file, advice: advice::cold_file },
    Rule { limit: Limit::Oversubscription, kind: CauseKind::Disturbing, phases: FORWARD, threshold: DISTURBS, needs: &[Fact::CpuTime, Fact::Usable], share: shares::oversubscription, evidence: evidence::oversubscription, advice: advice::oversubscription },
    Rule { limit: Limit::NoisyNeighbour, kind: CauseKind::Disturbing, phases: REQUEST, threshold: DISTURBS, needs: &[Fact::Others, Fact::Steal], share: shares::noisy_neighbour, evidence: evidence::noisy_neighbour, advice: advice::noisy_neighbour },
    Rule { limit: Limit::PageFaults, kind: CauseKind::Disturbing, phases: REQUEST, threshold: DISTURBS, needs: &[Fact::MinorFaults, Fact::PageFaultTime], share: shares::page_faults, evidence: evidence::page_faults, advice: advice::page_faults },
    Rule { limit: Limit::MemoryBandwidth, kind: CauseKind::Steady, phases: WORK, threshold: 0.0, needs: &[Fact::MemoryTime], share: shares::memory_bandwidth, evidence: evidence::memory_bandwidth, advice: advice::memory_bandwidth },
    Rule { limit: Limit::Compute, kind: CauseKind::Steady, phases: WORK, threshold: 0.0, needs: &[Fact::ComputeTime], share: shares::compute, evidence: evidence::compute, advice: advice::compute },
    Rule { limit: Limit::PageFaults, kind: CauseKind::Steady, phases: &[Phase::Load], threshold: DISTURBS, needs: &[Fact::MinorFaults, Fact::PageFaultTime], share: shares::page_faults, evidence: evidence::page_faults, advice: advice::page_faults },
    Rule { limit: Limit::Dispatch, kind: CauseKind::Steady, phases: FORWARD, threshold: 0.05, needs: &[Fact::SmallOpsTime], share: shares::dispatch, evidence: evidence::dispatch, advice: advice::dispatch },
    Rule { limit: Limit::Imbalance, kind: CauseKind::Steady, phases: FORWARD, threshold: 0.05, needs: &[Fact::IdleTime], share: shares::imbalance, evidence: evidence::imbalance, advice: advice::imbalance },
    Rule { limit: Limit::Allocation, kind: CauseKind::Steady, phases: EVERY, threshold: 0.05, needs: &[Fact::Allocations], share: shares::allocation, evidence: evidence::allocation, advice: advice::allocation },
    Rule { limit: Limit::Tokenizer, kind: CauseKind::Steady, phases: &[Phase::Tokenize, Phase::Detokenize], threshold: 0.0, needs: &[], share: shares::own_work, evidence: evidence::own_work, advice: advice::tokenizer },
    Rule { limit: Limit::Sampler, kind: CauseKind::Steady, phases: &[Phase::Sample], threshold: 0.0, needs: &[], share: shares::own_work, evidence: evidence::own_work, advice: advice::sampler },
    Rule { limit: Limit::QueueOrNetwork, kind: CauseKind::Steady, phases: REQUEST, threshold: 0.5, needs: &[], share: shares::queue_or_network, evidence: evidence::queue_or_network, advice: advice::queue_or_network },
];
