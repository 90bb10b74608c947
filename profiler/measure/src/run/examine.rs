//! The examination at the end of a block: what each engine holds likely, in its own answers and in one passage.
//!
//! It comes after everything that is measured, and nothing of it is: no time, no sample. What fails here costs its own field
//! and never a case.

use traces::Nanos;

use super::block::Run;
use super::crew::{Crew, Trouble};
use super::state::CaseState;
use crate::plan::{Block, EngineChoice, Seat};
use crate::worker::{Examine, FromWorker, ToWorker};
use record::Error;
use record::{CaseOutput, Examination, Status, TopLogprobs};

/// The likeliest tokens that are kept at each position of an answer: enough to see a near-tie.
const OF_ANSWERS: usize = 4;
/// The same for the passage: enough to compare two distributions.
const OF_PASSAGE: usize = 32;
/// Under this name a case says why its answer was not examined.
const TOP_LOGPROBS: &str = "top_logprobs";
/// The same of the passage.
const POSITIONS: &str = "positions";
/// Why something is not examined.
const INTERRUPTED: &str = "the run was interrupted before it";

impl Run<'_> {
    /// Examines what was not examined yet, seat by seat; the cases' outputs and the run file have it then.
    pub(super) fn examine(
        &mut self,
        crew: &mut Crew<'_>,
        block: &Block,
        states: &mut [CaseState<'_>],
    ) -> Result<(), Error> {
        for (place, seat) in block.seats.iter().enumerate() {
            let Some(engine) = self.means.plan.engines.get(seat.engine) else { continue };
            let mut answered = false;
            for state in states.iter_mut().filter(|state| state.plan.seat == place && state.case.output.is_some()) {
                answered = true;
                self.examine_answer(crew, engine, state)?;
            }
            let found = match block.model.passage.split_first() {
                _ if self.is_examined(block, engine, seat) => continue,
                _ if !answered => Err("no case of it has an answer".to_owned()),
                None => Err("the model's tokenizer is not here: only the server has it".to_owned()),
                Some((first, rest)) => {
                    let question =
                        Examine { filler: Vec::new(), prompt: vec![*first], text: rest.to_vec(), top: OF_PASSAGE };
                    self.asked(crew, engine, (place, "the passage"), question)
                }
            };
            self.keep_examination(block, engine, seat, found);
        }
        Ok(())
    }

    fn examine_answer(
        &mut self,
        crew: &mut Crew<'_>,
        engine: &EngineChoice,
        state: &mut CaseState<'_>,
    ) -> Result<(), Error> {
        let id = &state.plan.id;
        let Some(output) = &state.case.output else { return Ok(()) };
        if !output.top_logprobs.is_empty() {
            return Ok(());
        }
        let question = Examine {
            filler: state.plan.filler.ids().to_vec(),
            prompt: output.prompt_ids.clone(),
            text: output.token_ids.clone(),
            top: OF_ANSWERS,
        };
        let found = match (state.over, state.case.status) {
            (true, Status::Failed | Status::Timeout) => Err("the case did not end well".to_owned()),
            _ => self.asked(crew, engine, (state.plan.seat, id), question),
        };
        match found {
            Ok(positions) => {
                state.case.reasons.remove(TOP_LOGPROBS);
                let output = CaseOutput { top_logprobs: positions, ..output.clone() };
                self.store.output(id, &output)?;
                state.case.output = Some(output);
            }
            Err(reason) => {
                state.case.reasons.insert(TOP_LOGPROBS.to_owned(), reason);
            }
        }
        Ok(())
    }

    /// Whether the passage was examined already, in the run that this one goes on with.
    fn is_examined(&self, block: &Block, engine: &EngineChoice, seat: &Seat) -> bool {
        let of_seat = |known: &&Examination| is_of(known, block, engine, seat);
        self.file.examinations.iter().find(of_seat).is_some_and(|known| !known.positions.is_empty())
    }

    fn keep_examination(
        &mut self,
        block: &Block,
        engine: &EngineChoice,
        seat: &Seat,
        found: Result<Vec<TopLogprobs>, String>,
    ) {
        let (positions, reason) = match found {
            Ok(positions) => (positions, None),
            Err(reason) => (Vec::new(), Some((POSITIONS.to_owned(), reason))),
        };
        self.file.examinations.retain(|known| !is_of(known, block, engine, seat));
        self.file.examinations.push(Examination {
            engine: engine.label.clone(),
            model: block.model.name.clone(),
            threads: seat.threads,
            ids: block.model.passage.clone(),
            positions,
            reasons: reason.into_iter().collect(),
        });
    }

    /// The likeliest tokens at each position of a text, or why they are not known.
    fn asked(
        &mut self,
        crew: &mut Crew<'_>,
        engine: &EngineChoice,
        (seat, what): (usize, &str),
        question: Examine,
    ) -> Result<Vec<TopLogprobs>, String> {
        if !engine.caps.steps {
            return Err(format!("engine {} lends no steps: it tells no logits", engine.label));
        }
        if self.means.context.interrupt.is_set() {
            return Err(INTERRUPTED.to_owned());
        }
        let name = crew.name(seat);
        self.total = self.total.max(self.done + 1);
        self.means.context.progress.request(&format!("{name}: logits"), self.done, self.total);
        let found = answer(crew, seat, question, self.means.plan.options.timeout);
        self.done += 1;
        if let Err(reason) = &found
            && !self.means.context.interrupt.is_set()
        {
            self.means.context.progress.note(&format!("{name}: no logits of {what}: {reason}"));
        }
        found
    }
}

/// Asks a seat's worker; where its session is gone, another one is made first.
fn answer(
    crew: &mut Crew<'_>,
    seat: usize,
    question: Examine,
    limit: Option<Nanos>,
) -> Result<Vec<TopLogprobs>, String> {
    if !crew.is_loaded(seat) {
        crew.load(seat, None).map_err(|error| error.to_string())?.map_err(told)?;
    }
    match crew.ask(seat, &ToWorker::Examine(question), limit) {
        Ok(FromWorker::Examined(examined)) => Ok(examined.positions),
        Ok(FromWorker::Failed(failure)) => Err(failure.text),
        Ok(_) => Err(told(crew.confused(seat))),
        Err(trouble) => Err(told(trouble)),
    }
}

fn is_of(known: &Examination, block: &Block, engine: &EngineChoice, seat: &Seat) -> bool {
    (&known.engine, &known.model, known.threads) == (&engine.label, &block.model.name, seat.threads)
}

fn told(trouble: Trouble) -> String {
    match trouble {
        Trouble::Failed(text) | Trouble::Timeout(text) => text,
        Trouble::Interrupted => INTERRUPTED.to_owned(),
    }
}
