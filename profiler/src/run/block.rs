//! The cases of one model: warm-up, rounds, and what becomes of every answer.

use std::path::Path;

use engines::OpTimes;

use super::crew::{Crew, Trouble};
use super::resume::Earlier;
use super::state::CaseState;
use super::trace::RunTrace;
use super::{Interrupt, Progress, derive, memory, ops, probe, rounds};
use crate::Error;
use crate::plan::{Block, CasePlan, Plan, TraceLevel};
use crate::prepare::kv_dtype;
use crate::results::{Case, Pass, RunFile, Status, Store};
use crate::worker::{Ask, FromWorker, Home, Measured, ToWorker};

/// Warm-up requests after the first one, at most, where nobody says how many.
const MOST_WARMUPS: usize = 3;
/// Warm-up ends when two requests differ by no more than this share.
const STEADY: f64 = 0.05;
/// Time outside of an engine's phases, over the latency, that is worth a warning.
const OUTSIDE: f64 = 0.01;

/// What a run is made of, for as long as it lasts.
#[derive(Clone, Copy)]
pub(super) struct Means<'a> {
    pub(super) plan: &'a Plan,
    pub(super) binary: &'a Path,
    pub(super) home: &'a Home,
    pub(super) progress: &'a dyn Progress,
    pub(super) interrupt: &'a Interrupt,
}

/// A run in progress.
pub(super) struct Run<'a> {
    means: Means<'a>,
    store: Store,
    file: RunFile,
    earlier: Option<Earlier>,
    trace: RunTrace,
    /// Warnings that do not follow from the results.
    notes: Vec<String>,
    /// Requests so far, and of the whole run as far as it is known.
    done: usize,
    total: usize,
}

/// What one request is for.
#[derive(Clone, Copy)]
struct Purpose {
    pass: Pass,
    round: usize,
    warmup: bool,
    fresh: bool,
}

impl Purpose {
    const fn warm_up(number: usize) -> Self {
        Self { pass: Pass::Clean, round: number, warmup: true, fresh: number == 0 }
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(means: Means<'a>, store: Store, file: RunFile, earlier: Option<Earlier>) -> Result<Self, Error> {
        let trace = RunTrace::create(store.dir(), means.home.dir(), &means.plan.file)?;
        store.write_run(&file)?;
        let notes = file.warnings.clone();
        Ok(Self { means, store, file, earlier, trace, notes, done: 0, total: means.plan.requests() })
    }

    /// All blocks, one after the other.
    pub(super) fn everything(&mut self) -> Result<(), Error> {
        let mut first_case = 0;
        // A virtual clock begins at zero in every worker: those of the run that is resumed keep their numbers.
        let first_number = self
            .earlier
            .as_ref()
            .map_or(1, |earlier| u32::try_from(earlier.samples.len() + 1).unwrap_or(1).saturating_mul(1000));
        for block in &self.means.plan.blocks {
            if self.means.interrupt.is_set() {
                break;
            }
            self.block(block, first_case, first_number)?;
            first_case += block.cases.len();
        }
        Ok(())
    }

    /// Closes the files.
    pub(super) fn finish(mut self) -> Result<RunFile, Error> {
        self.file.interrupted = self.means.interrupt.is_set();
        self.file.finished = Some(crate::drive::rfc3339(traces::clock::unix_time()));
        derive(&mut self.file, &self.notes);
        self.trace.finish()?;
        self.store.finish(&self.file)?;
        Ok(self.file)
    }

    fn block(&mut self, block: &'a Block, first_case: usize, first_number: u32) -> Result<(), Error> {
        let Means { plan, binary, home, interrupt, .. } = self.means;
        let mut states: Vec<_> =
            block.cases.iter().enumerate().map(|(place, case)| self.state(first_case + place, case)).collect();
        let mut crew = Crew::new(plan, block, binary, home, interrupt, first_number);
        for seat in 0..block.seats.len() {
            self.warm_up_seat(&mut crew, block, seat, &mut states)?;
        }
        for round in 0..plan.file.runs {
            let seats: Vec<_> = states.iter().map(|state| state.plan.seat).collect();
            for (place, index) in rounds::order(&seats, block.together, plan.file.seed, round).into_iter().enumerate() {
                let Some(state) = states.get_mut(index) else { continue };
                let wanted = self.passes(block, state, round);
                for pass in rounds::passes(&wanted, round, place) {
                    if state.over || interrupt.is_set() {
                        break;
                    }
                    self.in_round(&mut crew, block, state, pass, round)?;
                }
            }
            self.publish(&mut states)?;
        }
        for name in &crew.restless {
            self.notes.push(format!("worker {name} used the processor while another one measured, though it was stopped: compare with a run of one engine"));
        }
        crew.dismiss();
        Ok(())
    }

    /// A case with what an earlier run has of it.
    fn state(&self, index: usize, plan: &'a CasePlan) -> CaseState<'a> {
        let empty = self.file.cases.get(index).cloned().unwrap_or_default();
        let Some(earlier) = &self.earlier else { return CaseState::new(index, plan, empty) };
        let old = earlier.cases.iter().find(|case| case.id == plan.id);
        if let Some(done) = old.filter(|case| case.status == Status::Ok) {
            let mut state = CaseState::new(index, plan, done.clone());
            state.over = true;
            return state;
        }
        let of_pass = |pass: Pass| {
            earlier.samples.iter().filter(|sample| sample.case == plan.id && sample.pass == pass).cloned().collect()
        };
        let kept = old.cloned().unwrap_or_else(|| empty.clone());
        let case = Case {
            samples: of_pass(Pass::Clean),
            stepped: of_pass(Pass::Stepped),
            traced: of_pass(Pass::Traced),
            status: empty.status,
            error: empty.error,
            ..kept
        };
        CaseState::new(index, plan, case)
    }

    /// First requests and warm-up of every case of a worker. Where loading fails, it fails for all of them.
    fn warm_up_seat(
        &mut self,
        crew: &mut Crew<'_>,
        block: &Block,
        seat: usize,
        states: &mut [CaseState<'_>],
    ) -> Result<(), Error> {
        let mut unloadable: Option<String> = None;
        for index in 0..states.len() {
            let Some(state) = states.get_mut(index).filter(|state| state.plan.seat == seat && !state.over) else {
                continue;
            };
            if self.means.interrupt.is_set() {
                return Ok(());
            }
            if let Some(reason) = &unloadable {
                state.fail(Status::Failed, reason.clone());
            } else {
                unloadable = self.warm_up(crew, block, state)?;
            }
            self.publish(states)?;
        }
        Ok(())
    }

    /// A fresh session, its first request, more until two of them are alike. Returns why it cannot be loaded.
    fn warm_up(
        &mut self,
        crew: &mut Crew<'_>,
        block: &Block,
        state: &mut CaseState<'_>,
    ) -> Result<Option<String>, Error> {
        self.tell(state);
        let loaded = match crew.load(state.plan.seat, self.trace.part())? {
            Ok(loaded) => loaded,
            Err(trouble) => return Ok(self.trouble(state, trouble)),
        };
        self.trace.take()?;
        state.case.memory = memory::loaded(&block.model, &loaded);
        self.once(loaded.trace_error.clone());
        if !block.together {
            state.case.reasons.insert(
                "session".to_owned(),
                "reloaded in turn: memory does not suffice for all workers together".to_owned(),
            );
        }
        let (least, most) = self.means.plan.file.warmup.map_or((1, MOST_WARMUPS), |number| (number, number));
        let mut last = None;
        for number in 0..=most {
            let Some(pace) = self.request(crew, block, state, Purpose::warm_up(number))? else { return Ok(None) };
            if number >= least && is_steady(last, pace) {
                break;
            }
            last = pace;
        }
        Ok(None)
    }

    /// One request of a round, after a new session where the old one is gone.
    fn in_round(
        &mut self,
        crew: &mut Crew<'_>,
        block: &Block,
        state: &mut CaseState<'_>,
        pass: Pass,
        round: usize,
    ) -> Result<(), Error> {
        let seat = state.plan.seat;
        if !crew.is_loaded(seat) {
            self.tell(state);
            if let Err(trouble) = crew.load(seat, self.trace.part())? {
                self.trouble(state, trouble);
                return Ok(());
            }
            self.trace.take()?;
            let number = state.case.samples.iter().filter(|sample| sample.warmup).count();
            let warm = Purpose { fresh: false, ..Purpose::warm_up(number) };
            if self.request(crew, block, state, warm)?.is_none() {
                return Ok(());
            }
        }
        self.request(crew, block, state, Purpose { pass, round, warmup: false, fresh: false }).map(|_| ())
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
        }
        let due =
            |pass: &Pass| (*pass == Pass::Clean || round < plan.file.instrumented_runs) && !state.has(*pass, round);
        wanted.into_iter().filter(due).collect()
    }

    /// Runs one request and keeps what it gave: its seconds per token, or `None` (outside) where the case is over or the run ends.
    fn request(
        &mut self,
        crew: &mut Crew<'_>,
        block: &Block,
        state: &mut CaseState<'_>,
        purpose: Purpose,
    ) -> Result<Option<Option<f64>>, Error> {
        self.tell(state);
        let Some(prompt) = block.prompt(state.plan) else { return Ok(None) };
        let ops_file = (purpose.pass == Pass::Traced && state.case.trace.is_none())
            .then(|| self.trace.name(state.index, &prompt.id))
            .flatten();
        let ask = Ask {
            case: state.plan.id.clone(),
            pass: purpose.pass,
            round: purpose.round,
            warmup: purpose.warmup,
            fresh: purpose.fresh,
            input: prompt.input.clone(),
            filler: state.plan.filler.ids().to_vec(),
            new_tokens: prompt.new_tokens,
            ignore_eos: self.means.plan.file.ignore_eos,
            trace: self.trace.target(ops_file.as_deref()),
        };
        let seat = state.plan.seat;
        let answer = crew.ask(seat, &ToWorker::Measure(Box::new(ask)), self.means.plan.options.timeout);
        self.done += 1;
        self.trace.take()?;
        let measured = match answer {
            Ok(FromWorker::Measured(measured)) => *measured,
            Ok(FromWorker::Failed(failure)) => {
                state.fail(Status::Failed, failure.text);
                return Ok(None);
            }
            Ok(_) => {
                let trouble = crew.confused(seat);
                self.trouble(state, trouble);
                return Ok(None);
            }
            Err(trouble) => {
                self.trouble(state, trouble);
                return Ok(None);
            }
        };
        if ops_file.is_some() && measured.trace_error.is_none() {
            state.case.trace = ops_file;
        }
        self.keep(block, state, measured).map(Some)
    }

    /// Puts a request's results where they belong; returns its seconds per token.
    fn keep(&mut self, block: &Block, state: &mut CaseState<'_>, measured: Measured) -> Result<Option<f64>, Error> {
        let Some(prompt) = block.prompt(state.plan) else { return Ok(None) };
        self.note_flaws(state, &measured);
        if measured.sample.fresh {
            memory::first_request(&mut state.case.memory, &measured);
        }
        let is_first = state.case.output.is_none();
        let (prompts, outputs) = (measured.answer.prompt_tokens, measured.answer.output_tokens);
        let sample = state.keep(measured, &prompt.rendered, &prompt.ids);
        if sample.pass == Pass::Traced {
            let kv = kv_dtype(self.means.plan.options.kv_type);
            ops::join(&mut state.case.ops, &block.model.shape, kv, state.plan.filler.depth(), prompts, outputs);
        }
        self.store.sample(&sample)?;
        if let Some(output) = state.case.output.as_ref().filter(|_| is_first) {
            self.store.output(&state.plan.id, output)?;
        }
        self.means.progress.sample(&sample);
        Ok(probe::pace(&sample))
    }

    /// Flaws of the measurement itself, each told once.
    fn note_flaws(&mut self, state: &CaseState<'_>, measured: &Measured) {
        let id = &state.plan.id;
        let share =
            measured.sample.latency_s.filter(|&latency| latency > 0.0).map(|latency| measured.outside_s / latency);
        if measured.sample.pass == Pass::Clean && !measured.sample.warmup && share.is_some_and(|share| share > OUTSIDE)
        {
            self.once(Some(format!("{id}: the engine works before its first phase or after its last one, for more than 1 % of the latency, which the latency leaves out")));
        }
        if measured.dropped > 0 {
            self.once(Some(format!(
                "{id}: more ops than the recorder holds; the sums and the trace lack some: lower -n"
            )));
        }
        self.once(measured.trace_error.clone());
    }

    fn once(&mut self, note: Option<String>) {
        if let Some(note) = note.filter(|note| !self.notes.contains(note)) {
            self.means.progress.note(&note);
            self.notes.push(note);
        }
    }

    fn tell(&mut self, state: &CaseState<'_>) {
        self.total = self.total.max(self.done + 1);
        self.means.progress.request(&state.plan.id, self.done, self.total);
    }

    /// A case that has no answer; returns the text unless the run was interrupted.
    fn trouble(&mut self, state: &mut CaseState<'_>, trouble: Trouble) -> Option<String> {
        let (status, text) = match trouble {
            Trouble::Failed(text) => (Status::Failed, text),
            Trouble::Timeout(text) => (Status::Timeout, text),
            Trouble::Interrupted => return None,
        };
        self.means.progress.note(&format!("{}: {text}", state.plan.id));
        state.fail(status, text.clone());
        Some(text)
    }

    /// Writes `run.json` with what there is.
    fn publish(&mut self, states: &mut [CaseState<'_>]) -> Result<(), Error> {
        let runs = self.file.plan.runs;
        for state in states.iter_mut() {
            let count = (0..runs).filter(|&round| state.has(Pass::Clean, round)).count();
            if !state.over {
                let complete = count == runs;
                state.case.status = if complete { Status::Ok } else { Status::Skipped };
                state.case.error = (!complete).then(|| format!("not complete: {count} of {runs} rounds"));
            }
            if let Some(place) = self.file.cases.get_mut(state.index) {
                place.clone_from(&state.case);
            }
        }
        derive(&mut self.file, &self.notes);
        self.store.write_run(&self.file)
    }
}

/// Whether two requests in a row took about the same per token.
fn is_steady(last: Option<f64>, now: Option<f64>) -> bool {
    match (last, now) {
        (Some(last), Some(now)) if last > 0.0 => ((now - last) / last).abs() <= STEADY,
        // Without tokens there is nothing to compare.
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
        assert!(!is_steady(None, Some(1.0)), "one request alone says nothing");
        assert!(is_steady(None, None));
    }
}
