//! [`ActiveRun`]: a run that is under way: its record, its trace, and what is known about its progress.

use meter::MachineLoad;
use meter::environment;
use record::{ConditionsAt, Entry, Error, Moment, Pass, RunFile, Setting, Status, Store};
use traces::{Nanos, clock};

use super::Context;
use super::ceiling_probes::CeilingProbes;
use super::disturbance::DisturbanceDetector;
use super::resume::EarlierRun;
use super::state::{CaseState, MOST_REPEATS};
use super::trace::RunTrace;
use crate::plan::{ModelBlock, Plan};
use crate::pool::{RequestError, WorkerFolder, WorkerPool};
use crate::timestamp::rfc3339;
use crate::working_set::buffer_bytes;

/// What does not change during a run.
#[derive(Clone, Copy)]
pub(super) struct RunInputs<'a> {
    pub(super) plan: &'a Plan,
    pub(super) worker_folder: &'a WorkerFolder,
    pub(super) context: Context<'a>,
}

/// A run that is under way.
pub(super) struct ActiveRun<'a> {
    pub(super) inputs: RunInputs<'a>,
    pub(super) store: Store,
    pub(super) file: RunFile,
    pub(super) earlier: Option<EarlierRun>,
    pub(super) trace: RunTrace,
    /// Probes of the machine's ceilings between the rounds.
    probes: CeilingProbes<'a>,
    /// Finds the disturbed requests of the block.
    pub(super) detector: DisturbanceDetector,
    /// Entries that the journal gets with the next one.
    pending: Vec<Entry>,
    /// The round that is under way.
    pub(super) open_round: Option<usize>,
    /// When `run.json` is written again.
    next_write: NextWrite,
    /// When the run began to measure.
    began: Nanos,
    /// Where time is virtual: the latency of all requests together.
    pub(super) virtual_time_spent: Nanos,
    /// The rounds that complete a case of the block; `None` while more of them may be needed.
    pub(super) rounds_needed: Option<usize>,
    /// Requests so far.
    pub(super) done: usize,
    /// Requests of the whole run, as far as it is known.
    pub(super) total: usize,
}

/// What a request is for.
#[derive(Clone, Copy)]
pub(super) struct RequestKind {
    pub(super) pass: Pass,
    pub(super) round: usize,
    pub(super) warmup: bool,
    pub(super) fresh: bool,
    /// Which set of counters is read.
    pub(super) set: usize,
}

impl RequestKind {
    pub(super) const fn warm_up(number: usize) -> Self {
        Self { pass: Pass::Clean, round: number, warmup: true, fresh: number == 0, set: 0 }
    }
}

impl<'a> ActiveRun<'a> {
    pub(super) fn new(
        inputs: RunInputs<'a>,
        store: Store,
        file: RunFile,
        earlier: Option<EarlierRun>,
    ) -> Result<Self, Error> {
        let RunInputs { plan, worker_folder, context } = inputs;
        let trace = RunTrace::create(store.dir(), worker_folder.dir(), &plan.file)?;
        let bytes = buffer_bytes(&file.environment.processor.caches);
        let probes = CeilingProbes::new(plan, bytes, context.binary, worker_folder, context.interrupt);
        let done = earlier.as_ref().map_or(0, |earlier| earlier.done);
        Ok(Self {
            pending: Vec::new(),
            open_round: None,
            inputs,
            store,
            file,
            earlier,
            trace,
            probes,
            detector: DisturbanceDetector::new(None),
            next_write: NextWrite::default(),
            began: clock::now(),
            virtual_time_spent: Nanos::ZERO,
            rounds_needed: None,
            done,
            total: plan.requests(),
        })
    }

    pub(super) fn plan(&self) -> &'a Plan {
        self.inputs.plan
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.inputs.context.interrupt.is_set()
    }

    /// How long the run has measured, including loading and warm-up.
    pub(super) fn elapsed(&self) -> Nanos {
        if self.plan().file.virtual_time { self.virtual_time_spent } else { clock::now().saturating_sub(self.began) }
    }

    /// A detector for a block, with the samples that an earlier run has of it.
    pub(super) fn reset_detector(&mut self, states: &[CaseState<'_>]) {
        // Without this value the detector assumes that of Linux.
        let ticks_per_second = meter::machine_load().ok().map(|load: MachineLoad| load.ticks_per_second as f64);
        self.detector = DisturbanceDetector::new(ticks_per_second);
        let earlier = states.iter().flat_map(|state| &state.case.samples);
        earlier.filter(|sample| sample.disturbed.is_none()).for_each(|sample| self.detector.learn(sample));
    }

    /// Probes the machine's ceilings with the thread counts of a block, while its workers are stopped.
    pub(super) fn probe(&mut self, pool: &mut WorkerPool<'_>, block: &ModelBlock, moment: Moment) {
        let threads: Vec<usize> = block.slots.iter().map(|slot| slot.threads).collect();
        if !self.plan().file.virtual_time && !self.is_interrupted() {
            let (model, conditions) = (block.model.name.clone(), environment::conditions_now());
            let conditions = ConditionsAt { moment, model, conditions };
            self.pending.push(Entry::Conditions(Box::new(conditions.clone())));
            self.file.conditions.push(conditions);
        }
        let probes = &mut self.probes;
        let taken = pool.while_stopped(|| probes.take(moment, &block.model.name, &threads));
        if !taken.is_empty() {
            self.pending.push(Entry::Probes(taken.clone()));
        }
        self.file.ceiling_probes.extend(taken);
    }

    /// Reports the request that is about to run.
    pub(super) fn report_request(&mut self, state: &CaseState<'_>) {
        self.total = self.total.max(self.done + 1);
        self.inputs.context.progress.request(&state.plan.id, self.done, self.total);
    }

    /// Shows a message to the user.
    pub(super) fn report(&self, text: &str) {
        self.inputs.context.progress.note(text);
    }

    /// Adds a note to the record and reports it, unless the record has it already.
    pub(super) fn note_once(&mut self, note: String) {
        if !self.file.messages.contains(&note) {
            self.report(&note);
            self.keep_message(note);
        }
    }

    /// Adds a message to the record, unless the record has it already.
    pub(super) fn keep_message(&mut self, message: String) {
        if !self.file.messages.contains(&message) {
            self.pending.push(Entry::Message(message.clone()));
            self.file.messages.push(message);
        }
    }

    /// Adds an entry to the journal, after those that wait for it.
    pub(super) fn add(&mut self, entry: Entry) -> Result<(), Error> {
        for note in self.trace.take_notes() {
            self.note_once(note);
        }
        self.pending.push(entry);
        for entry in std::mem::take(&mut self.pending) {
            self.store.add(&entry)?;
        }
        Ok(())
    }

    /// Adds the status of a case to the journal, if it changed.
    pub(super) fn add_status(&mut self, state: &mut CaseState<'_>) -> Result<(), Error> {
        self.set_status(state);
        match state.new_status() {
            Some((status, error)) => self.add(Entry::Status { case: state.plan.id.clone(), status, error }),
            None => Ok(()),
        }
    }

    /// Sets the status of a case that is still measured.
    fn set_status(&self, state: &mut CaseState<'_>) {
        if state.over {
            return;
        }
        let missing = self.missing(state);
        state.case.status = if missing.is_none() { Status::Ok } else { Status::Skipped };
        state.case.error = missing;
    }

    /// What a case lacks, in words.
    fn missing(&self, state: &CaseState<'_>) -> Option<String> {
        let count = state.case.clean_samples().count();
        match self.rounds_needed {
            None => return Some(format!("not complete: {count} rounds, and {} may need more", Setting::Precision)),
            Some(needed) if count < needed => return Some(format!("not complete: {count} of {needed} rounds")),
            Some(needed) => {
                if let Some(pass) = state.lacks(needed.min(self.plan().file.instrumented_runs)) {
                    return Some(format!("not complete: requests of the {} pass are missing", pass.name()));
                }
            }
        }
        let is_to_be_repeated = |round| state.is_disturbed(round) && state.repeats(round) < MOST_REPEATS;
        let is_due = state.due || self.open_round.is_some_and(is_to_be_repeated);
        is_due.then(|| "not complete: a disturbed request was not repeated".to_owned())
    }

    /// Ends a case that has no reply; returns the reason unless the run was interrupted.
    pub(super) fn fail_case(&mut self, state: &mut CaseState<'_>, error: RequestError) -> Option<String> {
        let (status, reason) = match error {
            RequestError::Failed(reason) => (Status::Failed, reason),
            RequestError::Timeout(reason) => (Status::Timeout, reason),
            RequestError::Interrupted => return None,
        };
        self.report(&format!("{}: {reason}", state.plan.id));
        state.fail(status, reason.to_string());
        Some(reason.into())
    }

    /// Writes `run.json` with the present results, unless it was written a moment ago: the time to write it grows with the samples, which
    /// are in the journal already.
    pub(super) fn publish_when_due(&mut self, states: &mut [CaseState<'_>]) -> Result<(), Error> {
        if self.next_write.is_due(self.done) { self.publish(states) } else { Ok(()) }
    }

    /// Takes the cases of a block over into the record.
    pub(super) fn take_over(&mut self, states: &mut [CaseState<'_>]) {
        for state in states {
            self.set_status(state);
            self.file.cases[state.index].clone_from(&state.case);
        }
    }

    fn publish(&mut self, states: &mut [CaseState<'_>]) -> Result<(), Error> {
        let began = clock::now();
        self.take_over(states);
        let findings = (self.inputs.context.analyse)(&self.file);
        self.file.set_findings(findings);
        self.store.write_run(&self.file)?;
        self.next_write = NextWrite::after(began, self.done);
        Ok(())
    }

    /// Completes the record and closes the files.
    pub(super) fn finish(mut self) -> Result<RunFile, Error> {
        if let Some(problem) = self.probes.problem() {
            self.note_once(problem);
        }
        self.probes.quit();
        self.file.interrupted = self.is_interrupted();
        if !self.file.plan.virtual_time {
            self.file.throttle_events_after = environment::throttle_events_now().into();
        }
        self.file.finished = rfc3339(clock::unix_time()).into();
        let findings = (self.inputs.context.analyse)(&self.file);
        self.file.set_findings(findings);
        self.trace.finish()?;
        self.store.finish(&self.file)?;
        Ok(self.file)
    }
}

/// When a file is written again. Its cost grows with the requests, so that writing it every so many of them would take a time that grows
/// with their square.
#[derive(Clone, Copy, Default)]
struct NextWrite {
    at: Nanos,
    requests: usize,
}

impl NextWrite {
    /// The least time between two writes, and the least number of requests.
    const LEAST: (Nanos, usize) = (Nanos::from_secs(1), 16);

    /// After twenty times the time since `began`, or after half as many requests again as there are, whichever comes first. The second
    /// holds where time is virtual and does not pass.
    fn after(began: Nanos, requests: usize) -> Self {
        let now = clock::now();
        let (time, number) = Self::LEAST;
        let pause = time.max(now.saturating_sub(began) * 20);
        Self { at: now + pause, requests: requests + number.max(requests / 2) }
    }

    fn is_due(self, requests: usize) -> bool {
        clock::now() >= self.at || requests >= self.requests
    }
}
