//! The rounds of a block: in each round every case runs once, in the order of [`statistics::rounds`], and disturbed requests are repeated.
//!
//! A disturbed clean request ([`super::disturbance`]) makes its design block incomparable: the requests of the same prompt on all workers.
//! All of them are repeated at the end of the round, one right after the other. The disturbed samples are kept and marked.

use engine_api::OpTimes;
use record::plan::TraceLevel;
use record::{Entry, Error, Moment, Pass, PrecisionReached, Setting, StoppedBy};
use statistics::rounds::{self, DesignCell};

use super::active_run::{ActiveRun, RequestKind};
use super::precision::{self, StopRule};
use super::request::request;
use super::state::{CaseState, MOST_REPEATS};
use super::warm_up::{LoadErrors, warm_up_cases};
use crate::plan::{EngineChoice, ModelBlock, Plan};
use crate::pool::WorkerPool;

const PASSES: [Pass; 4] = [Pass::Clean, Pass::Stepped, Pass::Traced, Pass::Counted];

/// Runs rounds until their number, the precision or the time is reached.
pub(super) fn rounds(
    run: &mut ActiveRun<'_>,
    pool: &mut WorkerPool<'_>,
    block: &ModelBlock,
    states: &mut [CaseState<'_>],
    rule: StopRule,
) -> Result<(), Error> {
    let mut next_report = rule.rounds;
    let mut stopped = StoppedBy::Interrupt;
    let mut load_errors = LoadErrors::default();
    for round in 0.. {
        if run.is_interrupted() {
            break;
        }
        if states.iter().all(|state| state.over) {
            // Nothing is left to measure: the precision of the earlier run is still valid.
            return Ok(());
        }
        let found = precision_of(run, states, rule, round);
        if let Some(by) = rule.stops_after(round, run.elapsed(), &found) {
            run.rounds_needed = Some(round);
            note_spent_budget(run, &block.model.name, round, by);
            stopped = by;
            break;
        }
        if round >= next_report {
            report_precision(run, &found, rule, states.len());
            // The more rounds there are, the rarer the reports.
            next_report = round + round.div_ceil(2);
        }
        if states.iter().any(|state| !state.over && !state.has(Pass::Clean, round)) {
            run.probe(pool, block, Moment::Round(round));
        }
        run.open_round = Some(round);
        run_round(run, pool, block, states, round, &mut load_errors)?;
        if !run.is_interrupted() {
            run.open_round = None;
        }
        for state in states.iter_mut() {
            run.add_status(state)?;
        }
        run.publish_when_due(states)?;
    }
    let found = precision_of(run, states, rule, 1);
    let reached: Vec<_> = found.into_iter().map(|one| PrecisionReached { stopped_by: stopped, ..one }).collect();
    run.file.set_precision(&block.model.name, reached.clone());
    if reached.is_empty() {
        return Ok(());
    }
    run.add(Entry::Precision { model: block.model.name.clone(), reached })
}

/// The precision of the differences so far; empty if no precision was requested.
fn precision_of(run: &ActiveRun<'_>, states: &[CaseState<'_>], rule: StopRule, rounds: usize) -> Vec<PrecisionReached> {
    let plan = &run.plan().file;
    let Some(wanted) = rule.wanted.filter(|_| rounds > 0) else { return Vec::new() };
    precision::reached(states.iter().map(|state| &state.case), &plan.engines, wanted, plan.seed)
}

/// Notes a budget that ended the rounds before the requested number.
fn note_spent_budget(run: &mut ActiveRun<'_>, model: &str, rounds: usize, by: StoppedBy) {
    let requested = run.plan().file.runs;
    if by == StoppedBy::Budget && rounds < requested {
        run.note_once(format!(
            "{model}: the budget was spent after {rounds} of {requested} rounds; give more time ({}), or continue with {}",
            Setting::Budget,
            Setting::Resume
        ));
    }
}

/// Reports the difference with the lowest precision, and estimates the remaining requests from it.
fn report_precision(run: &mut ActiveRun<'_>, found: &[PrecisionReached], rule: StopRule, cases: usize) {
    let detectable = |one: &PrecisionReached| one.detectable.value().unwrap_or(f64::INFINITY);
    let worst = found.iter().max_by(|a, b| detectable(a).total_cmp(&detectable(b)));
    if let (Some(worst), Some(wanted)) = (worst, rule.wanted) {
        run.report(&format!("after {} rounds: {}", worst.rounds, worst.text(wanted)));
        run.total = run.done + worst.more_rounds.value().unwrap_or(1).max(1) * cases;
    }
}

/// Runs what is missing of a round: the warm-up of cases that had none in this run and miss something of the round, all passes of all cases,
/// one design block after the other, then the disturbed design blocks again.
fn run_round(
    run: &mut ActiveRun<'_>,
    pool: &mut WorkerPool<'_>,
    block: &ModelBlock,
    states: &mut [CaseState<'_>],
    round: usize,
    load_errors: &mut LoadErrors,
) -> Result<(), Error> {
    let cells: Vec<DesignCell> = states.iter().map(CaseState::cell).collect();
    let order = rounds::order(&cells, block.together, run.plan().file.seed, round);
    for (turn, cases) in order.iter().enumerate() {
        // A resumed run has complete rounds. A case is warmed up in the first round that it misses something of, directly before it.
        let cold: Vec<usize> = cases.iter().copied().filter(|&index| !states[index].warmed_up).collect();
        let unready =
            |run: &ActiveRun<'_>, state: &mut CaseState<'_>| !missing_passes(run, block, state, round).is_empty();
        let needed: Vec<usize> =
            cold.iter().copied().filter(|&index| !states[index].over && unready(run, &mut states[index])).collect();
        warm_up_cases(run, pool, block, states, &needed, load_errors)?;
        let mut missing: Vec<(Pass, usize, usize)> = Vec::new();
        for &index in cases {
            // The number of counter sets is known only now: an earlier round may lack some of them.
            let from = if needed.contains(&index) { 0 } else { round };
            for round in from..=round {
                let passes = missing_passes(run, block, &mut states[index], round);
                missing.extend(passes.into_iter().map(|pass| (pass, index, round)));
            }
        }
        let kinds: Vec<Pass> =
            PASSES.iter().copied().filter(|kind| missing.iter().any(|(pass, ..)| pass == kind)).collect();
        for pass in rounds::passes(&kinds, round, turn) {
            for &(_, index, round) in missing.iter().filter(|(kind, ..)| *kind == pass) {
                if run.is_interrupted() {
                    return Ok(());
                }
                if !states[index].over {
                    run_in_round(run, pool, block, &mut states[index], (pass, round, false))?;
                }
            }
        }
    }
    repeat_disturbed(run, pool, block, states, &cells, round)
}

/// Repeats the clean requests of disturbed design blocks, until none is left or the allowance is spent.
fn repeat_disturbed(
    run: &mut ActiveRun<'_>,
    pool: &mut WorkerPool<'_>,
    block: &ModelBlock,
    states: &mut [CaseState<'_>],
    cells: &[DesignCell],
    round: usize,
) -> Result<(), Error> {
    let (seed, design_blocks) = (run.plan().file.seed, rounds::blocks(cells));
    let allowance = run.plan().file.runs.max(round + 1) * design_blocks.len();
    loop {
        let spent: usize = (0..=round)
            .map(|round| design_blocks.iter().map(|cases| repeats(states, cases, round)).sum::<usize>())
            .sum();
        let is_due = |cases: &&Vec<usize>| {
            cases.iter().any(|&index| states[index].is_disturbed(round)) && repeats(states, cases, round) < MOST_REPEATS
        };
        let due: Vec<Vec<usize>> =
            design_blocks.iter().filter(is_due).take(allowance.saturating_sub(spent)).cloned().collect();
        for (index, state) in states.iter_mut().enumerate() {
            state.due = !state.over && due.iter().any(|cases| cases.contains(&index));
            run.add_status(state)?;
        }
        if due.is_empty() || run.is_interrupted() {
            return Ok(());
        }
        let count = states.iter().filter(|state| state.due).count();
        run.total += count;
        let prompts =
            if due.len() == 1 { "the requests of one prompt are" } else { "the requests of some prompts are" };
        run.report(&format!("round {}: {prompts} repeated ({count} requests)", round + 1));
        for index in rounds::again(cells, due, block.together, seed, round, spent).into_iter().flatten() {
            if run.is_interrupted() {
                return Ok(());
            }
            if !states[index].over {
                run_in_round(run, pool, block, &mut states[index], (Pass::Clean, round, true))?;
            }
        }
    }
}

/// One pass of a case in a round, after a new session if the old one is gone. `again`: also if the round has it already.
fn run_in_round(
    run: &mut ActiveRun<'_>,
    pool: &mut WorkerPool<'_>,
    block: &ModelBlock,
    state: &mut CaseState<'_>,
    (pass, round, again): (Pass, usize, bool),
) -> Result<(), Error> {
    let slot = state.plan.slot;
    if !pool.is_loaded(slot) {
        run.report_request(state);
        match pool.load(slot, run.trace.part()) {
            Ok(loaded) => state.sets = loaded.counter_sets.max(1),
            Err(error) => {
                run.fail_case(state, error);
                return run.add_status(state);
            }
        }
        run.trace.take_over_part()?;
        let number = state.case.samples.iter().filter(|sample| sample.warmup).count();
        let warm_up = RequestKind { fresh: false, ..RequestKind::warm_up(number) };
        if request(run, pool, block, state, warm_up)?.is_none() {
            return Ok(());
        }
    }
    for set in 0..state.sets_of(pass) {
        if state.over || run.is_interrupted() {
            break;
        }
        if again || !state.has_set(pass, round, set) {
            request(run, pool, block, state, RequestKind { pass, round, warmup: false, fresh: false, set })?;
        }
    }
    Ok(())
}

/// The passes that a case lacks in a round.
fn missing_passes(run: &ActiveRun<'_>, block: &ModelBlock, state: &mut CaseState<'_>, round: usize) -> Vec<Pass> {
    let plan = run.plan();
    let engine = plan.engine(block.slot(state.plan));
    if engine.caps.steps {
        state.without_stepped("no request of the stepped pass was measured");
    } else {
        let reason = format!("engine {} has no steps, so it has no stepped pass and no counters", engine.label);
        state.without_stepped(reason);
    }
    if plan.file.trace != TraceLevel::Ops {
        state.without_traced(format!("{} ops was not given", Setting::Trace));
    } else if engine.caps.op_times == OpTimes::None {
        state.without_traced(format!("engine {} marks no operations", engine.label));
    } else {
        state.without_traced("no request of the traced pass was measured");
    }
    let is_missing =
        |pass: &Pass| (*pass == Pass::Clean || round < plan.file.instrumented_runs) && !state.has(*pass, round);
    let is_wanted = |pass: &Pass| *pass != Pass::Counted || state.counts_events;
    state.passes.iter().copied().filter(is_wanted).filter(is_missing).collect()
}

/// The passes of an engine's cases; the counted one only where events are counted.
pub(super) fn planned_passes(plan: &Plan, engine: &EngineChoice) -> Vec<Pass> {
    let mut passes = vec![Pass::Clean];
    if engine.caps.steps {
        passes.push(Pass::Stepped);
    }
    if plan.file.trace == TraceLevel::Ops && engine.caps.op_times != OpTimes::None {
        passes.push(Pass::Traced);
        // A reading at each edge of an op takes about as long as a small op, so this pass runs only if events are named.
        if !plan.options.instruments.counters.is_empty() && engine.caps.op_times == OpTimes::Host {
            passes.push(Pass::Counted);
        }
    }
    passes
}

/// How often a design block of a round was repeated.
fn repeats(states: &[CaseState<'_>], cases: &[usize], round: usize) -> usize {
    cases.iter().map(|&index| states[index].repeats(round)).max().unwrap_or(0)
}
