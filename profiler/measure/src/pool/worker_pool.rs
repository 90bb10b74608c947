//! [`WorkerPool`]: the workers of a block. They are started when needed, and work one at a time while the others are stopped.

use std::path::Path;

use engine_api::{Advice as _, Caps, Phase};
use models::Bytes;
use record::{Reason, Setting};
use redaction::Sensitive;
use traces::Nanos;

use super::exit_report::ExitReport;
use super::handle::{LostWorker, StartOptions, WorkerHandle};
use super::worker_folder::WorkerFolder;
use crate::interrupt::Interrupt;
use crate::plan::{ModelBlock, Plan};
use crate::protocol::{FromWorker, Load, Loaded, Open, ToWorker, TracePart};

/// Why a command to a worker failed, as the row of a case reports it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The command failed, or its worker did.
    #[error("{0}")]
    Failed(Reason),
    /// It took longer than the time limit.
    #[error("{0}")]
    Timeout(Reason),
    /// The run was interrupted.
    #[error("the run was interrupted")]
    Interrupted,
}

impl RequestError {
    fn failed(text: impl Into<String>) -> Self {
        Self::Failed(Reason::new(text))
    }
}

/// The workers of one block.
pub(crate) struct WorkerPool<'a> {
    plan: &'a Plan,
    block: &'a ModelBlock,
    binary: &'a Path,
    worker_folder: &'a WorkerFolder,
    interrupt: &'a Interrupt,
    /// Receives the messages of workers for the user.
    notify: &'a dyn Fn(&str),
    /// Where time is virtual, workers are numbered in traces; the numbers of this pool are above this one.
    first_number: u32,
    /// One per worker slot of the block.
    slots: Vec<SlotState>,
    /// Workers that used the processor while another one measured.
    pub(crate) busy_while_stopped: Vec<String>,
}

/// A slot of the block, with or without a worker.
#[derive(Default)]
struct SlotState {
    worker: Option<WorkerHandle>,
    loaded: bool,
}

impl<'a> WorkerPool<'a> {
    /// A pool without workers.
    pub(crate) fn new(
        plan: &'a Plan,
        block: &'a ModelBlock,
        binary: &'a Path,
        worker_folder: &'a WorkerFolder,
        interrupt: &'a Interrupt,
        notify: &'a dyn Fn(&str),
        first_number: u32,
    ) -> Self {
        let slots = block.slots.iter().map(|_| SlotState::default()).collect();
        Self {
            plan,
            block,
            binary,
            worker_folder,
            interrupt,
            notify,
            first_number,
            slots,
            busy_while_stopped: Vec::new(),
        }
    }

    /// Whether the worker of a slot is running and has a session.
    pub(crate) fn is_loaded(&self, slot: usize) -> bool {
        self.slots[slot].worker.is_some() && self.slots[slot].loaded
    }

    /// Engine, model and threads of a slot.
    pub(crate) fn name(&self, slot: usize) -> String {
        let slot = self.block.slots[slot];
        format!("{}/{}/t{}", self.plan.engine(slot).label, self.block.model.name, slot.threads)
    }

    /// Makes a fresh session in a fresh process: what an earlier session leaves behind (grown heaps, touched pages) would
    /// make the first request of this one look smaller. If memory does not suffice for all workers, the others end first.
    pub(crate) fn load(&mut self, slot: usize, part: Option<TracePart>) -> Result<Loaded, RequestError> {
        for (other, state) in self.slots.iter_mut().enumerate() {
            let ends = if other == slot { state.loaded } else { !self.block.together };
            if ends && let Some(worker) = state.worker.take() {
                worker.quit();
                state.loaded = false;
            }
        }
        self.start(slot)?;
        let command = ToWorker::Load(Box::new(self.load_command(slot, part)));
        match self.ask(slot, &command, None) {
            Ok(FromWorker::Loaded(loaded)) => {
                self.slots[slot].loaded = true;
                Ok(*loaded)
            }
            Ok(FromWorker::Failed(reason)) => {
                self.slots[slot].loaded = false;
                Err(RequestError::failed(format!("loading failed: {reason}")))
            }
            Ok(_) => Err(self.unexpected_reply(slot)),
            Err(RequestError::Failed(reason)) => Err(RequestError::failed(format!("loading failed: {reason}"))),
            Err(error) => Err(error),
        }
    }

    fn load_command(&self, slot: usize, part: Option<TracePart>) -> Load {
        let (plan, model, slot) = (self.plan, &self.block.model, self.block.slots[slot]);
        let weights = model.weights.as_ref();
        let mut options = plan.options.load_options(plan.engine(slot), slot.threads, model.context);
        if weights.is_none() && !model.reference.is_empty() {
            options.settings.entry("model".to_owned()).or_insert_with(|| Sensitive::setting("model", &model.reference));
        }
        Load {
            path: weights.map(|weights| weights.path.clone()),
            files: weights.map_or_else(Vec::new, |weights| weights.files.clone()),
            options,
            pid: plan.options.server.pid,
            cold: plan.options.design.cold,
            marks_per_thread: model.marks_per_thread(),
            end_tokens: model.end_tokens.clone(),
            window: weights.and_then(|weights| weights.window),
            part,
        }
    }

    /// Starts the worker of a slot, unless it is running, and opens its engine.
    fn start(&mut self, slot: usize) -> Result<(), RequestError> {
        if self.slots[slot].worker.is_some() {
            return Ok(());
        }
        let name = self.name(slot);
        let planned = self.block.slots[slot];
        let engine = self.plan.engine(planned);
        let options = StartOptions {
            name: name.clone(),
            binary: self.binary.to_path_buf(),
            environment: thread_environment(&engine.caps, planned.threads),
        };
        let worker = WorkerHandle::start(&options, self.worker_folder)
            .map_err(|error| RequestError::failed(error.with_advice()))?;
        self.slots[slot] = SlotState { worker: Some(worker), loaded: false };
        let open = ToWorker::Open(Open {
            engine: engine.engine.clone(),
            counters: self.plan.file.counters.clone(),
            title: name,
            number: self.first_number.saturating_add(self.worker_folder.started()),
        });
        match self.ask(slot, &open, None)? {
            FromWorker::Opened(_) => Ok(()),
            FromWorker::Failed(reason) => {
                // A worker without an engine cannot load: the next attempt starts another one.
                self.slots[slot] = SlotState::default();
                Err(RequestError::Failed(reason))
            }
            _ => Err(self.unexpected_reply(slot)),
        }
    }

    /// Sends a command to one worker and waits for the reply, while the other workers are stopped. A lost worker leaves its slot empty.
    pub(crate) fn ask(
        &mut self,
        slot: usize,
        command: &ToWorker,
        limit: Option<Nanos>,
    ) -> Result<FromWorker, RequestError> {
        let before = self.stop_others(Some(slot));
        let (name, notify) = (self.name(slot), self.notify);
        let Some(worker) = self.slots[slot].worker.as_mut() else {
            return Err(RequestError::failed(format!("worker of {name}: it is not running")));
        };
        let reply = worker.ask(command, limit, self.interrupt, &|text| notify(&format!("{name}: {text}")));
        self.check_stopped(&before);
        let lost = match reply {
            Ok(reply) => return Ok(reply),
            Err(lost) => lost,
        };
        let state = std::mem::take(&mut self.slots[slot]);
        match state.worker {
            // It also ends what it has started (a server, an instance on a cluster).
            Some(worker) if matches!(lost, LostWorker::Interrupted) => worker.quit(),
            worker => drop(worker),
        }
        Err(match lost {
            LostWorker::Exited(report) => RequestError::failed(format!("the worker {report}")),
            LostWorker::TimedOut(report) => RequestError::Timeout(Reason::new(timed_out(limit, &report))),
            LostWorker::Interrupted => RequestError::Interrupted,
            LostWorker::InvalidReply(problem) => RequestError::failed(format!("the worker {problem}")),
        })
    }

    /// Does something else while all workers are stopped.
    pub(crate) fn while_stopped<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let before = self.stop_others(None);
        let done = work();
        self.check_stopped(&before);
        done
    }

    /// Stops all workers but one; returns their CPU time.
    fn stop_others(&mut self, slot: Option<usize>) -> Vec<(usize, u64)> {
        let mut ticks = Vec::new();
        for (other, state) in self.slots.iter_mut().enumerate() {
            if Some(other) != slot
                && let Some(worker) = &mut state.worker
            {
                worker.pause();
                ticks.extend(worker.cpu_ticks().map(|ticks| (other, ticks)));
            }
        }
        ticks
    }

    /// Notes the stopped workers that used the processor nevertheless.
    fn check_stopped(&mut self, before: &[(usize, u64)]) {
        for &(slot, ticks) in before {
            let now = self.slots[slot].worker.as_ref().and_then(WorkerHandle::cpu_ticks);
            let name = self.name(slot);
            if now.is_some_and(|now| now != ticks) && !self.busy_while_stopped.contains(&name) {
                self.busy_while_stopped.push(name);
            }
        }
    }

    /// The error for a reply that does not fit the command. The worker is ended, because its later replies would not fit either.
    pub(crate) fn unexpected_reply(&mut self, slot: usize) -> RequestError {
        self.slots[slot] = SlotState::default();
        RequestError::failed("the worker sent a reply of the wrong type: please report this as a bug")
    }

    /// Ends all workers.
    pub(crate) fn quit(self) {
        for worker in self.slots.into_iter().filter_map(|state| state.worker) {
            worker.quit();
        }
    }
}

/// The variables of a worker with so many threads: most libraries read them once, before their first work.
fn thread_environment(caps: &Caps, threads: usize) -> Vec<(String, String)> {
    caps.thread_variables.iter().map(|name| ((*name).to_owned(), threads.to_string())).collect()
}

fn timed_out(limit: Option<Nanos>, report: &ExitReport) -> String {
    let limit = limit.map_or_else(String::new, |limit| format!(" {} s", limit.as_secs_f64()));
    let phase = report
        .phase
        .map_or_else(|| "between its phases".to_owned(), |phase| format!("in phase {}", Phase::name(phase)));
    let peak = report.peak.map_or_else(String::new, |peak| format!("; peak memory {}", Bytes(peak)));
    format!("the request took longer than {}{limit} and was ended {phase}{peak}", Setting::Timeout)
}

#[cfg(test)]
mod tests {
    use record::PlanFile;

    use super::*;
    use crate::plan::{EngineChoice, Options, PreparedModel, WorkerSlot};

    fn plan() -> Plan {
        let engine = engines::registry::find("mock").unwrap().open().unwrap();
        let engine = EngineChoice {
            label: "mock".to_owned(),
            engine: "mock".to_owned(),
            identity: engine.identity(),
            caps: engine.caps(),
            prunes_last_block: false,
            whole_last_blocks: &[],
        };
        let model = PreparedModel {
            name: "m".to_owned(),
            reference: String::new(),
            origin: "server".to_owned(),
            weights: None,
            end_tokens: Vec::new(),
            template: Err(Reason::new("the prompts are token ids")),
            substitutions: Vec::new(),
            prompts: Vec::new(),
            fillers: Vec::new(),
            passage: Vec::new(),
            context: 0,
            batch: 1,
        };
        let slots = vec![WorkerSlot { engine: 0, threads: 1 }, WorkerSlot { engine: 0, threads: 2 }];
        let block = ModelBlock { model, slots, cases: Vec::new(), together: true };
        Plan { options: Options::default(), file: PlanFile::default(), engines: vec![engine], blocks: vec![block] }
    }

    #[test]
    fn a_worker_that_cannot_start_fails_its_own_rows_with_the_reason() {
        let (plan, folder, interrupt) = (plan(), WorkerFolder::create().unwrap(), Interrupt::default());
        let mut pool =
            WorkerPool::new(&plan, &plan.blocks[0], Path::new("/nowhere/worker"), &folder, &interrupt, &|_| {}, 1);
        for slot in 0..2 {
            match pool.load(slot, None) {
                Err(RequestError::Failed(reason)) => {
                    let text = reason.as_str();
                    assert!(text.contains(&format!("mock/m/t{}", slot + 1)), "{text}");
                    assert!(text.contains("/nowhere/worker cannot be started"), "{text}");
                }
                other => panic!("{other:?}"),
            }
            assert!(!pool.is_loaded(slot));
        }
        pool.quit();
    }
}
