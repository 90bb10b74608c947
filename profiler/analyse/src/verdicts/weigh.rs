//! From facts to one verdict: the rule that wins, and the confidence.
//!
//! ```text
//! 1. a disturbing cause above its threshold wins over every steady one
//! 2. of causes of one kind the one with the largest share wins
//! 3. of equal shares the first in RULES wins
//! ```

use super::candidate::{Candidate, headroom, is_unexplained};
use super::evidence;
use super::facts::Facts;
use super::limit_name::name;
use super::rules::{CauseKind, RULES};
use super::sentence;
use crate::drift::Drift;
use record::{Confidence, Limit, Reasons, Verdict};

/// Another limit is near if its share is at least this part of the winner's.
const NEAR: f64 = 0.7;
/// The ratio of the traced pass to the clean pass may differ from 1 by this much.
const PROBE: f64 = 0.1;

/// Every rule that applies, the winner first.
pub(super) fn ranked(facts: &Facts) -> Vec<Candidate> {
    let Some(phase) = facts.phase else { return Vec::new() };
    let found = RULES.iter().filter(|rule| rule.phases.contains(&phase)).filter_map(|rule| {
        let share = (rule.share)(facts).filter(|share| share.is_finite())?.clamp(0.0, 1.0);
        (share > 0.0 && share >= rule.threshold).then_some(Candidate { rule, share })
    });
    let mut found: Vec<Candidate> = found.collect();
    // Stable: equal ones keep the order of RULES.
    found.sort_by(|a, b| a.rule.kind.cmp(&b.rule.kind).then(b.share.total_cmp(&a.share)));
    found
}

/// The verdict; `None` where no rule applies.
pub(super) fn verdict(facts: &Facts) -> Option<Verdict> {
    let phase = facts.phase?;
    let ranked = ranked(facts);
    let winner = *ranked.first()?;
    let doubts = doubts(facts, winner, ranked.get(1));
    let unexplained = is_unexplained(facts, winner);
    let confidence = match doubts.len() {
        _ if unexplained => Confidence::Low,
        0 => Confidence::High,
        1 => Confidence::Medium,
        _ => Confidence::Low,
    };
    let mut figures = evidence::common(facts);
    figures.extend((winner.rule.evidence)(facts));
    Some(Verdict {
        phase,
        limit: winner.rule.limit,
        sentence: sentence::of(facts, winner),
        share: winner.share,
        unexplained,
        headroom: headroom(facts, winner).into(),
        confidence,
        doubts,
        evidence: figures,
        advice: (winner.rule.advice)(facts),
        notes: Reasons::new(),
    })
}

/// The doubts about the verdict; each lowers the confidence by one step.
fn doubts(facts: &Facts, winner: Candidate, second: Option<&Candidate>) -> Vec<String> {
    let mut doubts = Vec::new();
    if is_unexplained(facts, winner) {
        doubts.push(format!("the limit explains only {:.0} % of the time", winner.share * 100.0));
    }
    if let Some(second) =
        second.filter(|second| second.rule.kind == winner.rule.kind && second.share >= NEAR * winner.share)
    {
        doubts.push(format!(
            "another limit is near: {} explains {:.0} %",
            name(second.rule.limit),
            second.share * 100.0
        ));
    }
    for need in winner.rule.needs {
        if let Some(reason) = facts.absent.get(need) {
            doubts.push(format!("{} is unknown: {reason}", need.name()));
        }
    }
    let rests_on_ceilings = matches!(winner.rule.limit, Limit::MemoryBandwidth | Limit::Compute | Limit::Dispatch);
    if rests_on_ceilings && facts.is_forward() {
        if facts.work.whole_model {
            doubts.push("the model was treated as one operation, because its operations were not traced".to_owned());
        }
        if let Some(drift) = facts.machine.drift.filter(|&drift| drift > Drift::LIMIT) {
            doubts.push(format!("the memory bandwidth drifted by {:.0} % during the run", drift * 100.0));
        }
        if let Some(ratio) =
            facts.traced.probe_effect.filter(|ratio| !facts.work.whole_model && (ratio - 1.0).abs() > PROBE)
        {
            doubts.push(format!("the traced pass took {ratio:.2} times as long as the clean pass"));
        }
    }
    if winner.rule.limit == Limit::Allocation {
        doubts.push("the time of an allocation is assumed, not measured".to_owned());
    }
    if winner.rule.kind == CauseKind::Steady
        && winner.rule.limit != Limit::QueueOrNetwork
        && facts.others.is_none()
        && facts.is_forward()
    {
        doubts.push("the load of other programs is unknown".to_owned());
    }
    doubts
}
