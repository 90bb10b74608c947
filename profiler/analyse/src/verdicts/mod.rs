//! Which limit binds each phase, and what would help.
//!
//! `case_facts` collects the [`Facts`] of each phase of a case. Every rule of [`RULES`] computes the share of the phase's time that
//! its limit explains. `weigh` chooses one of them and its confidence. `groups` combines the cases of all prompts.

mod advice;
mod candidate;
mod case_facts;
mod evidence;
mod facts;
mod groups;
mod limit_name;
mod rules;
mod sentence;
mod shares;
mod weigh;

pub use facts::{AllocatedFacts, CountedFacts, Fact, Facts, LoadFacts, MachineFacts, TracedFacts, WorkFacts};
pub use limit_name::name;
pub use rules::{CauseKind, RULES, Rule};

use record::{Case, GroupVerdict, RunFile, Verdict};

use crate::attribution::Attribution;

/// The verdict on a phase of a case, with the time of the phase in seconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PhaseVerdict {
    pub(crate) time_s: f64,
    pub(crate) verdict: Verdict,
}

/// The verdicts on the phases of a case, in the order of a request.
pub(crate) fn of_case(file: &RunFile, case: &Case, attribution: &Attribution) -> Vec<PhaseVerdict> {
    let facts = case_facts::facts(file, case, attribution);
    let verdict = |facts: &Facts| Some(PhaseVerdict { time_s: facts.time_s, verdict: weigh::verdict(facts)? });
    facts.iter().filter_map(verdict).collect()
}

/// The verdicts over all prompts. `verdicts` has one entry for each case.
pub(crate) fn of_groups(cases: &[Case], verdicts: &[Vec<PhaseVerdict>]) -> Vec<GroupVerdict> {
    groups::of(cases, verdicts)
}

#[cfg(test)]
mod tests;
