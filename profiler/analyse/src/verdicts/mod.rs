//! Which limit binds each phase, and what would help.
//!
//! [`judge`] is a pure function of the run file: `gather` collects the [`Facts`] of each case and phase, every rule of
//! [`RULES`] says which share of the phase's time its limit explains, `weigh` picks one and says how sure that is.
//! Nothing here measures, and no figure comes from anywhere but the run file.

mod advice;
mod evidence;
mod facts;
mod gather;
mod judgement;
mod rules;
mod sentence;
mod weigh;

pub use facts::Facts;
pub use rules::{Kind, RULES, Rule};
pub use sentence::name;

use record::{RunFile, Verdict};

/// Fills in the verdicts of cases and of the run.
pub fn judge(file: &mut RunFile) {
    let verdicts: Vec<Vec<Verdict>> =
        file.cases.iter().map(|case| gather::facts(file, case).iter().filter_map(weigh::verdict).collect()).collect();
    for (case, verdicts) in file.cases.iter_mut().zip(verdicts) {
        case.verdicts = verdicts;
    }
    file.verdicts = judgement::of(&file.cases);
}

/// The verdict that follows from facts; `None` where they say nothing.
#[must_use]
pub fn verdict(facts: &Facts) -> Option<Verdict> {
    weigh::verdict(facts)
}

#[cfg(test)]
mod tests;
