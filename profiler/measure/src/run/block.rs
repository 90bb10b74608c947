//! Measures the cases of one model: rounds, which begin with the warm-up of each case, and the examination.

use record::{Error, Moment, PrecisionReached, Status, StoppedBy};

use super::NOT_MEASURED_YET;
use super::active_run::{ActiveRun, RunInputs};
use super::examination::examine;
use super::precision::{self, StopRule};
use super::round::{planned_passes, rounds};
use super::state::CaseState;
use crate::plan::{CasePlan, ModelBlock};
use crate::pool::WorkerPool;

/// Measures all blocks, one after the other.
pub(super) fn measure_all(run: &mut ActiveRun<'_>) -> Result<(), Error> {
    let mut first_case = 0;
    // Where time is virtual, workers are numbered: those of the run that is resumed keep their numbers.
    let first_number = run
        .earlier
        .as_ref()
        .map_or(1, |earlier| u32::try_from(earlier.samples + 1).unwrap_or(u32::MAX).saturating_mul(1000));
    let plan = run.plan();
    for (index, block) in plan.blocks.iter().enumerate() {
        if run.is_interrupted() {
            break;
        }
        let left = plan.blocks.len() - index;
        let deadline = plan.options.design.budget.map(|budget| precision::deadline(budget, run.elapsed(), left));
        let rule = StopRule { rounds: plan.file.runs, wanted: plan.file.precision, deadline };
        measure(run, block, first_case, first_number, rule)?;
        first_case += block.cases.len();
    }
    Ok(())
}

fn measure(
    run: &mut ActiveRun<'_>,
    block: &ModelBlock,
    first_case: usize,
    first_number: u32,
    rule: StopRule,
) -> Result<(), Error> {
    let RunInputs { plan, worker_folder, context } = run.inputs;
    run.rounds_needed = rule.wanted.is_none().then_some(rule.rounds);
    let mut states: Vec<_> =
        block.cases.iter().enumerate().map(|(index, case)| case_state(run, block, first_case + index, case)).collect();
    let notify = |text: &str| context.progress.note(text);
    let mut pool =
        WorkerPool::new(plan, block, context.binary, worker_folder, context.interrupt, &notify, first_number);
    run.reset_detector(&states);
    let is_unfinished = states.iter().any(|state| !state.over);
    if is_unfinished {
        run.probe(&mut pool, block, Moment::Before);
    }
    rounds(run, &mut pool, block, &mut states, rule)?;
    if is_unfinished {
        run.probe(&mut pool, block, Moment::After);
    }
    run.publish_when_due(&mut states)?;
    for name in &pool.busy_while_stopped {
        run.keep_message(format!(
            "worker {name} used the processor while it was stopped and another worker measured: compare with a run of one engine"
        ));
    }
    examine(run, &mut pool, block, &mut states)?;
    run.take_over(&mut states);
    run.publish_when_due(&mut states)?;
    pool.quit();
    Ok(())
}

/// A case with what an earlier run has of it.
fn case_state<'p>(run: &mut ActiveRun<'_>, block: &ModelBlock, index: usize, plan: &'p CasePlan) -> CaseState<'p> {
    let case = run.file.cases[index].clone();
    let runs = run.plan().file.runs;
    let first = runs.min(run.plan().file.instrumented_runs);
    let mut state = CaseState::new(index, plan, case);
    state.passes = planned_passes(run.plan(), run.plan().engine(block.slot(plan)));
    let Some(earlier) = &mut run.earlier else { return state };
    let requests = earlier.requests.remove(&plan.id).unwrap_or_default();
    state.restore(requests, earlier.sessions.get(&plan.id).copied());
    state.over = state.case.status == Status::Ok
        && state.case.clean_samples().count() >= runs
        && state.lacks(first).is_none()
        && !run.file.precision.iter().any(|found| found.model == state.case.model && is_imprecise(found));
    if !state.over {
        (state.case.status, state.case.error) = (Status::Skipped, Some(NOT_MEASURED_YET.to_owned()));
    }
    state
}

/// Whether a run ended before its precision was reached, such as with its budget. It is continued.
fn is_imprecise(found: &PrecisionReached) -> bool {
    !found.reached && found.stopped_by != StoppedBy::Rounds
}
