//! One round of a block: every case once, in the order of [`super::rounds`], and what lay in a spell once more.
//!
//! A clean request in a spell ([`super::watch`]) disturbs its whole block of the design, the same prompt on all workers: all of them
//! are measured again at the end of the round, side by side. What was measured before is kept and marked.

use engine_api::OpTimes;

use super::block::{Purpose, Run};
use super::crew::Crew;
use super::precision::{self, Ends};
use super::probes::Moment;
use super::state::CaseState;
use crate::plan::Block;
use record::Error;
use record::plan::TraceLevel;
use record::{Pass, PrecisionReached, StoppedBy};
use statistics::rounds::{self, Place};

const PASSES: [Pass; 4] = [Pass::Clean, Pass::Stepped, Pass::Traced, Pass::Counted];
/// So often a block is measured again at most.
const MOST_TRIES: usize = 3;

impl Run<'_> {
    /// Rounds until their number, the precision or the time that was asked for is there.
    pub(super) fn rounds(
        &mut self,
        crew: &mut Crew<'_>,
        block: &Block,
        states: &mut [CaseState<'_>],
        ends: Ends,
    ) -> Result<(), Error> {
        let mut told = ends.rounds;
        let mut stopped = StoppedBy::Interrupt;
        for round in 0.. {
            if self.means.context.interrupt.is_set() {
                break;
            }
            if states.iter().all(|state| state.over) {
                // Nothing is left of it: what an earlier run found holds.
                let earlier = self.earlier.iter().flat_map(|earlier| &earlier.precision);
                self.file.precision.extend(earlier.filter(|one| one.model == block.model.name).cloned());
                return Ok(());
            }
            let found = self.precision(states, ends, round);
            if let Some(by) = ends.after(round, self.elapsed(), &found) {
                self.goal = Some(round);
                self.end(&block.model.name, round, by);
                stopped = by;
                break;
            }
            if round >= told {
                self.tell_precision(&found, ends, states.len());
                // Seldom, where there are many rounds.
                told = round + round.div_ceil(2);
            }
            if states.iter().any(|state| !state.over && !state.has(Pass::Clean, round)) {
                self.probe(crew, block, Moment::Round(round));
            }
            self.round(crew, block, states, round)?;
            self.publish_when_due(states)?;
        }
        let found = self.precision(states, ends, 1);
        self.file.precision.retain(|one| one.model != block.model.name);
        self.file.precision.extend(found.into_iter().map(|one| PrecisionReached { stopped_by: stopped, ..one }));
        Ok(())
    }

    /// How well differences are known; nothing without a precision that was asked for.
    fn precision(&self, states: &[CaseState<'_>], ends: Ends, rounds: usize) -> Vec<PrecisionReached> {
        let plan = &self.means.plan.file;
        let Some(wanted) = ends.wanted.filter(|_| rounds > 0) else { return Vec::new() };
        precision::reached(states.iter().map(|state| &state.case), &plan.engines, wanted, plan.seed)
    }

    /// A budget that leaves fewer rounds than were asked for is told.
    fn end(&mut self, model: &str, rounds: usize, by: StoppedBy) {
        let asked = self.means.plan.file.runs;
        if by == StoppedBy::Budget && rounds < asked {
            let text = format!(
                "{model}: the budget was spent after {rounds} of {asked} rounds; give more time (--budget), or go on with --resume"
            );
            self.once(Some(text));
        }
    }

    /// What is known least, and how many requests are left if its estimate is right.
    fn tell_precision(&mut self, found: &[PrecisionReached], ends: Ends, cases: usize) {
        let detectable = |one: &PrecisionReached| one.detectable.unwrap_or(f64::INFINITY);
        let worst = found.iter().max_by(|a, b| detectable(a).total_cmp(&detectable(b)));
        if let (Some(worst), Some(wanted)) = (worst, ends.wanted) {
            self.means.context.progress.note(&format!("after {} rounds: {}", worst.rounds, worst.text(wanted)));
            self.total = self.done + worst.more_rounds.unwrap_or(1).max(1) * cases;
        }
    }

    /// What a round lacks: all passes of all cases, block by block, then the blocks that were disturbed.
    pub(super) fn round(
        &mut self,
        crew: &mut Crew<'_>,
        block: &Block,
        states: &mut [CaseState<'_>],
        round: usize,
    ) -> Result<(), Error> {
        let places: Vec<Place> = states.iter().map(CaseState::place).collect();
        let order = rounds::order(&places, block.together, self.means.plan.file.seed, round);
        for (turn, cases) in order.iter().enumerate() {
            let mut wanted: Vec<(Pass, usize)> = Vec::new();
            for &index in cases {
                let Some(state) = states.get_mut(index) else { continue };
                wanted.extend(self.passes(block, state, round).into_iter().map(|pass| (pass, index)));
            }
            let kinds: Vec<Pass> =
                PASSES.iter().copied().filter(|kind| wanted.iter().any(|(pass, _)| pass == kind)).collect();
            for pass in rounds::passes(&kinds, round, turn) {
                for (_, index) in wanted.iter().filter(|(kind, _)| *kind == pass) {
                    let Some(state) = states.get_mut(*index).filter(|state| !state.over) else { continue };
                    if self.means.context.interrupt.is_set() {
                        return Ok(());
                    }
                    self.in_round(crew, block, state, (pass, round, false))?;
                }
            }
        }
        self.disturbed(crew, block, states, &places, round)
    }

    /// Measures the clean requests of disturbed blocks again, until none is left or their allowance is spent.
    fn disturbed(
        &mut self,
        crew: &mut Crew<'_>,
        block: &Block,
        states: &mut [CaseState<'_>],
        places: &[Place],
        round: usize,
    ) -> Result<(), Error> {
        let (seed, blocks) = (self.means.plan.file.seed, rounds::blocks(places));
        let allowance = self.means.plan.file.runs.max(round + 1) * blocks.len();
        loop {
            let spent: usize =
                (0..=round).map(|round| blocks.iter().map(|cases| tries(states, cases, round)).sum::<usize>()).sum();
            let is_due = |cases: &&Vec<usize>| {
                let mut of_block = cases.iter().filter_map(|&index| states.get(index));
                of_block.any(|state| state.is_disturbed(round)) && tries(states, cases, round) < MOST_TRIES
            };
            let due: Vec<Vec<usize>> =
                blocks.iter().filter(is_due).take(allowance.saturating_sub(spent)).cloned().collect();
            for (index, state) in states.iter_mut().enumerate() {
                state.due = !state.over && due.iter().any(|cases| cases.contains(&index));
            }
            if due.is_empty() || self.means.context.interrupt.is_set() {
                return Ok(());
            }
            let count = states.iter().filter(|state| state.due).count();
            self.total += count;
            let words = if due.len() == 1 { "one block is" } else { "some blocks are" };
            self.means
                .context
                .progress
                .note(&format!("round {}: {words} measured again ({count} requests)", round + 1));
            for index in rounds::again(places, due, block.together, seed, round, spent).into_iter().flatten() {
                let Some(state) = states.get_mut(index).filter(|state| !state.over) else { continue };
                if self.means.context.interrupt.is_set() {
                    return Ok(());
                }
                self.in_round(crew, block, state, (Pass::Clean, round, true))?;
            }
        }
    }

    /// One request of a round, after a new session where the old one is gone. `again`: though it is there already.
    fn in_round(
        &mut self,
        crew: &mut Crew<'_>,
        block: &Block,
        state: &mut CaseState<'_>,
        (pass, round, again): (Pass, usize, bool),
    ) -> Result<(), Error> {
        let seat = state.plan.seat;
        if !crew.is_loaded(seat) {
            self.tell(state);
            match crew.load(seat, self.trace.part())? {
                Ok(loaded) => state.sets = loaded.counter_sets.max(1),
                Err(trouble) => {
                    self.trouble(state, trouble);
                    return Ok(());
                }
            }
            self.trace.take()?;
            let number = state.case.samples.iter().filter(|sample| sample.warmup).count();
            let warm = Purpose { fresh: false, ..Purpose::warm_up(number) };
            if self.request(crew, block, state, warm)?.is_none() {
                return Ok(());
            }
        }
        for set in 0..state.sets_of(pass) {
            if state.over || self.means.context.interrupt.is_set() {
                break;
            }
            if again || !state.has_set(pass, round, set) {
                self.request(crew, block, state, Purpose { pass, round, warmup: false, fresh: false, set })?;
            }
        }
        Ok(())
    }

    /// The passes that a case lacks in a round.
    fn passes(&self, block: &Block, state: &mut CaseState<'_>, round: usize) -> Vec<Pass> {
        let plan = self.means.plan;
        let Some(engine) = block.seats.get(state.plan.seat).and_then(|seat| plan.engines.get(seat.engine)) else {
            return Vec::new();
        };
        let mut wanted = vec![Pass::Clean];
        if engine.caps.steps {
            wanted.push(Pass::Stepped);
        } else {
            state.case.reasons.insert(
                "phases".to_owned(),
                format!("engine {} lends no steps: it has no stepped pass, so no counters", engine.label),
            );
        }
        if plan.file.trace != TraceLevel::Ops {
            state.case.reasons.insert("ops".to_owned(), "--trace ops was not asked for".to_owned());
        } else if engine.caps.op_times == OpTimes::None {
            state.case.reasons.insert("ops".to_owned(), format!("engine {} marks no ops", engine.label));
        } else {
            wanted.push(Pass::Traced);
            // A reading at each edge of an op takes about as long as a small op: only for those who ask for events by name.
            if state.counts_events && !plan.options.counters.is_empty() && engine.caps.op_times == OpTimes::Host {
                wanted.push(Pass::Counted);
            }
        }
        let due =
            |pass: &Pass| (*pass == Pass::Clean || round < plan.file.instrumented_runs) && !state.has(*pass, round);
        wanted.into_iter().filter(due).collect()
    }
}

/// How often a block of a round was measured again.
fn tries(states: &[CaseState<'_>], cases: &[usize], round: usize) -> usize {
    let of_case = |index: &usize| states.get(*index).map(|state| state.repeats(round));
    cases.iter().filter_map(of_case).max().unwrap_or(0)
}
