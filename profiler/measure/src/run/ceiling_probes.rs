//! [`CeilingProbes`]: short measurements of the machine's ceilings between the requests of a run, while all engines are stopped.
//!
//! One prober process serves all thread counts, so that only one buffer is in memory. It is stopped, like every worker, while another
//! one measures. If it fails, the run continues without it: the probes are `null` with the reason.

use std::path::Path;

use record::{CeilingProbe, Moment, Reason};
use traces::clock;

use crate::ceilings::{ProberProcess, WRONG_REPLY};
use crate::interrupt::Interrupt;
use crate::plan::Plan;
use crate::pool::WorkerFolder;
use crate::protocol::{ProberCommand, ProberReply, ShortProbe};
use crate::timestamp::rfc3339;

/// The prober of a run.
pub(super) struct CeilingProbes<'a> {
    binary: &'a Path,
    worker_folder: &'a WorkerFolder,
    interrupt: &'a Interrupt,
    /// The threads of the prober: the most of the run.
    most: usize,
    /// Bytes that a probe reads.
    bytes: u64,
    state: ProberState,
    /// CPU time of the prober when it was stopped, in the kernel's clock ticks.
    ticks: Option<u64>,
    /// Whether it used the processor while it was stopped.
    busy_while_stopped: bool,
}

enum ProberState {
    /// Time is virtual: there is nothing to probe.
    Off,
    /// It is not started yet.
    NotStarted,
    Running(ProberProcess),
    /// It failed, and is not started again.
    Failed(Reason),
}

impl<'a> CeilingProbes<'a> {
    pub(super) fn new(
        plan: &Plan,
        bytes: u64,
        binary: &'a Path,
        worker_folder: &'a WorkerFolder,
        interrupt: &'a Interrupt,
    ) -> Self {
        let most = plan.file.threads.iter().copied().max().unwrap_or(1);
        let state = if plan.file.virtual_time { ProberState::Off } else { ProberState::NotStarted };
        Self { binary, worker_folder, interrupt, most, bytes, state, ticks: None, busy_while_stopped: false }
    }

    /// Probes with each thread count. The caller has stopped all workers.
    pub(super) fn take(&mut self, moment: Moment, model: &str, threads: &[usize]) -> Vec<CeilingProbe> {
        if matches!(self.state, ProberState::Off) || self.interrupt.is_set() {
            return Vec::new();
        }
        if let ProberState::Running(prober) = &self.state {
            self.busy_while_stopped |= self.ticks.is_some() && prober.cpu_ticks() != self.ticks;
        }
        let mut counts = threads.to_vec();
        counts.sort_unstable();
        counts.dedup();
        let mut taken = Vec::new();
        for threads in counts {
            let found = self.probe(threads).unwrap_or_else(ShortProbe::absent);
            if self.interrupt.is_set() {
                break;
            }
            taken.push(CeilingProbe {
                moment,
                at: rfc3339(clock::unix_time()),
                model: model.to_owned(),
                threads,
                memory_read: found.memory_read,
                compute: found.compute,
                notes: found.notes,
            });
        }
        if let ProberState::Running(prober) = &mut self.state {
            prober.pause();
            self.ticks = prober.cpu_ticks();
        }
        taken
    }

    /// Why there are no probes, or why they may be wrong.
    pub(super) fn problem(&self) -> Option<String> {
        match &self.state {
            ProberState::Failed(reason) => Some(format!(
                "the memory bandwidth is not probed between the rounds: {reason}; whether it drifted is unknown"
            )),
            _ if self.busy_while_stopped => Some(
                "the prober of the machine's ceilings used the processor between two probes, while it was stopped: check `load_others` of the samples"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// A short probe. A prober that fails is not used again.
    fn probe(&mut self, threads: usize) -> Result<ShortProbe, Reason> {
        let result = self.try_probe(threads);
        if let Err(reason) = &result {
            self.state = ProberState::Failed(reason.clone());
        }
        result
    }

    fn try_probe(&mut self, threads: usize) -> Result<ShortProbe, Reason> {
        if matches!(self.state, ProberState::NotStarted) {
            self.state = ProberState::Running(ProberProcess::start(self.binary, self.worker_folder, self.most)?);
        }
        match &mut self.state {
            ProberState::Running(prober) => {
                match prober.probe(ProberCommand::Short { threads, bytes: self.bytes }, self.interrupt)? {
                    ProberReply::Short(found) => Ok(found),
                    _ => Err(Reason::new(WRONG_REPLY)),
                }
            }
            ProberState::Failed(reason) => Err(reason.clone()),
            ProberState::Off | ProberState::NotStarted => Err(Reason::new("the prober is not running")),
        }
    }

    /// Ends the prober.
    pub(super) fn quit(&mut self) {
        if let ProberState::Running(prober) = std::mem::replace(&mut self.state, ProberState::Off) {
            prober.quit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probes<'a>(worker_folder: &'a WorkerFolder, interrupt: &'a Interrupt, state: ProberState) -> CeilingProbes<'a> {
        CeilingProbes {
            binary: Path::new("/nowhere/at/all"),
            worker_folder,
            interrupt,
            most: 2,
            bytes: 1 << 20,
            state,
            ticks: None,
            busy_while_stopped: false,
        }
    }

    #[test]
    fn a_prober_that_fails_leaves_probes_with_the_reason() {
        let (worker_folder, interrupt) = (WorkerFolder::create().unwrap(), Interrupt::default());
        let mut probes = probes(&worker_folder, &interrupt, ProberState::NotStarted);
        for moment in [Moment::Before, Moment::Round(3), Moment::After] {
            let taken = probes.take(moment, "m", &[2, 1, 2]);
            assert_eq!(taken.iter().map(|probe| probe.threads).collect::<Vec<_>>(), [1, 2]);
            for probe in &taken {
                assert_eq!(probe.memory_read.reason(), probe.compute.reason());
                assert!(probe.reasons()["memory_read"].contains("/nowhere/at/all"), "{probe:?}");
                assert_eq!(probe.moment, moment);
            }
        }
        assert!(probes.problem().is_some_and(|text| text.contains("/nowhere/at/all")));
        probes.quit();
    }

    #[test]
    fn virtual_time_and_an_interrupted_run_are_not_probed() {
        let (worker_folder, interrupt) = (WorkerFolder::create().unwrap(), Interrupt::default());
        assert!(probes(&worker_folder, &interrupt, ProberState::Off).take(Moment::Before, "m", &[1]).is_empty());
        interrupt.set();
        let mut probes = probes(&worker_folder, &interrupt, ProberState::NotStarted);
        assert!(probes.take(Moment::Before, "m", &[1]).is_empty() && probes.problem().is_none());
        assert_eq!(worker_folder.started(), 0, "no process was started");
    }
}
