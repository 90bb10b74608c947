//! The server's processes as a worker measures them: memory, CPU time and storage of the one that listens and of its children,
//! read around a request; memory during it ten times a second, by a thread of this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use traces::Nanos;

use super::protocol::MemoryEdge;
use meter::process::{ProcessMeter, ProcessReading, listener};
use meter::{MemoryPoint, Timeline};

/// Why there is no figure of a server from before its load.
pub(super) const BEFORE: &str = "the server's processes are measured from the moment at which it can answer";

/// A server's family of processes.
pub(super) struct Family {
    pid: u32,
    meter: Arc<Mutex<ProcessMeter>>,
}

impl Family {
    /// The family of the process that the user named, that the session started, or that listens where the server answers.
    pub(super) fn of(remote: &engine_api::Remote, named: Option<u32>) -> Result<Self, String> {
        let found = || match remote.address {
            Some(address) => listener(address),
            None => Err("the server's address is not known: name its process with --pid".to_owned()),
        };
        let pid = named.or(remote.pid).map_or_else(found, Ok)?;
        let meter = ProcessMeter::attach(pid).map_err(|error| error.to_string())?;
        if pid != std::process::id() && meter.has(std::process::id()) && named.is_some() {
            return Err(format!(
                "this program descends from process {pid}: its family is not the server's; name the server's own process with --pid"
            ));
        }
        Ok(Self { pid, meter: Arc::new(Mutex::new(meter)) })
    }

    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn read(&self) -> Result<ProcessReading, String> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner).read().map_err(|error| error.to_string())
    }

    pub(super) fn reset_peak(&self) {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner).reset_peak();
    }

    /// Reads the family's memory in the background, so that the highest sum of several processes is seen too.
    pub(super) fn watch(&self) -> Result<Timeline, String> {
        let meter = Arc::clone(&self.meter);
        Timeline::start_with(move |at| {
            let reading = meter.lock().unwrap_or_else(PoisonError::into_inner).read().ok()?;
            Some(point(at, &reading))
        })
    }
}

/// Memory of a family as the edge of a request.
pub(super) const fn edge(reading: &ProcessReading) -> MemoryEdge {
    let memory = reading.memory;
    MemoryEdge { resident: memory.resident, anonymous: memory.anonymous, file: memory.file + memory.shared }
}

/// What the system counted between two readings, named as in the registry of counters.
#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(super) fn counted(earlier: &ProcessReading, later: &ProcessReading) -> BTreeMap<String, f64> {
    let count = |one: u64, other: u64| Some(other.saturating_sub(one) as f64);
    let told = |one: Option<u64>, other: Option<u64>| count(one?, other?);
    let figures = [
        ("cpu_user_s", Some(later.cpu_user_s - earlier.cpu_user_s)),
        ("cpu_system_s", Some(later.cpu_system_s - earlier.cpu_system_s)),
        ("minor_faults", count(earlier.minor_faults, later.minor_faults)),
        ("major_faults", count(earlier.major_faults, later.major_faults)),
        ("voluntary_switches", told(earlier.voluntary_switches, later.voluntary_switches)),
        ("involuntary_switches", told(earlier.involuntary_switches, later.involuntary_switches)),
        ("read_bytes", told(earlier.read_bytes, later.read_bytes)),
        ("written_bytes", told(earlier.written_bytes, later.written_bytes)),
    ];
    figures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

const fn point(at: Nanos, reading: &ProcessReading) -> MemoryPoint {
    let edge = edge(reading);
    MemoryPoint { at, resident: edge.resident, anonymous: edge.anonymous, file: edge.file }
}
