//! [`ServerProcesses`]: memory, CPU time and storage of a server's process and its children. They are read before and after a request;
//! memory is also read ten times per second during it, by a thread of this process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine_api::{Advice as _, ServerInfo};
use meter::MemorySampler;
use meter::process::{ProcessMeter, ProcessReading, listener};
use record::{Reason, Recorded, ServerCounters, Setting};

use crate::protocol::MemoryReading;

/// Why a server has no figure from before its load.
pub(super) const BEFORE: &str = "the server's processes are measured only after the server is ready";

/// A server's process and its children.
pub(super) struct ServerProcesses {
    pid: u32,
    meter: Arc<Mutex<ProcessMeter>>,
}

impl ServerProcesses {
    /// The process that the user named, or that the session started, or that listens on the server's address; with its children.
    pub(super) fn find(info: &ServerInfo, named: Option<u32>) -> Result<Self, Reason> {
        let listening = || match info.address {
            Some(address) => listener(address),
            None => {
                Err(Reason::new(format!("the server's address is not known: name its process with {}", Setting::Pid)))
            }
        };
        let pid = named.or(info.pid).map_or_else(listening, Ok)?;
        let meter = ProcessMeter::attach(pid).map_err(|error| Reason::new(error.with_advice()))?;
        if pid != std::process::id() && meter.has(std::process::id()) && named.is_some() {
            return Err(Reason::new(format!(
                "process {pid} is an ancestor of this program, not the server; name the server's own process with {}",
                Setting::Pid
            )));
        }
        Ok(Self { pid, meter: Arc::new(Mutex::new(meter)) })
    }

    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn read(&self) -> Result<ProcessReading, Reason> {
        lock(&self.meter).read().map_err(|error| Reason::new(error.with_advice()))
    }

    /// Resident memory with shared pages counted once. It takes milliseconds per gigabyte: only after loading.
    pub(super) fn proportional(&self) -> Result<u64, Reason> {
        lock(&self.meter).proportional()
    }

    pub(super) fn reset_peak(&self) {
        lock(&self.meter).reset_peak();
    }

    /// Reads the memory in the background, so that the peak of the sum of several processes is measured too.
    pub(super) fn sample_memory(&self) -> Result<MemorySampler, Reason> {
        let meter = Arc::clone(&self.meter);
        MemorySampler::start_with(move |at| {
            // A process that has ended gives no further points; the reading after the request reports it.
            let reading = lock(&meter).read().ok()?;
            Some(memory(&reading).point(at))
        })
    }
}

fn lock(meter: &Mutex<ProcessMeter>) -> MutexGuard<'_, ProcessMeter> {
    meter.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The memory of a reading.
pub(super) const fn memory(reading: &ProcessReading) -> MemoryReading {
    let memory = reading.memory;
    MemoryReading { resident: memory.resident, anonymous: memory.anonymous, file: memory.file + memory.shared }
}

/// CPU time of a reading.
pub(super) fn cpu_seconds(reading: &ProcessReading) -> f64 {
    reading.cpu_user_s + reading.cpu_system_s
}

/// The counters between two readings.
#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(super) fn counters_between(earlier: &ProcessReading, later: &ProcessReading) -> ServerCounters {
    let grown = |earlier: u64, later: u64| later.saturating_sub(earlier) as f64;
    let both = |earlier: &Recorded<u64>, later: &Recorded<u64>| match (earlier, later) {
        (Recorded::Present(earlier), Recorded::Present(later)) => Ok(grown(*earlier, *later)),
        (Recorded::Absent(reason), _) | (_, Recorded::Absent(reason)) => Err(reason.clone()),
    };
    ServerCounters::new([
        Ok(later.cpu_user_s - earlier.cpu_user_s),
        Ok(later.cpu_system_s - earlier.cpu_system_s),
        Ok(grown(earlier.minor_faults, later.minor_faults)),
        Ok(grown(earlier.major_faults, later.major_faults)),
        both(&earlier.voluntary_switches, &later.voluntary_switches),
        both(&earlier.involuntary_switches, &later.involuntary_switches),
        both(&earlier.read_bytes, &later.read_bytes),
        both(&earlier.written_bytes, &later.written_bytes),
    ])
}

/// Bytes that a server read from storage between two readings.
pub(super) fn read_bytes_between(earlier: &ProcessReading, later: &ProcessReading) -> Result<u64, Reason> {
    let bytes = |reading: &ProcessReading| Result::from(reading.read_bytes.clone());
    Ok(bytes(later)?.saturating_sub(bytes(earlier)?))
}

#[cfg(test)]
mod tests {
    use traces::Nanos;

    use super::*;

    fn reading(switches: u64, read_bytes: Recorded<u64>) -> ProcessReading {
        ProcessReading {
            at: Nanos::ZERO,
            processes: 1,
            threads: 1,
            cpu_user_s: 0.0,
            cpu_system_s: 0.0,
            minor_faults: 0,
            major_faults: 0,
            voluntary_switches: switches.into(),
            involuntary_switches: 0.into(),
            read_bytes,
            written_bytes: 0.into(),
            memory: Default::default(),
        }
    }

    #[test]
    fn a_counter_that_one_reading_lacks_has_its_reason() {
        let earlier = ProcessReading { major_faults: 1, cpu_system_s: 0.5, ..reading(1, 7.into()) };
        let later = ProcessReading {
            cpu_user_s: 2.0,
            cpu_system_s: 0.75,
            minor_faults: 5,
            major_faults: 7,
            involuntary_switches: 9.into(),
            written_bytes: 11.into(),
            ..reading(4, Recorded::absent("permission denied"))
        };
        let expected = [
            ("cpu_user_s", Some(2.0)),
            ("cpu_system_s", Some(0.25)),
            ("minor_faults", Some(5.0)),
            ("major_faults", Some(6.0)),
            ("voluntary_switches", Some(3.0)),
            ("involuntary_switches", Some(9.0)),
            ("read_bytes", None),
            ("written_bytes", Some(11.0)),
        ];
        let found = counters_between(&earlier, &later);
        for (name, value) in expected {
            assert_eq!(found.get(name), value, "{name}");
        }
    }
}
