//! Measures the cases of one model: warm-up, rounds, examination.

use record::plan::{MOST_WARMUPS, STEADY};
use record::{
    Case, CaseNote, Error, LoadCache, Moment, Pass, PrecisionReached, Setting, Status, StoppedBy, mark_repeated,
};

use super::active_run::{ActiveRun, RequestKind, RunInputs};
use super::examination::examine;
use super::memory;
use super::precision::{self, StopRule};
use super::request::request;
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
    for slot in 0..block.slots.len() {
        warm_up_slot(run, &mut pool, block, slot, &mut states)?;
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

/// First requests and warm-up of every case of a worker. If loading fails, it fails for all of them.
fn warm_up_slot(
    run: &mut ActiveRun<'_>,
    pool: &mut WorkerPool<'_>,
    block: &ModelBlock,
    slot: usize,
    states: &mut [CaseState<'_>],
) -> Result<(), Error> {
    let mut load_error: Option<String> = None;
    for index in 0..states.len() {
        let state = &mut states[index];
        if state.plan.slot != slot || state.over {
            continue;
        }
        if run.is_interrupted() {
            return Ok(());
        }
        match &load_error {
            Some(reason) => state.fail(Status::Failed, reason.clone()),
            None => load_error = warm_up(run, pool, block, state)?,
        }
        run.publish(states)?;
    }
    Ok(())
}

/// Loads a fresh session and runs its first request, then more until two of them take about the same time. Returns why loading failed.
fn warm_up(
    run: &mut ActiveRun<'_>,
    pool: &mut WorkerPool<'_>,
    block: &ModelBlock,
    state: &mut CaseState<'_>,
) -> Result<Option<String>, Error> {
    let plan = run.plan();
    run.report_request(state);
    let loaded = match pool.load(state.plan.slot, run.trace.part()) {
        Ok(loaded) => loaded,
        Err(error) => return Ok(run.fail_case(state, error)),
    };
    run.trace.take_over_part()?;
    state.case.server.clone_from(&loaded.server);
    let takes_threads = plan.options.server.takes_threads();
    if loaded.server.is_some() && !takes_threads {
        let reason = format!(
            "the server sets its own number of threads: {} is only a name here; use {{threads}} in the command of {}",
            Setting::Threads,
            Setting::Spawn
        );
        state.case.notes.set(CaseNote::Threads, reason);
    }
    (state.sets, state.counts_events) = (loaded.counter_sets.max(1), loaded.counts_events);
    state.case.memory =
        memory::after_load(&block.model, plan.options.engine.kv_type.cache_types(), &loaded, plan.file.virtual_time);
    if plan.file.cold && state.case.memory.load_cache.value() != Some(LoadCache::Cold) {
        let share = loaded
            .cached_share
            .as_ref()
            .map_or_else(|_| "an unknown share".to_owned(), |share| format!("{:.0} %", share * 100.0));
        run.note_once(format!(
            "{}: {} was given, but {share} of the file was in the page cache: another process maps it, such as the worker of another engine or thread count; measure one at a time",
            state.plan.id,
            Setting::Cold
        ));
    }
    if let Some(error) = loaded.trace_error {
        run.note_once(error);
    }
    if !block.together {
        let reason = "reloaded for each case: memory does not suffice for all workers at once";
        state.case.notes.set(CaseNote::Session, reason);
    }
    let (least, most) = plan.file.warmup.map_or((1, MOST_WARMUPS), |number| (number, number));
    let mut last = None;
    for number in 0..=most {
        let Some(sample) = request(run, pool, block, state, RequestKind::warm_up(number))? else { return Ok(None) };
        let pace = sample.pace();
        if number >= least && is_steady(last, pace) {
            break;
        }
        last = pace;
    }
    Ok(None)
}

/// Whether two consecutive requests took about the same time per token.
fn is_steady(last: Option<f64>, now: Option<f64>) -> bool {
    match (last, now) {
        (Some(last), Some(now)) if last > 0.0 => ((now - last) / last).abs() <= STEADY,
        // Requests without tokens have no time per token.
        _ => last.is_none() && now.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_means_within_five_percent() {
        assert!(is_steady(Some(1.0), Some(1.04)));
        assert!(is_steady(Some(1.0), Some(0.96)));
        assert!(!is_steady(Some(1.0), Some(0.9)));
        assert!(!is_steady(None, Some(1.0)), "one request alone is not enough");
        assert!(is_steady(None, None));
    }
}
