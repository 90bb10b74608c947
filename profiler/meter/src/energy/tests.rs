//! Energy counters of recorded trees.

use std::fs;
use std::path::Path;

use traces::clock::{self, VirtualClock};

use super::*;
use crate::registered_counter;

const RANGE: u64 = 262_143_328_850;

fn write(tree: &Path, path: &str, text: &str) {
    let file = tree.join(path.trim_start_matches('/'));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

/// Two packages with cores and memory; the second interface to the first package would count it twice.
fn machine(vendor: &str) -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    write(tree.path(), "/proc/cpuinfo", &format!("vendor_id\t: {vendor}\nflags\t\t: fpu sse2\n"));
    let zones = [
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:0:0", "core"),
        ("intel-rapl:0:1", "dram"),
        ("intel-rapl:0:2", "uncore"),
        ("intel-rapl:1", "package-1"),
        ("intel-rapl:1:0", "core"),
        ("intel-rapl:1:1", "dram"),
        ("intel-rapl:2", "psys"),
        ("intel-rapl-mmio:0", "package-0"),
    ];
    for (zone, name) in zones {
        write(tree.path(), &format!("{ZONES}/{zone}/name"), &format!("{name}\n"));
        write(tree.path(), &format!("{ZONES}/{zone}/max_energy_range_uj"), &format!("{RANGE}\n"));
        set(tree.path(), zone, 1_000_000);
    }
    write(tree.path(), &format!("{ZONES}/intel-rapl/enabled"), "1\n");
    tree
}

fn set(tree: &Path, zone: &str, microjoules: u64) {
    write(tree, &format!("{ZONES}/{zone}/energy_uj"), &format!("{microjoules}\n"));
}

fn counters() -> Vec<&'static Counter> {
    ["energy_package_j", "energy_core_j", "energy_dram_j", "cycles"]
        .iter()
        .map(|name| registered_counter(name).unwrap())
        .collect()
}

fn open(root: Root) -> (Energy, BTreeMap<String, String>) {
    let (energy, requested) = Energy::open(root, RequestedCounters::new(&counters()));
    let absent = requested.absent();
    (energy, absent.into_iter().map(|(name, reason)| (name.to_owned(), reason.to_string())).collect())
}

#[test]
fn packages_are_summed_and_wrap_around() {
    let _clock = VirtualClock::install();
    let tree = machine("GenuineIntel");
    set(tree.path(), "intel-rapl:1", RANGE - 500_000);
    let (mut energy, absent) = open(Root::recorded(tree.path()));
    assert!(absent.is_empty(), "{absent:?}");
    energy.begin();
    let _ = clock::advance(Nanos::from_millis(100));
    set(tree.path(), "intel-rapl:0", 3_000_000);
    set(tree.path(), "intel-rapl:1", 250_000);
    set(tree.path(), "intel-rapl:0:0", 1_500_000);
    set(tree.path(), "intel-rapl-mmio:0", 3_000_000);
    energy.end(Phase::Prefill);
    let _ = clock::advance(Nanos::from_millis(5));
    set(tree.path(), "intel-rapl:0", 3_100_000);
    energy.end(Phase::Sample);
    let (spans, whole) = energy.take();
    // 2 J of the first package; 0.5 J before the overflow and 0.25 J after it of the second.
    assert!((spans[0].joules[0].clone().unwrap() - 2.75).abs() < 1e-9, "{spans:?}");
    assert!((spans[0].joules[1].clone().unwrap() - 0.5).abs() < 1e-9);
    assert!(
        spans[0].joules[2].clone().unwrap_err().as_str().contains("did not change"),
        "a counter that does not count is not zero"
    );
    assert!(spans[1].joules[0].clone().unwrap_err().as_str().contains("too short"), "five updates are no measurement");
    let whole = whole.unwrap();
    assert!((whole.joules[0].clone().unwrap() - 2.85).abs() < 1e-9);
    assert_eq!(whole.time, Nanos::from_millis(105));
    assert_eq!(energy.take().1, None, "nothing is left for the next request");
}

#[test]
fn a_counter_that_may_have_overflowed_twice_has_no_value() {
    let _clock = VirtualClock::install();
    let tree = machine("GenuineIntel");
    let (mut energy, _) = open(Root::recorded(tree.path()));
    energy.begin();
    // 262 kJ are 262 s at 1 kW.
    let _ = clock::advance(Nanos::from_millis(300_000));
    set(tree.path(), "intel-rapl:0", 2_000_000);
    energy.end(Phase::Decode);
    assert!(energy.take().0[0].joules[0].clone().unwrap_err().as_str().contains("more than once"));
    // With frequent readings the same request has a value.
    energy.begin();
    for second in 1..=30 {
        let _ = clock::advance(Nanos::from_millis(10_001));
        set(tree.path(), "intel-rapl:0", 2_000_000 + second * 1_000_000);
        energy.keep_up();
    }
    energy.end(Phase::Decode);
    assert!((energy.take().0[0].joules[0].clone().unwrap() - 30.0).abs() < 1e-9);
}

#[test]
fn without_permission_the_reason_has_the_fix() {
    let tree = machine("GenuineIntel");
    let (energy, absent) = open(Root::recorded(tree.path()).denying("/energy_uj"));
    assert_eq!(energy.counters().count(), 0);
    for name in ["energy_package_j", "energy_core_j", "energy_dram_j"] {
        assert!(absent[name].contains("permission denied") && absent[name].contains("chmod a+r"), "{absent:?}");
    }
}

#[test]
fn without_one_package_there_is_no_sum() {
    let tree = machine("GenuineIntel");
    let (energy, absent) = open(Root::recorded(tree.path()).denying("intel-rapl:1/energy_uj"));
    assert_eq!(energy.counters().map(|counter| counter.name).collect::<Vec<_>>(), ["energy_core_j", "energy_dram_j"]);
    assert!(absent["energy_package_j"].contains("intel-rapl:1"));
}

#[test]
fn amd_has_no_energy_of_cores() {
    let tree = machine("AuthenticAMD");
    let (energy, absent) = open(Root::recorded(tree.path()));
    assert_eq!(energy.counters().count(), 2);
    assert!(absent["energy_core_j"].contains("one core"));
}

#[test]
fn without_counters_the_reason_names_the_host_or_the_driver() {
    let tree = tempfile::tempdir().unwrap();
    write(tree.path(), "/proc/cpuinfo", "flags\t\t: fpu hypervisor\n");
    assert!(open(Root::recorded(tree.path())).1["energy_package_j"].contains("measure on the host"));
    write(tree.path(), "/proc/cpuinfo", "flags\t\t: fpu\n");
    fs::create_dir_all(tree.path().join("sys/class/powercap/dtpm")).unwrap();
    assert!(open(Root::recorded(tree.path())).1["energy_dram_j"].contains("modprobe"));
}

#[test]
fn a_file_that_disappears_is_not_zero() {
    let _clock = VirtualClock::install();
    let tree = machine("GenuineIntel");
    let (mut energy, _) = open(Root::recorded(tree.path()));
    energy.begin();
    let _ = clock::advance(Nanos::from_millis(100));
    fs::remove_file(tree.path().join("sys/class/powercap/intel-rapl:1/energy_uj")).unwrap();
    set(tree.path(), "intel-rapl:0", 9_000_000);
    energy.end(Phase::Prefill);
    assert!(energy.take().0[0].joules[0].clone().unwrap_err().as_str().contains("failed"));
}

#[test]
fn only_requested_counters_are_read() {
    let tree = machine("GenuineIntel");
    let requested = RequestedCounters::new(&[registered_counter("cycles").unwrap()]);
    let (mut energy, requested) = Energy::open(Root::recorded(tree.path()), requested);
    energy.begin();
    energy.end(Phase::Prefill);
    assert_eq!(energy.take(), (Vec::new(), None));
    assert!(requested.absent().is_empty());
}
