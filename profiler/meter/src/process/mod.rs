//! Another process and its descendants: CPU time, memory, faults, context switches, storage.
//!
//! Used for engines that are measured from outside. The figures are totals of a process tree that changes: the totals of a
//! process that ends between two readings go to the parent that waits for it (`totals` makes sure that nothing counts twice), a
//! process that leaves its parent stays in the tree, and a process id that the system reuses is recognised by its start time.
//! Figures that only the owner of a process may read are absent with a reason. A process that started and ended between two
//! readings is counted through its parent, if the parent waited for it.

mod descendants;
mod totals;

use std::borrow::Cow;
use std::collections::BTreeSet;

use engine_api::Advice;
use record::{Reason, Recorded, Setting};
use traces::{Nanos, clock};

use crate::platform::process::Processes;
use crate::process_snapshot::{ProcessMemory, ProcessSnapshot};
pub use descendants::Descendants;
use totals::ProcessTotals;

/// A process tree at one moment. Times and counts are totals: take the difference of two readings.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessReading {
    /// When it was read.
    pub at: Nanos,
    /// Processes that are alive.
    pub processes: usize,
    /// Their threads.
    pub threads: u64,
    /// CPU time in user mode, in seconds.
    pub cpu_user_s: f64,
    /// CPU time in the kernel.
    pub cpu_system_s: f64,
    /// Page faults served from memory.
    pub minor_faults: u64,
    /// Page faults that waited for storage.
    pub major_faults: u64,
    /// Context switches because a thread waited, of all threads that some reading has seen.
    pub voluntary_switches: Recorded<u64>,
    /// Context switches because the scheduler preferred another thread.
    pub involuntary_switches: Recorded<u64>,
    /// Bytes read from storage.
    pub read_bytes: Recorded<u64>,
    /// Bytes written to storage.
    pub written_bytes: Recorded<u64>,
    /// Memory.
    pub memory: ProcessMemory,
}

/// Why a process cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// No process has this id.
    #[error("process {0} does not exist, or this user may not see it")]
    Absent(u32),
    /// It ended; another process may have its id now.
    #[error("process {0} ended during the measurement: its figures end with the last reading")]
    Ended(u32),
}

impl Advice for ProcessError {
    fn advice(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Absent(_) => Some("give the number of a running process (`pgrep -fa NAME` lists them)".into()),
            Self::Ended(_) => None,
        }
    }
}

/// Reads one process and its descendants.
#[derive(Debug)]
pub struct ProcessMeter {
    system: Processes,
    pid: u32,
    started: u64,
    totals: ProcessTotals,
    /// Highest resident memory of the tree since the last reset.
    highest: u64,
}

/// The process of this machine that listens on an address.
///
/// # Errors
/// When the address is not local, or the process cannot be found.
pub fn listener(address: std::net::SocketAddr) -> Result<u32, Reason> {
    if !address.ip().is_loopback() {
        return Err(reason!(
            "{address} is not a loopback address: if the server runs on this machine, name its process with {}",
            Setting::Pid
        ));
    }
    Processes::system().listener(address.port())
}

impl ProcessMeter {
    /// Starts to read a process.
    ///
    /// # Errors
    /// When no process has this id.
    pub fn attach(pid: u32) -> Result<Self, ProcessError> {
        Self::attach_in(Processes::system(), pid)
    }

    pub(super) fn attach_in(system: Processes, pid: u32) -> Result<Self, ProcessError> {
        let first = system.snapshot(pid).ok_or(ProcessError::Absent(pid))?;
        let mut meter = Self { system, pid, started: first.started, totals: ProcessTotals::default(), highest: 0 };
        meter.read()?;
        Ok(meter)
    }

    /// Whether a process belonged to the tree at the last reading.
    pub fn has(&self, pid: u32) -> bool {
        self.totals.pids().any(|member| member == pid)
    }

    /// The tree now. It takes tens of microseconds per process and thread: use it at the edges of requests, outside of the
    /// timing.
    ///
    /// # Errors
    /// When the process has ended; its descendants are not read then.
    pub fn read(&mut self) -> Result<ProcessReading, ProcessError> {
        let mut roots = vec![self.pid];
        roots.extend(self.totals.pids().filter(|&pid| pid != self.pid));
        let at = clock::now();
        let mut tree = self.system.tree(&roots);
        if tree.first().is_none_or(|first| (first.pid, first.started) != (self.pid, self.started)) {
            return Err(ProcessError::Ended(self.pid));
        }
        // A reused id does not belong to the tree, nor do the children of that process. Parents come before children.
        let mut belonging = BTreeSet::from([self.pid]);
        tree.retain(|member| {
            let belongs = member.pid == self.pid || belonging.contains(&member.parent) || self.totals.contains(member);
            if belongs {
                belonging.insert(member.pid);
            }
            belongs
        });
        Ok(self.sum(at, &tree))
    }

    /// Resident memory of the tree's processes in bytes, with each page that several processes share counted once: the sum of their
    /// proportional set sizes (PSS, `/proc/PID/smaps_rollup`). Pages that processes outside of the tree share count in part.
    ///
    /// The kernel walks all mappings for it, which takes milliseconds per gigabyte: do not call it near a timed region.
    ///
    /// # Errors
    /// Why the system does not report it for one of the processes.
    pub fn proportional(&mut self) -> Result<u64, Reason> {
        self.read().map_err(|error| reason!("{error}"))?;
        self.totals.pids().map(|pid| self.system.proportional(pid)).sum()
    }

    /// Sets the peak to the present resident memory. The system's own peak of each process is reset too, where this user may.
    pub fn reset_peak(&mut self) {
        for pid in self.totals.pids() {
            self.system.reset_peak(pid);
        }
        self.highest = 0;
    }

    fn sum(&mut self, at: Nanos, tree: &[ProcessSnapshot]) -> ProcessReading {
        let [user, system, minor, major, read, written] = self.totals.update(tree);
        let (voluntary, involuntary) = self.totals.switches();
        let mut memory = ProcessMemory::default();
        for member in tree {
            memory.resident += member.memory.resident;
            memory.anonymous += member.memory.anonymous;
            memory.file += member.memory.file;
            memory.shared += member.memory.shared;
        }
        if let [only] = tree {
            self.highest = self.highest.max(only.memory.peak);
        }
        self.highest = self.highest.max(memory.resident);
        memory.peak = self.highest;
        let no_storage = tree.iter().find_map(|member| member.no_storage.clone());
        let storage = |bytes: u64| no_storage.clone().map_or(Recorded::Present(bytes), Recorded::Absent);
        let are_counted = tree.iter().all(|member| member.switches.is_some());
        let switches = |count: u64| match are_counted {
            true => Recorded::Present(count),
            false => Recorded::absent("the system does not report them for another process"),
        };
        ProcessReading {
            at,
            processes: tree.len(),
            threads: tree.iter().map(|member| member.threads).sum(),
            cpu_user_s: Nanos(user).as_secs_f64(),
            cpu_system_s: Nanos(system).as_secs_f64(),
            minor_faults: minor,
            major_faults: major,
            voluntary_switches: switches(voluntary),
            involuntary_switches: switches(involuntary),
            read_bytes: storage(read),
            written_bytes: storage(written),
            memory,
        }
    }
}

// Real processes and recorded trees of Linux; the tests for macOS are in `macos::process`.
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
