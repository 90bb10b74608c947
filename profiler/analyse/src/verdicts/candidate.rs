//! A rule that applies to a phase, how much of the phase remains unexplained, and the headroom.

use record::{Limit, Reason};

use super::facts::{Fact, Facts};
use super::limit_name::name;
use super::rules::{CauseKind, Rule};

/// From this share on a limit, or the ceilings together, explain most of a phase.
const MOST: f64 = 0.5;

/// A rule that applies, with the share that it explains.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) rule: &'static Rule,
    pub(super) share: f64,
}

/// Whether neither the steady limit nor all ceilings together explain half of the time. Something else then binds the phase, and the
/// limit is only the nearest one.
pub(super) fn is_unexplained(facts: &Facts, winner: Candidate) -> bool {
    winner.rule.kind == CauseKind::Steady
        && winner.share < MOST
        && attainable_share(facts).is_none_or(|share| share < MOST)
}

/// `attainable time / time`; above 1 where a cache serves what the model says comes from memory.
fn attainable_share(facts: &Facts) -> Option<f64> {
    let share = facts.work.attainable_s? / facts.work.time_s.filter(|&time| time > 0.0)?;
    share.is_finite().then_some(share)
}

/// `attainable time / time`, where it can be believed as the share that would remain at the ceilings.
///
/// # Errors
/// Why it is withheld: the times are disturbed, the limit is not known, or the ceilings cover only a part of the work.
pub(super) fn headroom(facts: &Facts, winner: Candidate) -> Result<f64, Reason> {
    if winner.rule.kind == CauseKind::Disturbing {
        return Err(Reason::new(format!("the times are disturbed by {}", name(winner.rule.limit))));
    }
    if let Some((disturbed, all)) = facts.disturbed.filter(|(disturbed, all)| 2 * disturbed >= *all && *disturbed > 0) {
        return Err(Reason::new(format!("{disturbed} of {all} requests were disturbed")));
    }
    if is_unexplained(facts, winner) {
        return Err(Reason::new("the limit is not known: no measured limit explains half of the time"));
    }
    if facts.is_load() && winner.rule.limit != Limit::MemoryBandwidth {
        return Err(Reason::new("the ceilings of a load cover reading the file, not the processor's work"));
    }
    attainable_share(facts).ok_or_else(|| why_no_attainable_time(facts))
}

fn why_no_attainable_time(facts: &Facts) -> Reason {
    if !facts.is_forward() && !facts.is_load() {
        return Reason::new("the ceilings give an attainable time to the load and to forward passes only");
    }
    let absent = [Fact::MemoryTime, Fact::ComputeTime].iter().find_map(|fact| facts.absent.get(fact));
    absent.cloned().unwrap_or_else(|| Reason::new("the attainable time is unknown"))
}
