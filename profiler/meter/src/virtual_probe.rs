//! The instruments of a virtual machine: the accounts that its engine keeps ([`traces::virtual_counters`]).

use record::Reason;
use traces::virtual_counters::{self, VirtualCounters};

use super::{Counter, MachineLoad, Reading, Source, Tick, Usage, VIRTUAL};

/// Whether a virtual machine has this counter: it has no hardware events, and no memory that is resident.
pub(super) fn has(counter: &Counter) -> bool {
    matches!(counter.source, Source::Usage(usage) if usage != Usage::Resident)
}

/// Fills a reading; invalid where this thread's time is real.
pub(super) fn read(counters: &[&'static Counter], reading: &mut Reading) {
    let Some(ledger) = virtual_counters::read() else { return };
    for (tick, counter) in reading.ticks.iter_mut().zip(counters) {
        if let Source::Usage(usage) = counter.source {
            *tick = Tick { value: figure(&ledger, usage), enabled: 0, running: 0, valid: true };
        }
    }
}

/// In the units of `getrusage`: CPU time in microseconds, all of it in user mode.
fn figure(ledger: &VirtualCounters, usage: Usage) -> u64 {
    match usage {
        Usage::CpuUser => ledger.cpu.as_nanos() / 1000,
        Usage::CpuSystem | Usage::Resident => 0,
        Usage::MinorFaults => ledger.minor_faults,
        Usage::MajorFaults => ledger.major_faults,
        Usage::VoluntarySwitches => ledger.voluntary_switches,
        Usage::InvoluntarySwitches => ledger.involuntary_switches,
        Usage::ReadBytes => ledger.read_bytes,
    }
}

pub(super) fn cpu_seconds() -> f64 {
    virtual_counters::read().unwrap_or_default().cpu.as_secs_f64()
}

pub(super) fn read_bytes() -> Result<u64, Reason> {
    virtual_counters::read().map(|ledger| ledger.read_bytes).ok_or_else(|| Reason::new(VIRTUAL))
}

/// Processor time by kind, in nanoseconds; `None` where this thread's time is real.
pub(super) fn machine_load() -> Option<MachineLoad> {
    let ledger = virtual_counters::read()?;
    Some(MachineLoad {
        busy: (ledger.cpu + ledger.other_processes_cpu).as_nanos(),
        total: ledger.capacity.as_nanos(),
        steal: ledger.stolen.as_nanos(),
        ticks_per_second: 1_000_000_000,
    })
}

#[cfg(test)]
mod tests {
    use traces::Nanos;
    use traces::clock::VirtualClock;

    use super::super::{Meter, Tally, default_counters};
    use super::*;

    #[test]
    fn a_meter_of_a_virtual_machine_reads_its_accounts() {
        let _clock = VirtualClock::install();
        let mut meter = Meter::virtual_machine(&default_counters());
        let load = MachineLoad::read().unwrap();
        let before = meter.read();
        virtual_counters::add(VirtualCounters {
            capacity: Nanos::from_millis(8),
            cpu: Nanos::from_millis(4),
            other_processes_cpu: Nanos::from_millis(2),
            stolen: Nanos::from_millis(1),
            minor_faults: 12,
            ..VirtualCounters::ZERO
        });
        let mut tally = Tally::default();
        tally.add(&before, &meter.read());
        let value = |name: &str| {
            let place = meter.counters().iter().position(|counter| counter.name == name).unwrap();
            tally.value(place, meter.counters()[place]).unwrap().value
        };
        assert!((value("cpu_user_s") - 0.004).abs() < 1e-12);
        assert!((value("minor_faults") - 12.0).abs() < 1e-12 && value("read_bytes").abs() < 1e-12);
        let (others, steal) = MachineLoad::read().unwrap().shares_since(&load, meter.cpu_seconds()).unwrap();
        assert!((others - 0.25).abs() < 1e-9 && (steal - 0.125).abs() < 1e-9);
        assert!(meter.absent().contains_key("resident_bytes") && meter.memory().is_err());
    }
}
