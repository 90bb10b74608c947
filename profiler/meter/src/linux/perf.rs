//! Linux's implementation of [`PerfSystem`]: `perf_event_open` through perf-event2, `/proc` and `/sys`.

use record::Reason;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

use perf_event::Builder;
use perf_event::events::Raw;

use super::usage;
use crate::counters::RequestedCounters;
use crate::perf::{Attributes, Errno, EventHandle, PerfCounters, PerfSystem, Target, self_test};

/// `PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING | PERF_FORMAT_GROUP`
const GROUP_WITH_TIMES: u64 = 1 | 2 | 8;
/// CPU time that the thread of the self-test uses, in microseconds.
const SPIN_US: u64 = 4_000;

/// Opens events of this process, and tests once whether they count at all.
pub(crate) fn open_events(requested: RequestedCounters) -> (PerfCounters, RequestedCounters) {
    static TESTED: OnceLock<Result<(), Reason>> = OnceLock::new();
    let (mut events, requested) = PerfCounters::open(Box::new(LinuxPerf::default()), requested);
    // Where nothing could be opened there is nothing to test.
    let tested =
        if events.is_empty() { &Ok(()) } else { TESTED.get_or_init(|| self_test(&mut LinuxPerf::default(), spin)) };
    let requested = match tested {
        Ok(()) => requested,
        Err(reason) => events.close_all(reason, requested),
    };
    (events, requested)
}

/// Uses CPU time on a new thread; returns how much, in ns.
fn spin() -> Result<u64, Reason> {
    let work = || {
        let started = usage::thread_us()?;
        loop {
            let used = usage::thread_us()?.saturating_sub(started);
            if used >= SPIN_US {
                return Some(used * 1000);
            }
            std::hint::black_box((0..1000_u64).fold(1, u64::wrapping_mul));
        }
    };
    let thread = std::thread::Builder::new().name("self-test".to_owned()).spawn(work);
    let used = thread.map_err(|error| reason!("no thread can be started: {error}"))?.join();
    used.ok().flatten().ok_or_else(|| Reason::new("getrusage(RUSAGE_THREAD) failed"))
}

/// Open events by their handles.
#[derive(Debug, Default)]
struct LinuxPerf {
    events: Vec<Option<perf_event::Counter>>,
}

impl LinuxPerf {
    fn event(&mut self, handle: EventHandle) -> Result<&mut perf_event::Counter, Errno> {
        self.events.get_mut(handle.0).and_then(Option::as_mut).ok_or(Errno(libc::EBADF))
    }
}

/// The error number of a failed call.
fn errno(error: &io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}

impl PerfSystem for LinuxPerf {
    fn open(&mut self, event: &Attributes, target: Target, leader: Option<EventHandle>) -> Result<EventHandle, Errno> {
        let mut builder = Builder::new(Raw::new(event.config).config1(event.config1).config2(event.config2));
        builder.inherit(true).exclude_kernel(event.exclude_kernel);
        if let Target::Thread(id) = target {
            builder.observe_pid(id);
        }
        let attributes = builder.attrs_mut();
        attributes.type_ = event.pmu;
        attributes.read_format = GROUP_WITH_TIMES;
        let opened = match leader {
            Some(leader) => builder.build_with_group(self.event(leader)?),
            None => builder.build(),
        };
        self.events.push(Some(opened.map_err(|error| errno(&error))?));
        Ok(EventHandle(self.events.len() - 1))
    }

    fn switch(&mut self, leader: EventHandle, on: bool) -> Result<(), Errno> {
        let event = self.event(leader)?;
        let switched = if on { event.enable_group() } else { event.disable_group() };
        switched.map_err(|error| errno(&error))
    }

    /// Calls read(2) directly, because perf-event2 allocates for each reading.
    #[allow(
        unsafe_code,
        reason = "perf-event2 gives the descriptor only as a number, which std reads from only unsafely"
    )]
    fn read(&mut self, leader: EventHandle, words: &mut [u64]) -> Result<usize, Errno> {
        #[cfg(any(test, feature = "call-counts"))]
        super::calls::count("perf");
        let descriptor = self.event(leader)?.as_raw_fd();
        let bytes = size_of_val(words);
        // SAFETY: the buffer is valid for so many bytes while it is borrowed, and every pattern of bits is a `u64`.
        let given = unsafe { libc::read(descriptor, words.as_mut_ptr().cast(), bytes) };
        match usize::try_from(given) {
            Ok(given) => Ok(given / size_of::<u64>()),
            Err(_) => Err(errno(&io::Error::last_os_error())),
        }
    }

    fn close(&mut self, event: EventHandle) {
        if let Some(slot) = self.events.get_mut(event.0) {
            *slot = None;
        }
    }

    fn text(&self, path: &str) -> Result<String, Errno> {
        std::fs::read_to_string(path).map_err(|error| errno(&error))
    }

    fn list(&self, path: &str) -> Result<Vec<String>, Errno> {
        let entries = std::fs::read_dir(path).map_err(|error| errno(&error))?;
        let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counter;
    use crate::{Reading, Tally, counter_by_name};

    fn tally(events: &mut PerfCounters, counters: &[&'static Counter], work: impl FnOnce()) -> Tally {
        let (mut before, mut after) = (Reading::default(), Reading::default());
        events.read(counters, &mut before);
        work();
        events.read(counters, &mut after);
        let mut tally = Tally::default();
        tally.add(&before, &after);
        tally
    }

    /// With and without hardware events.
    #[test]
    fn every_event_is_open_or_has_a_reason() {
        let wanted: Vec<_> = crate::COUNTERS.iter().filter(|c| c.source.is_event()).collect();
        let (events, requested) = open_events(RequestedCounters::new(&wanted));
        let mut open: Vec<_> = events.counters().iter().map(|counter| counter.name).collect();
        let mut readable: Vec<_> = requested.readable().iter().map(|counter| counter.name).collect();
        open.sort_unstable();
        readable.sort_unstable();
        assert_eq!(open, readable, "what can be read is open");
        assert!(requested.absent().values().all(|reason| reason.as_str().len() > 20), "{requested:?}");
    }

    /// The kernel's task clock counts threads that start later, and agrees with their CPU time.
    #[test]
    fn later_threads_are_counted() {
        let counters = [counter_by_name("task-clock").unwrap()];
        let (mut events, requested) = open_events(RequestedCounters::new(&counters));
        if events.is_empty() {
            // A sandbox without the call: then there is a reason.
            assert!(requested.absent().contains_key("task_clock_s"));
            return;
        }
        let mut used = 0;
        let tally = tally(&mut events, &counters, || used = spin().unwrap());
        let counted = tally.value(0, counters[0]).unwrap().value;
        assert!(counted >= 0.8 * used as f64 / 1e9, "{counted} s of {used} ns");
    }
}
