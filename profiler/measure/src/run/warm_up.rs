//! The warm-up of a case: a fresh session, its first request, and more until two of them take about the same time.
//!
//! A case is warmed up directly before its first requests that count, so that a run that ends early has samples of the cases that it
//! reached. All workers of a prompt round are warmed up before the first of them is measured: their clean requests stay adjacent.

use record::plan::{MOST_WARMUPS, STEADY};
use record::{CaseNote, Entry, Error, LoadCache, Setting, Status};

use super::active_run::{ActiveRun, RequestKind};
use super::memory;
use super::request::request;
use super::state::CaseState;
use crate::plan::ModelBlock;
use crate::pool::WorkerPool;

/// Why the workers of a block could not load, by slot. If loading fails once, the cases of that worker that follow fail for the same
/// reason.
#[derive(Debug, Default)]
pub(super) struct LoadErrors(Vec<(usize, String)>);

impl LoadErrors {
    fn of(&self, slot: usize) -> Option<&String> {
        self.0.iter().find(|(failed, _)| *failed == slot).map(|(_, reason)| reason)
    }
}

/// Warms up cases of a prompt round that were not yet, in the order in which they will run.
pub(super) fn warm_up_cases(
    run: &mut ActiveRun<'_>,
    pool: &mut WorkerPool<'_>,
    block: &ModelBlock,
    states: &mut [CaseState<'_>],
    cases: &[usize],
    errors: &mut LoadErrors,
) -> Result<(), Error> {
    for &index in cases {
        let state = &mut states[index];
        if state.over || state.warmed_up {
            continue;
        }
        if run.is_interrupted() {
            return Ok(());
        }
        let slot = state.plan.slot;
        if let Some(reason) = errors.of(slot) {
            state.fail(Status::Failed, reason.clone());
        } else if let Some(reason) = warm_up(run, pool, block, state)? {
            errors.0.push((slot, reason));
        } else {
            state.warmed_up = !run.is_interrupted();
        }
        run.add_status(&mut states[index])?;
        run.publish_when_due(states)?;
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
    run.add(Entry::Session {
        case: state.plan.id.clone(),
        counter_sets: state.sets,
        counts_events: state.counts_events,
    })?;
    state.case.memory = memory::after_load(
        &block.model,
        &plan.engine(block.slots[state.plan.slot]).identity.weight_use,
        plan.options.engine.kv_type.cache_types(),
        &loaded,
        plan.file.virtual_time,
    );
    state.show_held_bytes();
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
