//! From named counters to values, on a fake kernel.

use super::fake::FakePmu;
use super::*;
use crate::{Tally, counter_by_name};

fn counters(names: &[&str]) -> Vec<&'static Counter> {
    names.iter().map(|name| counter_by_name(name).unwrap()).collect()
}

fn open(fake: &FakePmu, wanted: &[&'static Counter]) -> (PerfCounters, std::collections::BTreeMap<String, String>) {
    let (perf, requested) = PerfCounters::open(Box::new(fake.clone()), RequestedCounters::new(wanted));
    let mut open: Vec<_> = perf.counters().iter().map(|counter| counter.name).collect();
    let mut readable: Vec<_> = requested.readable().iter().map(|counter| counter.name).collect();
    open.sort_unstable();
    readable.sort_unstable();
    assert_eq!(open, readable, "what can be read is open");
    let absent = requested.absent();
    (perf, absent.into_iter().map(|(name, reason)| (name.to_owned(), reason.to_string())).collect())
}

/// The difference of two consecutive readings.
fn counted(perf: &mut PerfCounters, wanted: &[&'static Counter]) -> Tally {
    let (mut before, mut after) = (Reading::default(), Reading::default());
    perf.read(wanted, &mut before);
    perf.read(wanted, &mut after);
    let mut tally = Tally::default();
    tally.add(&before, &after);
    tally
}

fn names(perf: &PerfCounters) -> Vec<Vec<&'static str>> {
    perf.sets().iter().map(|set| set.iter().map(|counter| counter.name).collect()).collect()
}

const SIX: [&str; 6] = ["cycles", "instructions", "cache_references", "cache_misses", "branches", "branch_misses"];

#[test]
fn one_group_is_read_at_once() {
    let fake = FakePmu::default();
    let wanted = counters(&SIX[..4]);
    let (mut perf, absent) = open(&fake, &wanted);
    assert!(absent.is_empty(), "{absent:?}");
    assert_eq!(names(&perf), [&SIX[..4]]);
    let reads = fake.0.borrow().reads;
    let tally = counted(&mut perf, &wanted);
    assert_eq!(fake.0.borrow().reads, reads + 2, "one system call a reading");
    for (index, counter) in wanted.iter().enumerate() {
        let value = tally.value(index, counter).unwrap();
        assert!((value.value - 100_000.0 * (index + 1) as f64).abs() < 1e-9, "{} {value:?}", counter.name);
        assert!((value.counted_share - 1.0).abs() < 1e-12);
    }
}

#[test]
fn more_than_the_registers_are_split_into_sets() {
    let fake = FakePmu::default();
    let wanted = counters(&SIX);
    let (mut perf, absent) = open(&fake, &wanted);
    assert!(absent.is_empty());
    assert_eq!(names(&perf), [SIX[..4].to_vec(), SIX[4..].to_vec()]);
    assert!(perf.is_on(wanted[0]) && !perf.is_on(wanted[4]));
    let first = counted(&mut perf, &wanted);
    assert!(first.value(0, wanted[0]).is_ok() && first.value(4, wanted[4]).is_err());
    perf.select(1).unwrap();
    assert!(!perf.is_on(wanted[0]) && perf.is_on(wanted[4]));
    let second = counted(&mut perf, &wanted);
    assert!((second.value(5, wanted[5]).unwrap().value - 600_000.0).abs() < 1e-9);
    assert!((second.value(5, wanted[5]).unwrap().counted_share - 1.0).abs() < 1e-12, "sets do not share registers");
    assert!(second.value(0, wanted[0]).is_err());
}

#[test]
fn a_register_in_use_makes_smaller_sets() {
    let fake = FakePmu::with(|state| state.taken = 1);
    let (perf, absent) = open(&fake, &counters(&SIX));
    assert!(absent.is_empty());
    assert_eq!(names(&perf), [SIX[..3].to_vec(), vec!["branches", "branch_misses", "cache_misses"]]);
}

#[test]
fn shared_registers_are_extrapolated_and_reported() {
    let fake = FakePmu::with(|state| state.registers = 2);
    let wanted = counters(&["cycles", "instructions"]);
    let (mut perf, _) = open(&fake, &wanted);
    // Another program's group starts after this one was opened.
    let mut other = fake.clone();
    let event = Attributes { pmu: 0, config: 4, exclude_kernel: true, ..Attributes::default() };
    let leader = other.open(&event, Target::Caller, None).unwrap();
    other.switch(leader, true).unwrap();
    let value = counted(&mut perf, &wanted).value(1, wanted[1]).unwrap();
    assert!((value.counted_share - 0.5).abs() < 1e-9);
    assert!((value.value - 200_000.0).abs() < 1e-9, "{value:?}");
}

#[test]
fn an_event_without_a_register_is_not_zero() {
    let fake = FakePmu::with(|state| state.registers = 2);
    let wanted = counters(&["cycles", "instructions"]);
    let (mut perf, _) = open(&fake, &wanted);
    fake.0.borrow_mut().taken = 2;
    let reason = counted(&mut perf, &wanted).value(0, wanted[0]).unwrap_err();
    assert!(reason.as_str().contains("was not counted"), "{reason}");
}

#[test]
fn lost_events_and_failed_readings_are_absent() {
    let wanted = counters(&SIX[..2]);
    let after = |change: &dyn Fn(&mut fake::State, usize)| {
        let fake = FakePmu::default();
        let (mut perf, _) = open(&fake, &wanted);
        let reads = fake.0.borrow().reads;
        change(&mut fake.0.borrow_mut(), reads + 2);
        counted(&mut perf, &wanted).value(0, wanted[0]).unwrap_err().to_string()
    };
    assert!(after(&|state, from| state.fail_from = Some(from)).contains("failed"));
    assert!(after(&|state, from| state.lose_from = Some(from)).contains("failed"));
}

#[test]
fn a_counter_that_wraps_is_absent() {
    let fake = FakePmu::default();
    let wanted = counters(&["cycles"]);
    let (mut perf, _) = open(&fake, &wanted);
    let mut before = Reading::default();
    perf.read(&wanted, &mut before);
    // 17 bits hold 131,072: the next 100,000 do not fit.
    fake.0.borrow_mut().bits = 17;
    let (mut wrapped, mut later) = (Reading::default(), Reading::default());
    perf.read(&wanted, &mut wrapped);
    fake.0.borrow_mut().bits = 64;
    (0..9).for_each(|_| perf.read(&wanted, &mut later));
    let mut tally = Tally::default();
    tally.add(&before, &wrapped);
    assert!(tally.value(0, wanted[0]).unwrap_err().as_str().contains("backwards"));
    tally.add(&wrapped, &later);
    assert!(
        tally.value(0, wanted[0]).unwrap_err().as_str().contains("backwards"),
        "later growth does not hide the wrap"
    );
}

#[test]
fn each_refusal_has_its_reason_and_its_fix() {
    let cases = [
        (libc::ENOENT, "without a PMU"),
        (libc::EACCES, "container"),
        (libc::ENOSYS, "CONFIG_PERF_EVENTS"),
        (libc::EINVAL, "name others with `counters`"),
        (libc::EBUSY, "another profiler"),
        (libc::EMFILE, "ulimit -n"),
    ];
    for (code, part) in cases {
        let fake = FakePmu::with(|state| state.refused = vec![(Some((0, 1)), code)]);
        let wanted = counters(&SIX[..3]);
        let (mut perf, absent) = open(&fake, &wanted);
        assert_eq!(absent.keys().collect::<Vec<_>>(), ["instructions"], "the others count");
        assert!(absent["instructions"].contains(part), "{absent:?}");
        let tally = counted(&mut perf, &wanted);
        assert!(tally.value(0, wanted[0]).is_ok() && tally.value(2, wanted[2]).is_ok());
    }
}

#[test]
fn no_pmu_at_all_is_explained_for_each_event() {
    let fake = FakePmu::with(|state| state.refused = vec![(None, libc::ENOENT)]);
    let (perf, absent) = open(&fake, &counters(&SIX));
    assert!(perf.is_empty() && absent.len() == 6);
}

#[test]
fn events_of_the_kernel_need_a_permission() {
    let wanted = counters(&["cycles", "task_clock", "context_switches"]);
    let (mut perf, absent) = open(&FakePmu::default(), &wanted);
    assert!(absent["context_switches"].contains("perf_event_paranoid=1"), "{absent:?}");
    let tally = counted(&mut perf, &wanted);
    assert!((tally.value(1, wanted[1]).unwrap().value - 0.0002).abs() < 1e-12, "both groups are read: two steps");
    let (perf, absent) = open(&FakePmu::with(|state| state.privileged = true), &wanted);
    assert!(absent.is_empty() && names(&perf) == [["cycles"]], "events of the kernel need no register");
}

#[test]
fn threads_that_exist_are_attached_and_summed() {
    let fake = FakePmu::with(|state| state.threads = vec![vec![7, 8]]);
    let wanted = counters(&SIX[..2]);
    let (mut perf, absent) = open(&fake, &wanted);
    assert!(absent.is_empty());
    assert_eq!(fake.open_events(), 4);
    // Two threads, each read separately: two steps pass, and both threads count in each.
    let value = counted(&mut perf, &wanted).value(0, wanted[0]).unwrap();
    assert!((value.value - 400_000.0).abs() < 1e-9, "{value:?}");
}

#[test]
fn a_thread_that_starts_meanwhile_makes_it_open_anew() {
    let fake = FakePmu::with(|state| state.threads = vec![vec![7], vec![7, 8], vec![7, 8]]);
    let (perf, absent) = open(&fake, &counters(&SIX[..2]));
    assert!(absent.is_empty() && names(&perf).len() == 1);
    assert_eq!(fake.open_events(), 4, "the events of the first attempt are closed");
    let restless = (0..40).map(|count| (0..=count).collect()).collect();
    let fake = FakePmu::with(|state| state.threads = restless);
    let (perf, absent) = open(&fake, &counters(&["cycles"]));
    assert!(perf.is_empty() && absent["cycles"].contains("started or ended") && fake.open_events() == 0);
}

#[test]
fn slots_lead_the_group_of_top_down_levels() {
    let levels = ["topdown_retiring", "topdown_slots"];
    let fake = FakePmu::default()
        .with_file("cpu/type", "4")
        .with_file("cpu/format/event", "config:0-7")
        .with_file("cpu/format/umask", "config:8-15")
        .with_file("cpu/events/slots", "event=0x00,umask=0x4")
        .with_file("cpu/events/topdown-retiring", "event=0x00,umask=0x80");
    let (perf, absent) = open(&fake, &counters(&levels));
    assert!(absent.is_empty(), "{absent:?}");
    assert_eq!(names(&perf), [["topdown_slots", "topdown_retiring"]]);
    let (_, absent) = open(&FakePmu::default().with_file("cpu/type", "4"), &counters(&levels));
    assert!(absent["topdown_retiring"].contains("has no `topdown-retiring`"), "{absent:?}");
}

#[test]
fn the_self_test_compares_with_the_cpu_time_used() {
    let mut fake = FakePmu::default();
    assert_eq!(self_test(&mut fake, || Ok(100_000)), Ok(()));
    assert!(self_test(&mut fake, || Ok(10_000_000)).unwrap_err().as_str().contains("counted 1 %"));
    assert_eq!(fake.open_events(), 0);
    let mut none = FakePmu::with(|state| state.refused = vec![(None, libc::ENOSYS)]);
    assert!(self_test(&mut none, || Ok(1)).unwrap_err().as_str().contains("cannot be opened"));
}
