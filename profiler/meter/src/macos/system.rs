//! [`System`]: the interface to macOS: questions, and answers as plain bytes.
//!
//! Parsing, arithmetic and fallbacks also run on recorded answers, on any system. The system calls are in `kernel`, which only
//! macOS compiles.

use record::Reason;
use std::fmt;

/// One question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question<'a> {
    /// `proc_pid_rusage` of this process id, in this version: see [`super::rusage`].
    Rusage {
        /// The process.
        pid: u32,
        /// Of the structure: 6, or 4 where 6 is not known.
        version: u8,
    },
    /// `proc_listpids(PROC_PPID_ONLY)`: the process ids of the children, 32 bits each.
    Children(u32),
    /// `proc_pidinfo(PROC_PIDTASKALLINFO)`: the parent, threads and faults of a process.
    Process(u32),
    /// `getrusage(RUSAGE_SELF)`.
    OwnUsage,
    /// `task_info` of this task, in this flavor.
    Task(u32),
    /// `host_statistics64` in this flavor.
    Host(u32),
    /// `thread_selfcounts` of the calling thread, in this kind; a private call that may be missing.
    Thread(u32),
    /// `sysctlbyname`.
    Value(&'a str),
    /// `mach_timebase_info`: numerator and denominator, 32 bits each.
    Timebase,
    /// `getloadavg`: three 64-bit floats.
    Load,
    /// `thread_info(THREAD_BASIC_INFO)` of the calling thread: user and system time, each in seconds and microseconds of 32 bits.
    ThreadTime,
    /// `notify_get_state` of this name: 64 bits.
    Notified(&'a str),
    /// `IOPSGetProvidingPowerSourceType`: text.
    PowerSource,
    /// Charge of the internal battery, its present and its full capacity, 32 bits each.
    Battery,
    /// `-[NSProcessInfo isLowPowerModeEnabled]`: one byte.
    LowPowerMode,
    /// `qos_class_self`: 32 bits.
    Qos,
    /// `proc_reset_footprint_interval` of this process; an empty answer. A private call that may be missing.
    ResetFootprint,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The error number of the C library.
    Errno(i32),
    /// The error number of Mach.
    Mach(i32),
    /// This system has no such call or no such value.
    Absent,
}

/// `EPERM`, `ESRCH`: the same numbers on every system that this is compiled for.
const NOT_PERMITTED: i32 = 1;
const NO_PROCESS: i32 = 3;

/// A source of answers: the kernel, or recorded answers.
pub(crate) trait System: fmt::Debug + Send {
    /// Fills `answer` from its start and returns the number of bytes.
    fn ask(&self, question: Question<'_>, answer: &mut [u8]) -> Result<usize, Refusal>;
}

/// Copies as many bytes as fit into an answer; returns their number.
pub(super) fn put(answer: &mut [u8], bytes: &[u8]) -> Result<usize, Refusal> {
    let length = bytes.len().min(answer.len());
    answer[..length].copy_from_slice(&bytes[..length]);
    Ok(length)
}

/// The bytes of an answer, at most `N`. Integers have the byte order of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Answer<N> {
    /// Asks a question.
    ///
    /// # Errors
    /// When the system refuses; the reason names the call and the fix.
    pub(crate) fn to(system: &dyn System, question: Question<'_>) -> Result<Self, Reason> {
        let mut bytes = [0; N];
        let length = system.ask(question, &mut bytes).map_err(|refusal| question.refused(refusal))?;
        Ok(Self { bytes, length: length.min(N) })
    }

    /// The bytes of the answer.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The 64-bit integer at this offset; `None` where the answer is too short, as on older systems.
    pub(crate) fn u64(&self, offset: usize) -> Option<u64> {
        Some(u64::from_ne_bytes(self.bytes().get(offset..offset.checked_add(8)?)?.try_into().ok()?))
    }

    /// The 32-bit integer at this offset.
    pub(crate) fn u32(&self, offset: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(self.bytes().get(offset..offset.checked_add(4)?)?.try_into().ok()?))
    }
}

impl Question<'_> {
    /// The call, with its subject.
    fn describe(&self) -> String {
        match self {
            Self::Rusage { pid, version } => format!("proc_pid_rusage, version {version}, of process {pid}"),
            Self::Children(pid) => format!("proc_listpids, children of process {pid}"),
            Self::Process(pid) => format!("proc_pidinfo of process {pid}"),
            Self::OwnUsage => "getrusage".to_owned(),
            Self::Task(flavor) => format!("task_info, flavor {flavor}"),
            Self::Host(flavor) => format!("host_statistics64, flavor {flavor}"),
            Self::Thread(kind) => format!("thread_selfcounts, kind {kind}"),
            Self::Value(name) => (*name).to_owned(),
            Self::Timebase => "mach_timebase_info".to_owned(),
            Self::ThreadTime => "thread_info".to_owned(),
            Self::Load => "getloadavg".to_owned(),
            Self::Notified(name) => format!("the notification {name}"),
            Self::PowerSource => "IOPSGetProvidingPowerSourceType".to_owned(),
            Self::Battery => "IOPSGetPowerSourceDescription".to_owned(),
            Self::LowPowerMode => "NSProcessInfo".to_owned(),
            Self::Qos => "qos_class_self".to_owned(),
            Self::ResetFootprint => "proc_reset_footprint_interval".to_owned(),
        }
    }

    /// The reason for a refusal.
    fn refused(&self, refusal: Refusal) -> Reason {
        let call = self.describe();
        match (self, refusal) {
            (_, Refusal::Absent) => reason!("{call}: not on this system"),
            (Self::Rusage { .. } | Self::Children(_), Refusal::Errno(NO_PROCESS)) => {
                reason!("{call}: no such process")
            }
            (Self::Rusage { .. } | Self::Children(_), Refusal::Errno(NOT_PERMITTED)) => {
                reason!("{call}: it belongs to another user; run as that user, or with sudo")
            }
            (_, Refusal::Errno(number)) => reason!("{call}: refused with error {number}"),
            (_, Refusal::Mach(number)) => reason!("{call}: refused with Mach error {number}"),
        }
    }
}
