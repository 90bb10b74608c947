//! Readings before and after a request, outside of its timed region: memory, CPU time, load of the machine, storage, pressure.

use std::collections::BTreeMap;

use meter::environment::{PressureReader, PressureTotals};
use meter::process::ProcessReading;
use meter::{MachineLoad, VIRTUAL};
use record::{Reason, Reasons, Sample};

use super::open_engine::OpenEngine;
use super::server_processes::{self, ServerProcesses};
use super::value_or_reason;
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
    pub(super) memory: Option<(MemoryReading, MemoryReading)>,
    /// Bytes read from storage.
    pub(super) read_bytes: Result<u64, Reason>,
    /// Counters of the server's processes; empty if this process computes, or if they cannot be read.
    pub(super) server_counters: BTreeMap<String, f64>,
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

    /// Reads everything again, and adds the differences to the sample.
    pub(super) fn finish(self, engine: &mut OpenEngine, sample: &mut Sample) -> Difference {
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
            Some(Err(_)) | None => BTreeMap::new(),
        };
        let load = meter::machine_load();
        let read_bytes = match &server {
            None => self.read_bytes.and_then(|earlier| Ok(engine.meter.read_bytes()?.saturating_sub(earlier))),
            Some(server) => {
                server.clone().and_then(|(earlier, later)| server_processes::read_bytes_between(&earlier, &later))
            }
        };
        match (&engine.pressure, self.pressure) {
            (Some(pressure), Some(earlier)) => pressure.fill(earlier, sample),
            _ => PressureReader::fill_virtual(sample, VIRTUAL),
        }
        let cpu_s = match &server {
            None => own_s.clone(),
            Some(server) => server.clone().map(|(earlier, later)| {
                server_processes::cpu_seconds(&later) - server_processes::cpu_seconds(&earlier)
            }),
        };
        sample.cpu_s = value_or_reason(&mut sample.reasons, "cpu_s", cpu_s);
        // The load of other processes excludes this process and the server.
        let shares = match (&server, sample.cpu_s) {
            (Some(_), None) => Err(Reason::new("the server's own part of the load is not known")),
            (Some(_), Some(server_s)) => self.load.and_then(|earlier| load?.shares_since(&earlier, own_s? + server_s)),
            (None, _) => self.load.and_then(|earlier| load?.shares_since(&earlier, own_s?)),
        };
        if let Err(reason) = &shares {
            sample.reasons.insert("steal".to_owned(), reason.to_string());
        }
        (sample.load_others, sample.steal) = value_or_reason(&mut sample.reasons, "load_others", shares).unzip();
        let memory = add_memory(sample, self.memory, memory_and_peak, self.peak_reset);
        Difference { memory, read_bytes, server_counters }
    }
}

fn read_server(server: &Result<ServerProcesses, Reason>) -> Result<ProcessReading, Reason> {
    server.as_ref().map_err(Reason::clone).and_then(ServerProcesses::read)
}

/// Adds the memory of the request to the sample; returns memory before and after.
fn add_memory(
    sample: &mut Sample,
    earlier: Result<MemoryReading, Reason>,
    later: Result<(MemoryReading, u64), Reason>,
    peak_reset: Result<(), Reason>,
) -> Option<(MemoryReading, MemoryReading)> {
    let reasons = &mut sample.reasons;
    let absent = |reasons: &mut Reasons, fields: &[&str], reason: &Reason| {
        reasons.extend(fields.iter().map(|field| ((*field).to_owned(), reason.to_string())));
    };
    let (earlier, later, peak) = match earlier.and_then(|earlier| later.map(|(later, peak)| (earlier, later, peak))) {
        Ok(readings) => readings,
        Err(reason) => {
            absent(reasons, &["memory_delta_bytes", "memory_peak_delta_bytes", "memory_peak_bytes"], &reason);
            return None;
        }
    };
    sample.memory_delta_bytes = Some(difference(later.resident, earlier.resident));
    match peak_reset {
        Ok(()) => {
            let peak = peak.max(later.resident);
            sample.memory_peak_bytes = Some(peak);
            sample.memory_peak_delta_bytes = Some(difference(peak, earlier.resident));
        }
        Err(reason) => absent(reasons, &["memory_peak_delta_bytes", "memory_peak_bytes"], &reason),
    }
    Some((earlier, later))
}

fn difference(later: u64, earlier: u64) -> i64 {
    i64::try_from(i128::from(later) - i128::from(earlier)).unwrap_or(i64::MAX)
}
