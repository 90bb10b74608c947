//! What a refused event means, and what to do about it.

use record::{Reason, Setting};

use super::system::Errno;

/// In which mode an event counts: the mode decides which permission it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventMode {
    /// User mode only: events of the processor.
    User,
    /// Kernel mode: events of the kernel.
    Kernel,
}

/// Why an event could not be opened.
pub(super) fn explain(Errno(code): Errno, mode: EventMode, paranoid: Option<i64>) -> Reason {
    let level = paranoid.map_or_else(|| "unknown".to_owned(), |level| level.to_string());
    // Level 2 allows everybody to count in user mode, level 1 in kernel mode too.
    let enough = if mode == EventMode::Kernel { 1 } else { 2 };
    match code {
        libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV | libc::ENXIO => Reason::new(
            "this machine has no such hardware event (a virtual machine without a PMU, or a processor without the event): measure on bare metal, or let the hypervisor pass the PMU through",
        ),
        libc::EACCES | libc::EPERM if paranoid.is_some_and(|level| level <= enough) => {
            reason!(
                "perf_event_open is refused although perf_event_paranoid = {level} allows it, probably by a container's seccomp filter: allow the call or run outside the container"
            )
        }
        libc::EACCES | libc::EPERM if mode == EventMode::Kernel => {
            reason!(
                "perf_event_paranoid = {level} forbids counting in the kernel, where this event happens (a count in user mode would be 0): `sudo sysctl kernel.perf_event_paranoid=1`, or give the binary CAP_PERFMON; the faults and switches of getrusage need no permission"
            )
        }
        libc::EACCES | libc::EPERM => {
            reason!(
                "perf_event_paranoid = {level} forbids counting: `sudo sysctl kernel.perf_event_paranoid=2`, or give the binary CAP_PERFMON"
            )
        }
        libc::ENOSYS => Reason::new(
            "perf_event_open does not exist: the kernel lacks CONFIG_PERF_EVENTS, or a container's seccomp filter hides it",
        ),
        libc::EMFILE | libc::ENFILE => Reason::new("too many open files: raise `ulimit -n`"),
        libc::EINVAL => reason!("the kernel rejects this event (EINVAL): name others with {}", Setting::Counters),
        libc::ENOSPC | libc::EBUSY => {
            reason!("another profiler uses the processor's counters: end it, or name fewer with {}", Setting::Counters)
        }
        code => reason!("perf_event_open failed: {}", std::io::Error::from_raw_os_error(code)),
    }
}

/// Why an open group could not be switched on.
pub(super) fn explain_switch(Errno(code): Errno) -> Reason {
    reason!("the counter opened but could not be enabled: {}", std::io::Error::from_raw_os_error(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_advice() {
        let text = |code, level| explain(Errno(code), EventMode::User, level).to_string();
        assert!(text(libc::ENOENT, Some(2)).contains("without a PMU"));
        assert!(text(libc::EOPNOTSUPP, None).contains("bare metal"));
        assert!(
            text(libc::EACCES, Some(4)).contains("perf_event_paranoid = 4")
                && text(libc::EACCES, Some(4)).contains("sysctl")
        );
        assert!(text(libc::EPERM, Some(1)).contains("seccomp"));
        assert!(text(libc::ENOSYS, None).contains("CONFIG_PERF_EVENTS"));
        assert!(text(libc::EMFILE, None).contains("ulimit"));
        assert!(text(libc::EBUSY, None).contains("another profiler"));
        assert!(text(libc::EINVAL, None).contains("`counters`"));
        assert!(text(libc::EIO, None).contains("failed"));
    }

    #[test]
    fn events_of_the_kernel_need_another_permission() {
        let text = |level| explain(Errno(libc::EACCES), EventMode::Kernel, Some(level)).to_string();
        assert!(text(2).contains("perf_event_paranoid=1") && text(2).contains("would be 0"));
        assert!(text(1).contains("seccomp"));
    }
}
