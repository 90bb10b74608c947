//! What the system's refusals mean for the user, and what to do about each.

use super::system::Errno;

/// What is refused: the mode decides which right it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// An event of a processor, in user mode.
    Processor,
    /// An event of the kernel, which happens in kernel mode.
    Kernel,
}

/// Why an event could not be opened.
pub(super) fn explain(Errno(code): Errno, asked: Asked, paranoid: Option<i64>) -> String {
    let level = paranoid.map_or_else(|| "unknown".to_owned(), |level| level.to_string());
    // Level 2 lets everybody count in user mode, level 1 in kernel mode too.
    let enough = if asked == Asked::Kernel { 1 } else { 2 };
    match code {
        libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV | libc::ENXIO => {
            "this machine offers no such hardware event (a virtual machine without a PMU, or a processor without it): measure on bare metal, or let the hypervisor pass the PMU through".to_owned()
        }
        libc::EACCES | libc::EPERM if paranoid.is_some_and(|level| level <= enough) => {
            format!("perf_event_open is refused though perf_event_paranoid = {level}: a container's seccomp filter does that; allow the call or run outside of the container")
        }
        libc::EACCES | libc::EPERM if asked == Asked::Kernel => {
            format!("it happens in the kernel, and perf_event_paranoid = {level} forbids to count there (without it the count would be 0): `sudo sysctl kernel.perf_event_paranoid=1`, or give the binary CAP_PERFMON; faults and switches by getrusage need no right")
        }
        libc::EACCES | libc::EPERM => {
            format!("perf_event_paranoid = {level} forbids it: `sudo sysctl kernel.perf_event_paranoid=2`, or give the binary CAP_PERFMON")
        }
        libc::ENOSYS => "this system has no perf_event_open: the kernel lacks CONFIG_PERF_EVENTS, or a container's filter hides it".to_owned(),
        libc::EMFILE | libc::ENFILE => "too many open files: raise `ulimit -n`".to_owned(),
        libc::EINVAL => "the kernel does not know this event in this form (EINVAL): name others with --counters".to_owned(),
        libc::ENOSPC | libc::EBUSY => "the processor's counters are taken by another profiler: end it, or name fewer with --counters".to_owned(),
        code => format!("perf_event_open failed: {}", std::io::Error::from_raw_os_error(code)),
    }
}

/// Why an open group could not be switched on.
pub(super) fn explain_switch(Errno(code): Errno) -> String {
    format!("the counter opened but could not be enabled: {}", std::io::Error::from_raw_os_error(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_what_to_do() {
        let text = |code, level| explain(Errno(code), Asked::Processor, level);
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
        assert!(text(libc::EINVAL, None).contains("--counters"));
        assert!(text(libc::EIO, None).contains("failed"));
    }

    #[test]
    fn events_of_the_kernel_take_another_right() {
        let text = |level| explain(Errno(libc::EACCES), Asked::Kernel, Some(level));
        assert!(text(2).contains("perf_event_paranoid=1") && text(2).contains("would be 0"));
        assert!(text(1).contains("seccomp"));
    }
}
