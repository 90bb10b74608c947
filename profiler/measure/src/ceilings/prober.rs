//! [`ProberProcess`]: a worker process without an engine, which measures limits of the machine.

use std::path::Path;

use engine_api::Advice as _;
use record::Reason;
use traces::Nanos;

use crate::interrupt::Interrupt;
use crate::pool::{LostWorker, StartOptions, WorkerFolder, WorkerHandle};
use crate::protocol::{FromWorker, ProberCommand, ProberReply, ToWorker};

/// No measurement takes longer.
const LIMIT: Nanos = Nanos::from_secs(180);

/// A reply of another type than the command asks for.
pub(crate) const WRONG_REPLY: &str = "the prober sent a reply of the wrong type: please report this as a bug";

/// A running prober.
pub(crate) struct ProberProcess(WorkerHandle);

impl ProberProcess {
    /// Starts a prober with so many threads.
    pub(crate) fn start(binary: &Path, worker_folder: &WorkerFolder, threads: usize) -> Result<Self, Reason> {
        let variables = engines::threads::VARIABLES;
        let options = StartOptions {
            name: format!("ceilings/t{threads}"),
            binary: binary.to_path_buf(),
            environment: variables.iter().map(|name| ((*name).to_owned(), threads.to_string())).collect(),
        };
        WorkerHandle::start(&options, worker_folder).map(Self).map_err(|error| Reason::new(error.with_advice()))
    }

    /// Measures a limit.
    pub(crate) fn probe(&mut self, command: ProberCommand, interrupt: &Interrupt) -> Result<ProberReply, Reason> {
        match self.0.ask(&ToWorker::Probe(command), Some(LIMIT), interrupt, &|_| {}) {
            Ok(FromWorker::Probed(reply)) => Ok(*reply),
            Ok(FromWorker::Failed(reason)) => Err(reason),
            Ok(_) => Err(Reason::new(WRONG_REPLY)),
            Err(LostWorker::Exited(report)) => Err(Reason::new(format!("the prober {report}"))),
            Err(LostWorker::TimedOut(_)) => Err(Reason::new(format!("the prober did not answer within {LIMIT}"))),
            Err(LostWorker::Interrupted) => Err(Reason::new("interrupted")),
            Err(LostWorker::InvalidReply(problem)) => Err(Reason::new(format!("the prober {problem}"))),
        }
    }

    /// Stops the process until the next probe.
    pub(crate) fn pause(&mut self) {
        self.0.pause();
    }

    /// CPU time of the process in the kernel's clock ticks.
    pub(crate) fn cpu_ticks(&self) -> Option<u64> {
        self.0.cpu_ticks()
    }

    /// Ends the process.
    pub(crate) fn quit(self) {
        self.0.quit();
    }
}
