//! Another process and its children: CPU time, memory, faults, switches, storage.
//!
//! For engines that are watched from outside. The figures are totals of a family that comes and goes: a process that ends
//! between two readings hands its account to the parent that waits for it (`account` sees that nothing counts twice), one
//! that leaves its parent stays in the family, and a number that the system gives to a stranger meanwhile is not mistaken for
//! it (its start time differs). What the system lets only the owner see is `None` with its reason.
//! A process that began and ended between two readings is counted through its parent's account, where the parent waited for it.

mod account;
mod kin;

use std::collections::{BTreeSet, VecDeque};

use traces::{Nanos, clock};

use super::platform::process::Processes;
use account::Account;
pub(super) use account::FIGURES;
pub use kin::Kin;
use record::{Reason, Reasons};

/// What one process of the family shows at one moment: the shape that every platform fills.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) pid: u32,
    pub(super) parent: u32,
    /// When it began, in a unit of the system: tells apart two processes with one number.
    pub(super) started: u64,
    pub(super) threads: u64,
    /// Totals of the process and of the children that it has waited for, in the order of [`FIGURES`].
    pub(super) total: [u64; FIGURES],
    /// Of that, the children's. Where the system mixes them up: the total itself.
    pub(super) reaped: [u64; FIGURES],
    /// Switches of each living thread: its number, voluntary, involuntary. `None` where the system does not tell.
    pub(super) switches: Option<Vec<(u32, u64, u64)>>,
    pub(super) memory: ProcessMemory,
    /// Why the bytes from and to storage are not known.
    pub(super) no_storage: Option<Reason>,
}

/// The processes of these numbers and their children, each once; those that do not exist (any more) are left out. A walk from the first
/// number reads each parent before its children: the account relies on it.
pub(super) fn walk(
    roots: &[u32],
    member: impl Fn(u32) -> Option<Member>,
    children: impl Fn(u32) -> Vec<u32>,
) -> Vec<Member> {
    let mut seen = BTreeSet::new();
    let mut family = Vec::new();
    for &first in roots {
        let mut waiting = VecDeque::from([first]);
        while let Some(pid) = waiting.pop_front() {
            if !seen.insert(pid) {
                continue;
            }
            let Some(member) = member(pid) else { continue };
            waiting.extend(children(pid));
            family.push(member);
        }
    }
    family
}

/// Memory of a family at one moment, in bytes. A page that several of its processes share is counted in each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessMemory {
    /// Resident: anonymous + files + shared.
    pub resident: u64,
    /// Heap and stacks.
    pub anonymous: u64,
    /// Mapped files.
    pub file: u64,
    /// Shared memory without a file.
    pub shared: u64,
    /// The highest resident memory: of one process the system's own mark, of several the highest sum that was read.
    pub peak: u64,
}

/// A family at one moment. Times and counts are totals: take the difference of two readings.
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
    account: Account,
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
        let first = system.member(pid).ok_or(ProcessError::Absent(pid))?;
        let mut meter = Self { system, pid, started: first.started, account: Account::default(), highest: 0 };
        meter.read()?;
        Ok(meter)
    }

    /// Whether a process belonged to the family at the last reading.
    pub fn has(&self, pid: u32) -> bool {
        self.account.members().any(|member| member == pid)
    }

    /// The family now. Tens of microseconds a process and thread: for the edges of requests, outside of the timing.
    ///
    /// # Errors
    /// When the process has ended; what became of its children is not told then.
    pub fn read(&mut self) -> Result<ProcessReading, ProcessError> {
        let mut roots = vec![self.pid];
        roots.extend(self.account.members().filter(|&pid| pid != self.pid));
        let at = clock::now();
        let mut family = self.system.family(&roots);
        if family.first().is_none_or(|first| (first.pid, first.started) != (self.pid, self.started)) {
            return Err(ProcessError::Ended(self.pid));
        }
        // A number that a stranger has by now does not belong to the family, nor do that one's children; parents stand first.
        let mut kin = BTreeSet::from([self.pid]);
        family.retain(|member| {
            let belongs = member.pid == self.pid || kin.contains(&member.parent) || self.account.knows(member);
            if belongs {
                kin.insert(member.pid);
            }
            belongs
        });
        Ok(self.sum(at, &family))
    }

    /// Makes the present resident memory the highest. Of one process the system's own mark is set back too, where this user may.
    pub fn reset_peak(&mut self) {
        for pid in self.account.members() {
            self.system.reset_peak(pid);
        }
        self.highest = 0;
    }

    fn sum(&mut self, at: Nanos, family: &[Member]) -> ProcessReading {
        let mut reasons = Reasons::new();
        let [user, system, minor, major, read, written] = self.account.update(family);
        let (voluntary, involuntary) = self.account.switches();
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
