//! Examines the engines at the end of a block: their most likely tokens in their own answers and in one fixed passage.
//!
//! It comes after all measurements, and is not measured itself. An examination that fails affects only its own field, not its case.

use record::{CaseOutput, Entry, Error, Examination, Reason, Reasons, Status, TopLogprobs};
use traces::Nanos;

use super::active_run::ActiveRun;
use super::state::CaseState;
use crate::plan::{EngineChoice, ModelBlock, WorkerSlot};
use crate::pool::{RequestError, WorkerPool};
use crate::protocol::{Examine, FromWorker, ToWorker};

/// The most likely tokens that are stored for each position of an answer: enough to see a near-tie.
const TOP_OF_ANSWER: usize = 4;
/// The same for the passage: enough to compare two distributions.
const TOP_OF_PASSAGE: usize = 32;
/// Why a text is not examined.
const INTERRUPTED: &str = "the run was interrupted before it";

/// Examines what was not examined yet, slot by slot, and adds the results to the cases' outputs and to the record.
pub(super) fn examine(
    run: &mut ActiveRun<'_>,
    pool: &mut WorkerPool<'_>,
    block: &ModelBlock,
    states: &mut [CaseState<'_>],
) -> Result<(), Error> {
    for (index, &slot) in block.slots.iter().enumerate() {
        let engine = run.plan().engine(slot);
        let mut has_answer = false;
        for state in states.iter_mut().filter(|state| state.plan.slot == index && state.case.output.is_some()) {
            has_answer = true;
            examine_answer(run, pool, engine, state)?;
        }
        let is_examined =
            run.file.examinations.iter().any(|known| is_of(known, block, engine, slot) && !known.positions.is_empty());
        let found = match block.model.passage.split_first() {
            _ if is_examined => continue,
            _ if !has_answer => Err(Reason::new("no case of it has an answer")),
            None => Err(Reason::new("only the server has the model's tokenizer")),
            Some((first, rest)) => {
                let text =
                    Examine { filler: Vec::new(), prompt: vec![*first], text: rest.to_vec(), top: TOP_OF_PASSAGE };
                top_logprobs(run, pool, engine, (index, "the passage"), text)
            }
        };
        store_examination(run, block, engine, slot, found)?;
    }
    Ok(())
}

fn examine_answer(
    run: &mut ActiveRun<'_>,
    pool: &mut WorkerPool<'_>,
    engine: &EngineChoice,
    state: &mut CaseState<'_>,
) -> Result<(), Error> {
    let id = &state.plan.id;
    let Some(output) = &state.case.output else { return Ok(()) };
    if !output.top_logprobs.is_empty() {
        return Ok(());
    }
    let text = Examine {
        filler: state.plan.filler.ids().to_vec(),
        prompt: output.prompt_ids.to_vec(),
        text: output.token_ids.clone(),
        top: TOP_OF_ANSWER,
    };
    let found = match (state.over, state.case.status) {
        (true, Status::Failed | Status::Timeout) => Err(Reason::new("the case failed")),
        _ => top_logprobs(run, pool, engine, (state.plan.slot, id), text),
    };
    let is_known = found.is_ok();
    let output = CaseOutput { top_logprobs: found.into(), ..output.clone() };
    state.case.output = Some(output.clone());
    if let Some(rows) = state.new_rows() {
        run.add(Entry::Case(rows))?;
    }
    if is_known { run.store.output(id, &output) } else { Ok(()) }
}

fn store_examination(
    run: &mut ActiveRun<'_>,
    block: &ModelBlock,
    engine: &EngineChoice,
    slot: WorkerSlot,
    found: Result<Vec<TopLogprobs>, Reason>,
) -> Result<(), Error> {
    let examination = Examination {
        engine: engine.label.clone(),
        model: block.model.name.clone(),
        threads: slot.threads,
        ids: block.model.passage.clone(),
        positions: found.into(),
        notes: Reasons::new(),
    };
    run.file.set_examination(examination.clone());
    run.add(Entry::Examination(Box::new(examination)))
}

/// The most likely tokens at each position of a text, or why they are unknown. `name` is the text's name in messages.
fn top_logprobs(
    run: &mut ActiveRun<'_>,
    pool: &mut WorkerPool<'_>,
    engine: &EngineChoice,
    (slot, name): (usize, &str),
    text: Examine,
) -> Result<Vec<TopLogprobs>, Reason> {
    if !engine.caps.steps {
        return Err(Reason::new(format!("engine {} has no steps, so it has no logits", engine.label)));
    }
    if run.is_interrupted() {
        return Err(Reason::new(INTERRUPTED));
    }
    let worker = pool.name(slot);
    run.total = run.total.max(run.done + 1);
    run.inputs.context.progress.request(&format!("{worker}: logits"), run.done, run.total);
    let found = ask(pool, slot, text, run.plan().options.design.timeout);
    run.done += 1;
    if let Err(reason) = &found
        && !run.is_interrupted()
    {
        run.report(&format!("{worker}: no logits of {name}: {reason}"));
    }
    found
}

/// Asks the worker of a slot; if its session is gone, another one is loaded first.
fn ask(
    pool: &mut WorkerPool<'_>,
    slot: usize,
    text: Examine,
    limit: Option<Nanos>,
) -> Result<Vec<TopLogprobs>, Reason> {
    if !pool.is_loaded(slot) {
        pool.load(slot, None).map_err(reason)?;
    }
    match pool.ask(slot, &ToWorker::Examine(text), limit).map_err(reason)? {
        FromWorker::Examined(examined) => Ok(examined.positions),
        FromWorker::Failed(reason) => Err(reason),
        _ => Err(reason(pool.unexpected_reply(slot))),
    }
}

fn is_of(known: &Examination, block: &ModelBlock, engine: &EngineChoice, slot: WorkerSlot) -> bool {
    (&known.engine, &known.model, known.threads) == (&engine.label, &block.model.name, slot.threads)
}

fn reason(error: RequestError) -> Reason {
    match error {
        RequestError::Failed(reason) | RequestError::Timeout(reason) => reason,
        RequestError::Interrupted => Reason::new(INTERRUPTED),
    }
}
