//! Another process and its descendants: CPU time, memory, faults, context switches, storage.
//!
//! Used for engines that are measured from outside. The figures are totals of a process tree that changes: the totals of a
//! process that ends between two readings go to the parent that waits for it (`totals` makes sure that nothing counts twice), a
//! process that leaves its parent stays in the tree, and a process id that the system reuses is recognised by its start time.
//! Figures that only the owner of a process may read are `None` with a reason. A process that started and ended between two
//! readings is counted through its parent, if the parent waited for it.

mod descendants;
mod totals;

use std::collections::BTreeSet;

use record::{Reason, Reasons};
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
    /// Living processes.
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
    /// Context switches because a thread waited; of threads that were seen by some reading.
    pub voluntary_switches: Option<u64>,
    /// Context switches because another thread was due.
    pub involuntary_switches: Option<u64>,
    /// Bytes read from storage.
    pub read_bytes: Option<u64>,
    /// Bytes written to storage.
    pub written_bytes: Option<u64>,
    /// Memory.
    pub memory: ProcessMemory,
    /// Why a field is `None`.
    pub reasons: Reasons,
}

/// Why a process cannot be watched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// There is none of this number.
    #[error(
        "process {0} does not exist, or this user may not see it: give the number of a running process (`pgrep -fa NAME` lists them)"
    )]
    Absent(u32),
    /// It ended, and maybe its number belongs to another one now.
    #[error("process {0} ended while it was watched: its figures end with the last reading")]
    Ended(u32),
}

/// Watches one process and its children.
#[derive(Debug)]
pub struct ProcessMeter {
    system: Processes,
    pid: u32,
    started: u64,
    totals: ProcessTotals,
    /// Highest resident memory of the family since the mark was set.
    highest: u64,
}

/// The process of this machine that listens at an address.
///
/// # Errors
/// When it is another machine's, or the process cannot be seen.
pub fn listener(address: std::net::SocketAddr) -> Result<u32, Reason> {
    if !address.ip().is_loopback() {
        return Err(reason!(
            "{address} is not an address of this machine alone: if the server runs here, name its process with --pid"
        ));
    }
    Processes::system().listener(address.port())
}

impl ProcessMeter {
    /// Looks at a process for the first time.
    ///
    /// # Errors
    /// When there is none of this number.
    pub fn attach(pid: u32) -> Result<Self, ProcessError> {
        Self::attach_in(Processes::system(), pid)
    }

    pub(super) fn attach_in(system: Processes, pid: u32) -> Result<Self, ProcessError> {
        let first = system.snapshot(pid).ok_or(ProcessError::Absent(pid))?;
        let mut meter = Self { system, pid, started: first.started, totals: ProcessTotals::default(), highest: 0 };
        meter.read()?;
        Ok(meter)
    }

    /// Whether a process belonged to the family at the last reading.
    pub fn has(&self, pid: u32) -> bool {
        self.totals.members().any(|member| member == pid)
    }

    /// The family now. Tens of microseconds a process and thread: for the edges of requests, outside of the timing.
    ///
    /// # Errors
    /// When the process has ended; what became of its children is not told then.
    pub fn read(&mut self) -> Result<ProcessReading, ProcessError> {
        let mut roots = vec![self.pid];
        roots.extend(self.totals.members().filter(|&pid| pid != self.pid));
        let at = clock::now();
        let mut family = self.system.tree(&roots);
        if family.first().is_none_or(|first| (first.pid, first.started) != (self.pid, self.started)) {
            return Err(ProcessError::Ended(self.pid));
        }
        // A number that a stranger has by now does not belong to the family, nor do that one's children; parents stand first.
        let mut kin = BTreeSet::from([self.pid]);
        family.retain(|member| {
            let belongs = member.pid == self.pid || kin.contains(&member.parent) || self.totals.knows(member);
            if belongs {
                kin.insert(member.pid);
            }
            belongs
        });
        Ok(self.sum(at, &family))
    }

    /// Makes the present resident memory the highest. Of one process the system's own mark is set back too, where this user may.
    pub fn reset_peak(&mut self) {
        for pid in self.totals.members() {
            self.system.reset_peak(pid);
        }
        self.highest = 0;
    }

    fn sum(&mut self, at: Nanos, family: &[ProcessSnapshot]) -> ProcessReading {
        let mut reasons = Reasons::new();
        let [user, system, minor, major, read, written] = self.totals.update(family);
        let (voluntary, involuntary) = self.totals.switches();
        let mut memory = ProcessMemory::default();
        for member in family {
            memory.resident += member.memory.resident;
            memory.anonymous += member.memory.anonymous;
            memory.file += member.memory.file;
            memory.shared += member.memory.shared;
        }
        if let [only] = family {
            self.highest = self.highest.max(only.memory.peak);
        }
        self.highest = self.highest.max(memory.resident);
        memory.peak = self.highest;
        let no_storage = family.iter().find_map(|member| member.no_storage.clone());
        if let Some(reason) = &no_storage {
            reasons.insert("read_bytes".to_owned(), reason.to_string());
            reasons.insert("written_bytes".to_owned(), reason.to_string());
        }
        let counted = family.iter().all(|member| member.switches.is_some());
        if !counted {
            for field in ["voluntary_switches", "involuntary_switches"] {
                reasons.insert(field.to_owned(), "the system does not tell them of another process".to_owned());
            }
        }
        ProcessReading {
            at,
            processes: family.len(),
            threads: family.iter().map(|member| member.threads).sum(),
            cpu_user_s: Nanos(user).as_secs_f64(),
            cpu_system_s: Nanos(system).as_secs_f64(),
            minor_faults: minor,
            major_faults: major,
            voluntary_switches: counted.then_some(voluntary),
            involuntary_switches: counted.then_some(involuntary),
            read_bytes: no_storage.is_none().then_some(read),
            written_bytes: no_storage.is_none().then_some(written),
            memory,
            reasons,
        }
    }
}

// They run real processes and recorded trees of Linux; the Mac's have their own beside `macos::process`.
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
