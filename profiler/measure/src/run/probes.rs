//! The machine's limits between the requests of a run: a prober of its own, asked while every engine stands still.
//!
//! One prober serves all thread counts, so that one buffer is in memory; it is stopped like every worker while another one
//! measures. Where it fails the run goes on without it: the probes are `null` with the reason.

use std::path::Path;

use traces::clock;

use super::Interrupt;
use crate::ceilings::{self, Probe, Probed, Short};
use crate::plan::Plan;
use crate::worker::{Home, Worker};
use record::{CeilingProbe, Reasons};

/// When a probe is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Before the first request of a block.
    Before,
    /// Before a round.
    Round(usize),
    /// After the last request of a block.
    After,
}

impl Moment {
    /// In words: rounds count from 1.
    pub(super) fn told(self) -> String {
        match self {
            Self::Round(round) => format!("round {}", round + 1),
            _ => self.name().to_owned(),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Round(_) => "round",
            Self::After => "after",
        }
    }
}

/// The prober of a run.
pub(super) struct Probes<'a> {
    binary: &'a Path,
    home: &'a Home,
    interrupt: &'a Interrupt,
    /// The most threads of the run: what the prober is started with.
    most: usize,
    /// Bytes that a probe reads.
    bytes: u64,
    state: State,
    /// CPU time of the prober when it was stopped, in the kernel's clock ticks.
    ticks: Option<u64>,
    /// It used the processor while it was stopped.
    restless: bool,
}

enum State {
    /// Time is virtual: there is nothing to probe.
    Off,
    /// Not started yet.
    Waiting,
    Alive(Worker),
    /// It failed, and is not tried again.
    Broken(String),
}

impl<'a> Probes<'a> {
    pub(super) fn new(plan: &Plan, bytes: u64, binary: &'a Path, home: &'a Home, interrupt: &'a Interrupt) -> Self {
        let most = plan.file.threads.iter().copied().max().unwrap_or(1);
        let state = if plan.file.virtual_time { State::Off } else { State::Waiting };
        Self { binary, home, interrupt, most, bytes, state, ticks: None, restless: false }
    }

    /// Probes with each thread count. The caller has stopped all other workers.
    pub(super) fn take(&mut self, moment: Moment, model: &str, threads: &[usize]) -> Vec<CeilingProbe> {
        if matches!(self.state, State::Off) || self.interrupt.is_set() {
            return Vec::new();
        }
        if let State::Alive(worker) = &self.state {
            self.restless |= self.ticks.is_some() && worker.cpu_ticks() != self.ticks;
        }
        let mut counts = threads.to_vec();
        counts.sort_unstable();
        counts.dedup();
        let mut taken = Vec::new();
        for threads in counts {
            let found = self.ask(threads);
            if self.interrupt.is_set() {
                break;
            }
            taken.push(CeilingProbe {
                moment: moment.name().to_owned(),
                round: if let Moment::Round(round) = moment { Some(round) } else { None },
                at: crate::drive::rfc3339(clock::unix_time()),
                model: model.to_owned(),
                threads,
                memory_read: found.memory_read,
                compute: found.compute,
                reasons: found.reasons,
            });
        }
        if let State::Alive(worker) = &mut self.state {
            worker.pause();
            self.ticks = worker.cpu_ticks();
        }
        taken
    }

    /// Why there are no probes, once it is known.
    pub(super) fn trouble(&self) -> Option<String> {
        match &self.state {
            State::Broken(reason) => Some(format!(
                "the memory bandwidth is not probed between the rounds: {reason}; whether it drifted cannot be told"
            )),
            _ if self.restless => Some("the prober of the machine's limits used the processor between two probes, though it was stopped: look at `load_others` of the samples".to_owned()),
            _ => None,
        }
    }

    fn ask(&mut self, threads: usize) -> Short {
        if matches!(self.state, State::Waiting) {
            self.state = match ceilings::start(self.binary, self.home, self.most) {
                Ok(worker) => State::Alive(worker),
                Err(reason) => State::Broken(reason),
            };
        }
        let reason = match &mut self.state {
            State::Alive(worker) => {
                match ceilings::put(worker, Probe::Short { threads, bytes: self.bytes }, self.interrupt) {
                    Ok(Probed::Short(found)) => return found,
                    Ok(_) => "the prober gave an answer to another question: please report this as a bug".to_owned(),
                    Err(reason) => reason,
                }
            }
            State::Broken(reason) => reason.clone(),
            State::Off | State::Waiting => String::new(),
        };
        self.state = State::Broken(reason.clone());
        let reasons: Reasons = ["memory_read", "compute"].map(|name| (name.to_owned(), reason.clone())).into();
        Short { reasons, ..Short::default() }
    }

    /// Ends the prober in good order.
    pub(super) fn dismiss(&mut self) {
        if let State::Alive(worker) = std::mem::replace(&mut self.state, State::Off) {
            worker.quit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probes<'a>(home: &'a Home, interrupt: &'a Interrupt, state: State) -> Probes<'a> {
        Probes {
            binary: Path::new("/nowhere/at/all"),
            home,
            interrupt,
            most: 2,
            bytes: 1 << 20,
            state,
            ticks: None,
            restless: false,
        }
    }

    #[test]
    fn a_prober_that_fails_leaves_rows_with_the_reason() {
        let (home, interrupt) = (Home::create().unwrap(), Interrupt::default());
        let mut probes = probes(&home, &interrupt, State::Waiting);
        for moment in [Moment::Before, Moment::Round(3), Moment::After] {
            let taken = probes.take(moment, "m", &[2, 1, 2]);
            assert_eq!(taken.iter().map(|probe| probe.threads).collect::<Vec<_>>(), [1, 2]);
            for probe in &taken {
                assert_eq!((probe.memory_read, probe.compute), (None, None));
                assert!(probe.reasons["memory_read"].contains("/nowhere/at/all"), "{probe:?}");
                assert_eq!(probe.round, if moment == Moment::Round(3) { Some(3) } else { None });
            }
        }
        assert!(probes.trouble().is_some_and(|text| text.contains("/nowhere/at/all")));
        probes.dismiss();
    }

    #[test]
    fn virtual_time_and_an_interrupted_run_are_not_probed() {
        let (home, interrupt) = (Home::create().unwrap(), Interrupt::default());
        assert!(probes(&home, &interrupt, State::Off).take(Moment::Before, "m", &[1]).is_empty());
        interrupt.set();
        let mut waiting = probes(&home, &interrupt, State::Waiting);
        assert!(waiting.take(Moment::Before, "m", &[1]).is_empty() && waiting.trouble().is_none());
        assert_eq!(home.started(), 0, "no process was started for it");
    }
}
