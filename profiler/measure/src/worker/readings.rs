//! Readings before and after a request, outside of its timed region: memory, CPU time, load of the machine, storage, pressure.

use meter::environment::{PressureReader, PressureTotals, RequestPressure};
use meter::process::ProcessReading;
use meter::{MachineLoad, VIRTUAL};
use record::{Reason, Recorded, ServerCounters};

use super::open_engine::OpenEngine;
use super::server_processes::{self, ServerProcesses};
use crate::protocol::MemoryReading;

/// The readings before a request.
pub(super) struct Before {
    memory: Result<MemoryReading, Reason>,
    peak_reset: Result<(), Reason>,
    cpu_s: Result<f64, Reason>,
    load: Result<MachineLoad, Reason>,
    read_bytes: Result<u64, Reason>,
    pressure: Option<PressureTotals>,
    /// The server's processes, if another process computes.
    server: Option<Result<ProcessReading, Reason>>,
}

/// What the readings before and after a request show.
pub(super) struct Difference {
    /// Memory before and after.
    pub(super) memory: Result<(MemoryReading, MemoryReading), Reason>,
    /// Resident memory after the request less before it.
    pub(super) memory_delta_bytes: Recorded<i64>,
    /// Highest resident memory during the request less before it.
    pub(super) memory_peak_delta_bytes: Recorded<i64>,
    /// Highest resident memory during the request.
    pub(super) memory_peak_bytes: Recorded<u64>,
    /// CPU time of the engine: of this process, or of the server's.
    pub(super) cpu_s: Recorded<f64>,
    /// Share of the processor time that other processes took.
    pub(super) load_others: Recorded<f64>,
    /// Share of time that the hypervisor took away.
    pub(super) steal: Recorded<f64>,
    /// Throttling, stalls and frequency.
    pub(super) pressure: RequestPressure,
    /// Bytes read from storage.
    pub(super) read_bytes: Result<u64, Reason>,
    /// Counters of the server's processes; empty if this process computes.
    pub(super) server_counters: ServerCounters,
}

impl Before {
    /// Reads everything once.
    pub(super) fn read(engine: &mut OpenEngine) -> Self {
        if let Some(Ok(server)) = &engine.server {
            server.reset_peak();
        }
        Self {
            pressure: engine.pressure.as_ref().map(PressureReader::totals),
            read_bytes: engine.meter.read_bytes(),
            load: meter::machine_load(),
            memory: engine.memory(),
            server: engine.server.as_ref().map(read_server),
            // Last, so that the readings above are not part of the peak.
            peak_reset: engine.meter.reset_peak(),
            cpu_s: engine.meter.cpu_seconds(),
        }
    }

    /// Reads everything again.
    pub(super) fn finish(self, engine: &mut OpenEngine) -> Difference {
        let own_s = self.cpu_s.and_then(|earlier| Ok(engine.meter.cpu_seconds()? - earlier));
        let server: Option<Result<(ProcessReading, ProcessReading), Reason>> = match (self.server, &engine.server) {
            (Some(earlier), Some(server)) => Some(earlier.and_then(|earlier| Ok((earlier, read_server(server)?)))),
            _ => None,
        };
        let memory_and_peak = match &server {
            None => engine.meter.memory().map(|memory| {
                let reading =
                    MemoryReading { resident: memory.resident, anonymous: memory.anonymous, file: memory.file };
                (reading, memory.peak)
            }),
            Some(server) => server.clone().map(|(_, later)| (server_processes::memory(&later), later.memory.peak)),
        };
        let server_counters = match &server {
            Some(Ok((earlier, later))) => server_processes::counters_between(earlier, later),
            Some(Err(reason)) => ServerCounters::absent(reason.clone()),
            None => ServerCounters::default(),
        };
        let load = meter::machine_load();
        let read_bytes = match &server {
            None => self.read_bytes.and_then(|earlier| Ok(engine.meter.read_bytes()?.saturating_sub(earlier))),
            Some(server) => {
                server.clone().and_then(|(earlier, later)| server_processes::read_bytes_between(&earlier, &later))
            }
        };
        let pressure = match (&engine.pressure, self.pressure) {
            (Some(pressure), Some(earlier)) => pressure.since(earlier),
            _ => RequestPressure::absent(&Reason::new(VIRTUAL)),
        };
        let cpu_s = match &server {
            None => own_s.clone(),
            Some(server) => server.clone().map(|(earlier, later)| {
                server_processes::cpu_seconds(&later) - server_processes::cpu_seconds(&earlier)
            }),
        };
        // The load of other processes excludes this process and the server.
        let shares = match (&server, &cpu_s) {
            (Some(_), Err(_)) => Err(Reason::new("the server's own part of the load is not known")),
            (Some(_), Ok(server_s)) => self.load.and_then(|earlier| load?.shares_since(&earlier, own_s? + server_s)),
            (None, _) => self.load.and_then(|earlier| load?.shares_since(&earlier, own_s?)),
        };
        let memory = self.memory.and_then(|earlier| memory_and_peak.map(|(later, peak)| (earlier, later, peak)));
        let peak = memory.clone().and_then(|(_, later, peak)| self.peak_reset.map(|()| peak.max(later.resident)));
        Difference {
            memory_delta_bytes: memory
                .clone()
                .map(|(earlier, later, _)| difference(later.resident, earlier.resident))
                .into(),
            memory_peak_delta_bytes: memory
                .clone()
                .and_then(|(earlier, ..)| Ok(difference(peak.clone()?, earlier.resident)))
                .into(),
            memory_peak_bytes: peak.clone().into(),
            cpu_s: cpu_s.into(),
            load_others: shares.clone().map(|(others, _)| others).into(),
            steal: shares.map(|(_, steal)| steal).into(),
            pressure,
            memory: memory.map(|(earlier, later, _)| (earlier, later)),
            read_bytes,
            server_counters,
        }
    }
}

fn read_server(server: &Result<ServerProcesses, Reason>) -> Result<ProcessReading, Reason> {
    server.as_ref().map_err(Reason::clone).and_then(ServerProcesses::read)
}

fn difference(later: u64, earlier: u64) -> i64 {
    i64::try_from(i128::from(later) - i128::from(earlier)).unwrap_or(i64::MAX)
}
