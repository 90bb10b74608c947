//! Measures the cases of one model: rounds, which begin with the warm-up of each case, and the examination.

use record::{Case, Error, Moment, Pass, PrecisionReached, Status, StoppedBy, mark_repeated};

use super::active_run::{ActiveRun, RunInputs};
use super::examination::examine;
use super::precision::{self, StopRule};
use super::resume::EarlierRun;
use super::round::rounds;
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
        .map_or(1, |earlier| u32::try_from(earlier.samples.len() + 1).unwrap_or(1).saturating_mul(1000));
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
        block.cases.iter().enumerate().map(|(index, case)| case_state(run, first_case + index, case)).collect();
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
    run.publish(&mut states)?;
    for name in &pool.busy_while_stopped {
        run.file.messages.push(format!(
            "worker {name} used the processor while it was stopped and another worker measured: compare with a run of one engine"
        ));
    }
    examine(run, &mut pool, block, &mut states)?;
    run.publish(&mut states)?;
    pool.quit();
    Ok(())
}

/// A case with what an earlier run has of it.
fn case_state<'p>(run: &ActiveRun<'_>, index: usize, plan: &'p CasePlan) -> CaseState<'p> {
    let empty = run.file.cases[index].clone();
    let Some(earlier) = &run.earlier else { return CaseState::new(index, plan, empty) };
    let old = earlier.cases.iter().find(|case| case.id == plan.id);
    if let Some(done) = old.filter(|case| case.status == Status::Ok && is_settled(run, case, earlier)) {
        let mut state = CaseState::new(index, plan, done.clone());
        state.over = true;
        return state;
    }
    let of_pass = |pass: Pass| {
        earlier.samples.iter().filter(|sample| sample.case == plan.id && sample.pass == pass).cloned().collect()
    };
    let kept = old.cloned().unwrap_or_else(|| empty.clone());
    let mut case = Case {
        samples: of_pass(Pass::Clean),
        stepped: of_pass(Pass::Stepped),
        traced: of_pass(Pass::Traced),
        counted: of_pass(Pass::Counted),
        status: empty.status,
        error: empty.error,
        ..kept
    };
    mark_repeated(&mut case.samples);
    CaseState::new(index, plan, case)
}

/// Whether nothing of a case is missing. A run that ended with its budget continues.
fn is_settled(run: &ActiveRun<'_>, case: &Case, earlier: &EarlierRun) -> bool {
    let is_imprecise =
        |found: &PrecisionReached| found.model == case.model && !found.reached && found.stopped_by != StoppedBy::Rounds;
    case.clean_samples().count() >= run.plan().file.runs && !earlier.precision.iter().any(is_imprecise)
}
