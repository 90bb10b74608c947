//! A rule that applies to a phase, and how much of the phase remains unexplained.

use super::facts::Facts;
use super::rules::{CauseKind, Rule};

/// Below this share no limit explains the phase: the verdict names the nearest one.
const EXPLAINS: f64 = 0.25;
/// Below this share a limit explains less than half of the time.
const MOST: f64 = 0.5;

/// A rule that applies, with the share that it explains.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) rule: &'static Rule,
    pub(super) share: f64,
}

impl Candidate {
    /// A steady limit that leaves most of the phase unexplained.
    pub(super) fn explains_little(self) -> bool {
        self.rule.kind == CauseKind::Steady && self.share < EXPLAINS
    }
}

/// Whether a steady limit explains less than half of the time, and all ceilings together do not explain the rest.
pub(super) fn leaves_most(facts: &Facts, winner: Candidate) -> bool {
    winner.rule.kind == CauseKind::Steady
        && winner.share < MOST
        && headroom(facts).is_none_or(|headroom| headroom < MOST)
}

/// `attainable time / time`; above 1 where a cache serves what the model says comes from memory.
pub(super) fn headroom(facts: &Facts) -> Option<f64> {
    let share = facts.work.attainable_s? / facts.work.time_s.filter(|&time| time > 0.0)?;
    share.is_finite().then_some(share)
}
