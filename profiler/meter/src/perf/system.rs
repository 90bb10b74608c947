//! [`PerfSystem`]: the interface to the kernel. All other code of `perf` also runs on a fake implementation.

use std::fmt::Debug;

/// An error number of the system, such as `libc::ENOENT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

/// An open event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EventHandle(pub(crate) usize);

/// The event types with fixed numbers in `perf_event_attr`; all others are listed in sysfs.
pub(super) const HARDWARE: u32 = 0;
pub(super) const SOFTWARE: u32 = 1;
pub(super) const CACHE: u32 = 3;
pub(super) const RAW: u32 = 4;

/// What to count, as fields of `perf_event_attr`. Every event is inherited by threads that start later, and is disabled at first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// Number of the PMU (`type`).
    pub(crate) pmu: u32,
    /// Which event of it.
    pub(crate) config: u64,
    /// First extension of `config`.
    pub(crate) config1: u64,
    /// Second extension of `config`.
    pub(crate) config2: u64,
    /// Count in user mode only.
    pub(crate) exclude_kernel: bool,
}

/// Whose events are counted: this thread, or another thread of this process by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The calling thread and those that it starts later.
    Caller,
    /// The thread of this id and those that it starts later.
    Thread(i32),
}

/// The kernel's interface for events.
pub(crate) trait PerfSystem: Debug {
    /// Opens a disabled event; `leader` is the first event of its group.
    fn open(&mut self, event: &Attributes, target: Target, leader: Option<EventHandle>) -> Result<EventHandle, Errno>;

    /// Enables or disables a group, including the events that threads have inherited.
    fn switch(&mut self, leader: EventHandle, on: bool) -> Result<(), Errno>;

    /// Reads a group: its number of events, the time enabled, the time running (both in ns), then the value of each event in the
    /// order of opening. Returns the number of words.
    fn read(&mut self, leader: EventHandle, words: &mut [u64]) -> Result<usize, Errno>;

    /// Closes an event.
    fn close(&mut self, event: EventHandle);

    /// The text of a file of `/sys` or `/proc`.
    fn text(&self, path: &str) -> Result<String, Errno>;

    /// The names in a folder of `/sys` or `/proc`.
    fn list(&self, path: &str) -> Result<Vec<String>, Errno>;
}

/// A system without events.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(super) struct NoSystem;

#[cfg(not(target_os = "linux"))]
impl PerfSystem for NoSystem {
    fn open(&mut self, _: &Attributes, _: Target, _: Option<EventHandle>) -> Result<EventHandle, Errno> {
        Err(Errno(libc::ENOSYS))
    }

    fn switch(&mut self, _: EventHandle, _: bool) -> Result<(), Errno> {
        Err(Errno(libc::ENOSYS))
    }

    fn read(&mut self, _: EventHandle, _: &mut [u64]) -> Result<usize, Errno> {
        Err(Errno(libc::ENOSYS))
    }

    fn close(&mut self, _: EventHandle) {}

    fn text(&self, _: &str) -> Result<String, Errno> {
        Err(Errno(libc::ENOSYS))
    }

    fn list(&self, _: &str) -> Result<Vec<String>, Errno> {
        Err(Errno(libc::ENOSYS))
    }
}

/// `kernel.perf_event_paranoid`.
pub(super) fn paranoid(system: &dyn PerfSystem) -> Option<i64> {
    system.text("/proc/sys/kernel/perf_event_paranoid").ok()?.trim().parse().ok()
}
