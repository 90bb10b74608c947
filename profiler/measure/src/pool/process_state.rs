//! Observes a worker process from outside: whether it is stopped, and how much CPU time it has used.

/// The longest wait for a process to stop, in milliseconds.
const STOP_LIMIT_MS: i32 = 500;

/// Waits until the system reports that the process is stopped. Returns after a limit in any case, because its CPU time is checked
/// afterwards.
pub(super) fn wait_until_stopped(pid: u32) {
    for _ in 0..STOP_LIMIT_MS {
        match stat(pid) {
            Some(stat) if matches!(stat.state, b'T' | b't' | b'Z') => return,
            Some(_) => sleep(1),
            None => return,
        }
    }
}

/// User and system time in the kernel's clock ticks; `None` if the system does not report it.
pub(super) fn cpu_ticks(pid: u32) -> Option<u64> {
    stat(pid).map(|stat| stat.ticks)
}

/// Sleeps in real time, even if the clock of this thread is virtual.
#[allow(unsafe_code, reason = "poll has no safe wrapper in std")]
pub(super) fn sleep(milliseconds: i32) {
    // SAFETY: no entries: the call only waits.
    unsafe { libc::poll(std::ptr::null_mut(), 0, milliseconds) };
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `pid (name) state ppid ... utime stime ...`: fields 3, 14 and 15; the name may contain anything, so fields are counted from its end.
fn parse(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let mut times = fields.skip(10).map(str::parse::<u64>);
    Some(Stat { state, ticks: times.next()?.ok()? + times.next()?.ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_file_with_parentheses_in_the_name() {
        let text = "4242 (in) fer (o) T 1 4242 4242 0 -1 1077936128 900 0 3 0 125 17 0 0 20 0 3 0 100 930000000 125250 18446744073709551615\n";
        assert_eq!(parse(text), Some(Stat { state: b'T', ticks: 142 }));
        assert_eq!(parse("nonsense"), None);
    }
}
