//! Hardware counters through `perf_event_open`: one inherited group, opened before any thread exists, never reset.
//!
//! Inherit makes threads that begin later count too, and child processes. A member that cannot be opened is explained and
//! left out; where a group is refused, each event is tried by itself.

use std::collections::BTreeMap;
use std::io;

use perf_event::events::Hardware;
use perf_event::{Builder, Group};

use super::super::{Counter, Event, MAX_COUNTERS, Reading, Source, Tick};

/// The open events of this process.
pub(super) struct PerfCounters {
    group: Option<Group>,
    members: Vec<Member>,
}

impl std::fmt::Debug for PerfCounters {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PerfCounters").field("group", &self.group.is_some()).field("members", &self.members).finish()
    }
}

#[derive(Debug)]
struct Member {
    name: &'static str,
    counter: perf_event::Counter,
    grouped: bool,
}

impl PerfCounters {
    /// Opens and enables the hardware events among `wanted`.
    pub(super) fn open(wanted: &[&'static Counter], absent: &mut BTreeMap<String, String>) -> Self {
        let events: Vec<_> = wanted.iter().filter_map(|counter| Some((counter.name, hardware(counter)?))).collect();
        let mut this = Self { group: None, members: Vec::new() };
        if events.is_empty() {
            return this;
        }
        this.group = Group::builder().inherit(true).build_group().ok();
        for (name, event) in events {
            match this.add(name, event) {
                Ok(()) => {}
                Err(error) => {
                    absent.insert(name.to_owned(), explain(&error, paranoid()));
                }
            }
        }
        this.enable(absent);
        this
    }

    fn add(&mut self, name: &'static str, event: Hardware) -> io::Result<()> {
        let mut builder = Builder::new(event);
        builder.inherit(true);
        if let Some(group) = &mut self.group
            && let Ok(counter) = group.add(&builder)
        {
            self.members.push(Member { name, counter, grouped: true });
            return Ok(());
        }
        let counter = builder.build()?;
        self.members.push(Member { name, counter, grouped: false });
        Ok(())
    }

    fn enable(&mut self, absent: &mut BTreeMap<String, String>) {
        let group = self.group.as_mut().map_or(Ok(()), Group::enable);
        self.members.retain_mut(|member| {
            let enabled = if member.grouped {
                group.as_ref().map_err(explain_enable).copied()
            } else {
                member.counter.enable().map_err(|error| explain_enable(&error))
            };
            match enabled {
                Ok(()) => true,
                Err(reason) => {
                    absent.insert(member.name.to_owned(), reason);
                    false
                }
            }
        });
    }

    /// Puts every event into its place of the reading: one system call for the group, one more for each event outside.
    pub(super) fn read(&mut self, counters: &[&'static Counter], reading: &mut Reading) {
        if self.members.is_empty() {
            return;
        }
        let group = self.group.as_mut().and_then(|group| group.read().ok());
        for member in &mut self.members {
            let Some(place) = counters.iter().take(MAX_COUNTERS).position(|counter| counter.name == member.name) else {
                continue;
            };
            let tick = if member.grouped {
                group.as_ref().and_then(|data| {
                    let entry = data.get(&member.counter)?;
                    Some(tick(entry.value(), data.time_enabled(), data.time_running()))
                })
            } else {
                member.counter.read_full().ok().map(|data| tick(data.count(), data.time_enabled(), data.time_running()))
            };
            reading.ticks[place] = tick.unwrap_or_default();
        }
    }
}

fn tick(value: u64, enabled: Option<std::time::Duration>, running: Option<std::time::Duration>) -> Tick {
    let nanos = |time: Option<std::time::Duration>| time.and_then(|time| u64::try_from(time.as_nanos()).ok());
    Tick { value, enabled: nanos(enabled).unwrap_or(0), running: nanos(running).unwrap_or(0), valid: true }
}

fn hardware(counter: &Counter) -> Option<Hardware> {
    let Source::Hardware(event) = counter.source else { return None };
    Some(match event {
        Event::Cycles => Hardware::CPU_CYCLES,
        Event::Instructions => Hardware::INSTRUCTIONS,
        Event::CacheReferences => Hardware::CACHE_REFERENCES,
        Event::CacheMisses => Hardware::CACHE_MISSES,
        Event::Branches => Hardware::BRANCH_INSTRUCTIONS,
        Event::BranchMisses => Hardware::BRANCH_MISSES,
        Event::StalledFrontend => Hardware::STALLED_CYCLES_FRONTEND,
        Event::StalledBackend => Hardware::STALLED_CYCLES_BACKEND,
        Event::PerformanceCycles | Event::PerformanceInstructions | Event::Energy => return None,
    })
}

/// What the system's error means for the user, and what to do.
fn explain(error: &io::Error, paranoid: Option<i64>) -> String {
    let code = error.raw_os_error();
    let level = paranoid.map_or_else(|| "unknown".to_owned(), |level| level.to_string());
    match code {
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV | libc::ENXIO) => {
            "this machine offers no such hardware event (a virtual machine without a PMU, or a processor without it): measure on bare metal, or let the hypervisor pass the PMU through".to_owned()
        }
        Some(libc::EACCES | libc::EPERM) if paranoid.is_some_and(|level| level <= 2) => {
            format!("perf_event_open is refused though perf_event_paranoid = {level}: a container's seccomp filter does that; allow the call or run outside of the container")
        }
        Some(libc::EACCES | libc::EPERM) => {
            format!("perf_event_paranoid = {level} forbids it: `sudo sysctl kernel.perf_event_paranoid=2`, or give the binary CAP_PERFMON")
        }
        Some(libc::ENOSYS) => "this system has no perf_event_open: the kernel lacks CONFIG_PERF_EVENTS, or a container's filter hides it".to_owned(),
        Some(libc::EMFILE | libc::ENFILE) => "too many open files: raise `ulimit -n`".to_owned(),
        Some(libc::EINVAL) => "the kernel does not know this event in this form (EINVAL): name others with --counters".to_owned(),
        Some(libc::ENOSPC | libc::EBUSY) => "the processor's counters are taken by another profiler: end it, or name fewer with --counters".to_owned(),
        _ => format!("perf_event_open failed: {error}"),
    }
}

fn explain_enable(error: &io::Error) -> String {
    format!("the counter opened but could not be enabled: {error}")
}

fn paranoid() -> Option<i64> {
    std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_what_to_do() {
        let text = |code, level| explain(&io::Error::from_raw_os_error(code), level);
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

    /// Hardware or not, every event is either read or explained, and a group that exists counts a thread that begins later.
    #[test]
    fn events_open_or_explain_themselves() {
        let wanted: Vec<_> = super::super::super::COUNTERS.iter().filter(|c| hardware(c).is_some()).collect();
        let mut absent = BTreeMap::new();
        let mut perf = PerfCounters::open(&wanted, &mut absent);
        assert_eq!(perf.members.len() + absent.len(), wanted.len());
        let counters: Vec<_> = wanted.iter().copied().filter(|c| !absent.contains_key(c.name)).collect();
        let mut before = Reading::default();
        perf.read(&counters, &mut before);
        let worker = std::thread::Builder::new()
            .name("spin".into())
            .spawn(|| (0..1_000_000_u64).fold(1, u64::wrapping_add))
            .unwrap();
        assert!(worker.join().unwrap() > 0);
        let mut after = Reading::default();
        perf.read(&counters, &mut after);
        if let Some(place) = counters.iter().position(|c| c.name == "instructions") {
            assert!(after.ticks[place].value > before.ticks[place].value);
        }
    }
}
