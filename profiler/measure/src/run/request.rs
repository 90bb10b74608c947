//! Runs one request: sends it to its worker, and stores what was measured.

use meter::Root;
use meter::environment::{swapped_bytes, throttle_events_now};
use record::{Entry, Error, Pass, PassFigures, Sample, Setting, Status};
use traces::Nanos;

use super::active_run::{ActiveRun, RequestKind};
use super::disturbance::MachineTotals;
use super::memory;
use super::op_costs::{self, TracedWork};
use super::state::CaseState;
use crate::plan::ModelBlock;
use crate::pool::WorkerPool;
use crate::protocol::{FromWorker, Measured, RequestSpec, ToWorker};

/// Time outside of an engine's phases, as a share of the latency, from which on it is noted.
const OUTSIDE: f64 = 0.01;

/// Runs one request and stores its results. Returns its sample, or `None` if the case has ended or the run was interrupted.
pub(super) fn request(
    run: &mut ActiveRun<'_>,
    pool: &mut WorkerPool<'_>,
    block: &ModelBlock,
    state: &mut CaseState<'_>,
    kind: RequestKind,
) -> Result<Option<Sample>, Error> {
    run.report_request(state);
    let plan = run.plan();
    let prompt = block.prompt(state.plan);
    // Where time is virtual, a sample does not depend on this machine.
    let reads_totals = kind.pass == Pass::Clean && !plan.file.virtual_time;
    let ops_file = (kind.pass == Pass::Traced && state.case.trace.is_none())
        .then(|| run.trace.name(state.index, &state.case))
        .flatten();
    let spec = RequestSpec {
        case: state.plan.id.clone(),
        pass: kind.pass,
        round: kind.round,
        warmup: kind.warmup,
        fresh: kind.fresh,
        counter_set: kind.set,
        input: prompt.input.clone(),
        filler: state.plan.filler.ids().to_vec(),
        new_tokens: prompt.new_tokens,
        ignore_eos: plan.file.ignore_eos,
        trace: run.trace.targets(ops_file.as_deref()),
    };
    let slot = state.plan.slot;
    let totals = || if reads_totals { machine_totals() } else { MachineTotals::default() };
    let before = totals();
    let reply = pool.ask(slot, &ToWorker::Measure(Box::new(spec)), plan.options.design.timeout);
    let after = totals();
    run.done += 1;
    run.trace.take_over_part()?;
    let measured = match reply {
        Ok(FromWorker::Measured(measured)) => *measured,
        Ok(FromWorker::Failed(reason)) => {
            state.fail(Status::Failed, reason.into());
            run.add_status(state)?;
            return Ok(None);
        }
        Ok(_) => {
            let error = pool.unexpected_reply(slot);
            run.fail_case(state, error);
            run.add_status(state)?;
            return Ok(None);
        }
        Err(error) => {
            run.fail_case(state, error);
            run.add_status(state)?;
            return Ok(None);
        }
    };
    if ops_file.is_some() && measured.trace_error.is_none() {
        state.case.trace = ops_file;
    }
    store(run, block, state, measured, (before, after)).map(Some)
}

/// The totals of the machine now.
fn machine_totals() -> MachineTotals {
    // A system that does not report a total has no such indicator of a disturbance.
    MachineTotals { swapped_bytes: swapped_bytes(&Root::system()).ok(), throttle_events: throttle_events_now().ok() }
}

/// Stores the results of a request; returns its sample.
fn store(
    run: &mut ActiveRun<'_>,
    block: &ModelBlock,
    state: &mut CaseState<'_>,
    mut measured: Measured,
    totals: (MachineTotals, MachineTotals),
) -> Result<Sample, Error> {
    let plan = run.plan();
    let prompt = block.prompt(state.plan);
    note_flaws(run, state, &measured);
    run.virtual_time_spent += Nanos::from_secs_f64(measured.sample.latency_s.value().unwrap_or(0.0));
    find_disturbance(run, state, &mut measured.sample, totals);
    if let Some((info, server)) = measured.server.take().zip(state.case.server.as_mut()) {
        server.learn(info);
    }
    if let Some(first) = &mut measured.first {
        let preprocessing = first.preprocessing.take();
        memory::after_first_request(&mut state.case.memory, &measured, state.case.server.as_ref());
        if let Some((preprocessing, server)) = preprocessing.zip(state.case.server.as_mut()) {
            state.server_prompt = preprocessing.prompt(prompt.input.is_chat());
            server.before_model = Some(preprocessing.figures(&prompt.rendered, &prompt.ids));
        }
    }
    let is_first = state.case.output.is_none();
    let (prompt_tokens, output_tokens) = (measured.answer.prompt_tokens, measured.answer.output_tokens);
    let figures = match &measured.figures {
        PassFigures::Clean => None,
        figures => Some(Box::new(figures.clone())),
    };
    let sample = state.store(measured, prompt);
    if sample.pass == Pass::Traced
        && let Some(weights) = &block.model.weights
    {
        let engine = plan.engine(block.slot(state.plan));
        match &weights.shape.modelled {
            Ok(shape) => {
                let work = TracedWork {
                    shape,
                    kv: plan.options.engine.kv_type.cache_types(),
                    batch: block.model.batch,
                    prunes: engine.prunes_last_block && !engine.whole_last_blocks.contains(&shape.spec.arch.name()),
                    depth: state.plan.filler.depth(),
                    prompt_tokens,
                    output_tokens,
                };
                work.add_costs(&mut state.case);
            }
            Err(not_modelled) => op_costs::complete_stated(&mut state.case, &weights.shape, not_modelled),
        }
    }
    let case = state.new_rows();
    run.add(Entry::Request { sample: Box::new(sample.clone()), figures, case })?;
    run.add_status(state)?;
    if let Some(output) = state.case.output.as_ref().filter(|_| is_first) {
        run.store.output(&state.plan.id, output)?;
    }
    run.inputs.context.progress.sample(&sample);
    Ok(sample)
}

/// Marks a disturbed clean request. Warm-up requests only show what is usual.
fn find_disturbance(
    run: &mut ActiveRun<'_>,
    state: &CaseState<'_>,
    sample: &mut Sample,
    (before, after): (MachineTotals, MachineTotals),
) {
    if sample.pass != Pass::Clean {
        return;
    }
    if sample.warmup {
        run.detector.learn(sample);
        return;
    }
    sample.disturbed = run.detector.detect(sample, before, after);
    if let Some(text) = &sample.disturbed {
        run.report(&format!("{}, round {}: disturbed: {text}", state.plan.id, sample.round + 1));
    }
}

/// Notes flaws of the measurement itself, each once.
fn note_flaws(run: &mut ActiveRun<'_>, state: &CaseState<'_>, measured: &Measured) {
    let id = &state.plan.id;
    let sample = &measured.sample;
    let share = sample.latency_s.value().filter(|&latency| latency > 0.0).map(|latency| measured.outside_s / latency);
    if sample.pass == Pass::Clean && sample.counts() && share.is_some_and(|share| share > OUTSIDE) {
        run.note_once(format!(
            "{id}: the engine works before its first phase or after its last one for more than 1 % of the latency; the latency does not include that time"
        ));
    }
    if let PassFigures::Traced(figures) = &measured.figures
        && figures.dropped > 0
    {
        run.note_once(format!(
            "{id}: one phase has more marks than the recorder holds, so the sums and the trace are incomplete: choose a shorter prompt or a larger {}",
            Setting::Batch
        ));
    }
    if let Some(error) = &measured.trace_error {
        run.note_once(error.clone());
    }
}
