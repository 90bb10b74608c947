//! The whole reader on recorded Macs: an Apple Silicon one, one with an older system, a virtual one.

use std::collections::BTreeMap;

use super::memory::{COMPRESSED, EXTERNAL, FOOTPRINT, HOST_CPU_LOAD_INFO, RESIDENT, TASK_VM_INFO};
use super::recorded::{Recorded, rusage, structure, v4};
use super::system::Refusal;
use super::*;
use crate::{CounterValue, Tally, registered_counter};
use record::Reason;

/// `getrusage`'s words, by their offsets.
fn own(minor: u64, voluntary: u64) -> Vec<u8> {
    structure(
        counters::OWN_BYTES,
        &[(counters::MINOR_FAULTS, minor), (counters::VOLUNTARY, voluntary), (counters::INVOLUNTARY, 1)],
    )
}

fn memory(resident: u64) -> Vec<u8> {
    structure(372, &[(RESIDENT, resident), (EXTERNAL, 300), (COMPRESSED, 40), (FOOTPRINT, resident - 260)])
}

fn asked(version: u8) -> Question<'static> {
    Question::Rusage { pid: std::process::id(), version }
}

/// Ten cores of two kinds; between two readings 1 s of CPU time passes, three quarters of it on performance cores.
fn apple_silicon() -> Recorded {
    let at = |ticks: u64, cycles: u64| {
        rusage(&[
            (Field::UserTime, ticks),
            (Field::SystemTime, 100),
            (Field::PerformanceUserTime, ticks * 3 / 4),
            (Field::PerformanceSystemTime, 0),
            (Field::Cycles, cycles),
            (Field::PerformanceCycles, cycles * 4 / 5),
            (Field::Instructions, cycles * 3),
            (Field::PerformanceInstructions, cycles * 2),
            (Field::EnergyNanojoules, cycles * 2),
            (Field::BytesRead, 7),
            (Field::Footprint, 240),
            (Field::Pageins, cycles / 1000),
            (Field::IntervalMaxFootprint, 777),
        ])
    };
    let thread = |instructions: u64, cycles: u64| structure(16, &[(0, instructions), (8, cycles)]);
    Recorded::default()
        .number("hw.nperflevels", 2)
        .with(Question::Timebase, [125_u32, 3].map(u32::to_ne_bytes).concat())
        .with(Question::Task(TASK_VM_INFO), memory(500))
        // The first answer is for `open`.
        .with(asked(6), at(24_000, 1_000_000))
        .with(asked(6), at(24_000_000, 2_000_000))
        .with(asked(6), at(48_000_000, 5_000_000))
        // Each of the two counters of the thread is tried.
        .with(Question::Thread(1), thread(10, 5))
        .with(Question::Thread(1), thread(10, 5))
        .with(Question::Thread(1), thread(10, 5))
        .with(Question::Thread(1), thread(40, 15))
        .with(Question::OwnUsage, own(3, 20))
        .with(Question::OwnUsage, own(10, 22))
}

/// Opens the counters of these names.
fn open(system: Recorded, names: &[&str]) -> (Vec<&'static Counter>, OwnProcess, BTreeMap<String, String>) {
    let wanted: Vec<_> = names.iter().map(|name| registered_counter(name).unwrap()).collect();
    let (process, requested) = OwnProcess::on(Box::new(system), RequestedCounters::new(&wanted));
    let absent = requested.absent();
    let absent = absent.into_iter().map(|(name, reason)| (name.to_owned(), reason.to_string())).collect();
    (requested.readable(), process, absent)
}

/// The difference of two readings.
fn between(process: &mut OwnProcess, counters: &[&'static Counter]) -> Vec<Result<f64, Reason>> {
    let (mut before, mut after) = (Reading::default(), Reading::default());
    process.read(counters, &mut before);
    process.read(counters, &mut after);
    let mut tally = Tally::default();
    tally.add(&before, &after);
    let value = |(index, counter): (usize, &&'static Counter)| {
        tally.value(index, counter).map(|CounterValue { value, counted_share }| {
            assert!(counted_share >= 1.0);
            value
        })
    };
    counters.iter().enumerate().map(value).collect()
}

#[test]
fn counts_and_times_are_split_by_kind_of_core() {
    let names = [
        "cpu_user_s",
        "cycles",
        "performance_cycles",
        "efficiency_cycles",
        "efficiency_instructions",
        "performance_cpu_s",
        "efficiency_cpu_s",
        "pageins",
        "driver_cycles",
        "driver_instructions",
        "minor_faults",
        "voluntary_switches",
    ];
    let (present, mut process, absent) = open(apple_silicon(), &names);
    assert_eq!(absent, BTreeMap::new());
    let values: Vec<_> = between(&mut process, &present).into_iter().map(Result::unwrap).collect();
    let expected = [1.0, 3e6, 2.4e6, 0.6e6, 3e6, 0.75, 0.25, 3000.0, 10.0, 30.0, 7.0, 2.0];
    for ((name, value), expected) in names.iter().zip(values).zip(expected) {
        assert!((value - expected).abs() <= 1e-6 * f64::max(expected, 1.0), "{name}: {value}, expected {expected}");
    }
}

#[test]
fn energy_over_a_short_interval_is_absent() {
    let (present, mut process, _) = open(apple_silicon(), &["energy_j"]);
    let reason = between(&mut process, &present).remove(0).unwrap_err();
    assert!(reason.as_str().starts_with("energy_j is updated about every 20 ms, and the interval was "), "{reason}");
}

#[test]
fn an_older_kernel_has_fewer_counters() {
    let at = |cycles| v4(&[(Field::UserTime, 24), (Field::Cycles, cycles), (Field::Footprint, 5 * cycles)]);
    let system = Recorded::default()
        .with(Question::Timebase, [1_u32, 1].map(u32::to_ne_bytes).concat())
        .refusing(asked(6), Refusal::Errno(22))
        .with(asked(4), at(100))
        .with(asked(4), at(100))
        .with(asked(4), at(400));
    let names = ["cycles", "performance_cycles", "efficiency_cpu_s", "energy_j", "driver_cycles", "footprint_bytes"];
    let (present, mut process, absent) = open(system, &names);
    assert_eq!(present.iter().map(|counter| counter.name).collect::<Vec<_>>(), ["cycles", "footprint_bytes"]);
    let values = between(&mut process, &present);
    assert_eq!(values, [Ok(300.0), Ok(1500.0)]);
    insta::assert_snapshot!(listed(&absent), @"
    driver_cycles: thread_selfcounts, kind 1: not on this system; the counters of the process remain
    efficiency_cpu_s: efficiency_cpu_s needs proc_pid_rusage version 6 (macOS 13 or later), and this kernel has version 4
    energy_j: energy_j needs proc_pid_rusage version 6 (macOS 13 or later), and this kernel has version 4
    performance_cycles: performance_cycles needs proc_pid_rusage version 6 (macOS 13 or later), and this kernel has version 4
    ");
}

#[test]
fn a_virtual_mac_counts_no_cycles_and_nothing_reads_zero() {
    let system = Recorded::default()
        .number("hw.nperflevels", 1)
        .with(Question::Timebase, [125_u32, 3].map(u32::to_ne_bytes).concat())
        .with(Question::Thread(1), vec![0; 16])
        .with(asked(6), rusage(&[(Field::UserTime, 24_000_000)]));
    let names = [
        "cpu_user_s",
        "cycles",
        "instructions",
        "performance_cycles",
        "efficiency_cpu_s",
        "driver_cycles",
        "cache_misses",
    ];
    let (present, _, absent) = open(system, &names);
    assert_eq!(present.len(), 1);
    insta::assert_snapshot!(listed(&absent), @"
    cache_misses: cache_misses: macOS reports it to root only, through a private interface that is not used here; cycles and instructions need no permission
    cycles: the kernel counts no cycles here, as in virtual machines: measure on the Mac itself
    driver_cycles: thread_selfcounts counts no cycles here, as in virtual machines; the counters of the process remain
    efficiency_cpu_s: efficiency_cpu_s: this processor has only one kind of cores
    instructions: the kernel counts no cycles here, as in virtual machines: measure on the Mac itself
    performance_cycles: the kernel counts no cycles here, as in virtual machines: measure on the Mac itself
    ");
}

#[test]
fn without_process_accounting_every_counter_has_the_reason() {
    let system = Recorded::default().refusing(asked(4), Refusal::Errno(1));
    let (present, mut process, absent) = open(system, &["cycles", "minor_faults"]);
    assert!(present.is_empty() && absent["minor_faults"].contains("proc_pid_rusage"), "{absent:?}");
    assert!(process.read_bytes().unwrap_err().as_str().contains("another user"));
}

#[test]
fn a_reading_that_fails_is_not_valid() {
    let system = apple_silicon().refusing(asked(6), Refusal::Errno(22));
    let (present, mut process, _) = open(system, &["cycles"]);
    between(&mut process, &present);
    insta::assert_snapshot!(between(&mut process, &present)[0].clone().unwrap_err(), @"reading cycles failed");
}

#[test]
fn the_peak_is_the_largest_size_that_was_read_since_the_reset() {
    let system = apple_silicon()
        .with(Question::Task(TASK_VM_INFO), memory(900))
        .with(Question::Task(TASK_VM_INFO), memory(600))
        .with(Question::ResetFootprint, vec![]);
    let (_, mut process, _) = open(system, &[]);
    assert_eq!(process.memory().unwrap().peak, 500);
    let high = process.memory().unwrap();
    assert_eq!(
        (high.peak, high.footprint, high.footprint_peak),
        (900, Some(640), None),
        "the kernel's peak was not reset"
    );
    process.reset_peak().unwrap();
    let after = process.memory().unwrap();
    assert_eq!((after.resident, after.peak), (600, 600));
    assert_eq!((after.footprint_peak, after.compressed), (Some(777), Some(40)));
    assert_eq!(process.read_bytes(), Ok(7));
}

#[test]
fn the_timeline_the_load_and_the_cpu_time() {
    let ticks = [5_u32, 3, 90, 2].map(u32::to_ne_bytes).concat();
    let system = apple_silicon()
        .with(Question::Host(HOST_CPU_LOAD_INFO), ticks)
        .with(Question::ThreadTime, [1_u32, 250_000, 0, 250_000].map(u32::to_ne_bytes).concat());
    let load = machine_load_on(&system).unwrap();
    assert_eq!((load.busy, load.total, load.steal), (10, 100, 0));
    assert!((cpu_seconds_on(&system).unwrap() - 24_100.0 * 125.0 / 3.0 / 1e9).abs() < 1e-6);
    assert_eq!(thread_cpu_seconds_on(&system), Some(1.5));
    let point = MemoryReader::on(Box::new(system)).read(Nanos(9)).unwrap();
    assert_eq!((point.at, point.resident, point.anonymous, point.file), (Nanos(9), 500, 200, 300));
}

fn listed(absent: &BTreeMap<String, String>) -> String {
    absent.iter().map(|(name, reason)| format!("{name}: {reason}\n")).collect()
}
