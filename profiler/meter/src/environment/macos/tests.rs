//! Recorded Macs: a notebook with Apple Silicon, and one with a processor of Intel.

use super::*;
use crate::macos::memory::{FREE_PAGES, HOST_VM_BYTES, HOST_VM_INFO64, INACTIVE_PAGES};
use crate::macos::recorded::{Recorded, structure};

/// A MacBook Pro: 4 performance and 6 efficiency cores.
fn apple_silicon() -> Recorded {
    let mut pages = vec![0; HOST_VM_BYTES];
    for (offset, count) in [(FREE_PAGES, 300_000_u32), (INACTIVE_PAGES, 200_000)] {
        pages[offset..offset + 4].copy_from_slice(&count.to_ne_bytes());
    }
    let long = |number: u64| number.to_ne_bytes().to_vec();
    [
        ("hw.physicalcpu", 10),
        ("hw.logicalcpu", 10),
        ("hw.packages", 1),
        ("hw.nperflevels", 2),
        ("hw.perflevel0.physicalcpu", 4),
        ("hw.perflevel1.physicalcpu", 6),
        ("hw.perflevel0.cpusperl2", 4),
        ("hw.perflevel1.cpusperl2", 6),
        ("hw.optional.AdvSIMD", 1),
        ("hw.optional.arm.FEAT_DotProd", 1),
        ("hw.optional.arm.FEAT_BF16", 0),
        ("kern.hv_vmm_present", 0),
        ("sysctl.proc_translated", 0),
    ]
    .into_iter()
    .fold(Recorded::default(), |system, (name, number)| system.number(name, number))
    .with(Question::Value("hw.memsize"), long(24 << 30))
    .with(Question::Value("hw.pagesize"), long(16384))
    .with(Question::Value("hw.perflevel0.l1dcachesize"), long(128 << 10))
    .with(Question::Value("hw.perflevel1.l1dcachesize"), long(64 << 10))
    .with(Question::Value("hw.perflevel0.l2cachesize"), long(16 << 20))
    .with(Question::Value("hw.perflevel1.l2cachesize"), long(4 << 20))
    .with(Question::Value("vm.swapusage"), structure(32, &[(0, 2 << 30), (8, 1 << 30), (16, 1 << 30)]))
    .with(Question::Value("kern.boottime"), structure(16, &[(0, 1_700_000_000)]))
    .text("hw.perflevel0.name", "Performance")
    .text("hw.perflevel1.name", "Efficiency")
    .text("machdep.cpu.brand_string", "Apple M4")
    .text("hw.model", "Mac16,1")
    .text("kern.osproductversion", "15.5")
    .text("kern.osversion", "24F74")
    .text("kern.osrelease", "24.5.0")
    .with(Question::Host(HOST_VM_INFO64), pages)
    .with(Question::Load, [1.5_f64, 2.0, 2.5].map(f64::to_ne_bytes).concat())
    .with(Question::Notified(PRESSURE), long(1))
    .with(Question::PowerSource, b"Battery Power".to_vec())
    .with(Question::Battery, [57_u32, 100].map(u32::to_ne_bytes).concat())
    .with(Question::LowPowerMode, vec![1])
    .with(Question::Qos, 0x15_u32.to_ne_bytes().to_vec())
}

#[test]
fn a_notebook_with_apple_silicon() {
    let found = read(&apple_silicon());
    let (host, processor, memory, power) = (&found.host, &found.processor, &found.memory, &found.power);
    assert_eq!(host.system.as_deref(), Some("macOS 15.5 (24F74)"));
    assert_eq!((host.machine.as_deref(), host.kernel.as_deref()), (Some("Mac16,1"), Some("Darwin 24.5.0")));
    assert_eq!((host.virtualised.value(), host.translated), (Some(false), Some(false)));
    assert_eq!(
        (processor.model.as_deref(), processor.cores.value(), processor.threads.value()),
        (Some("Apple M4"), Some(10), Some(10))
    );
    let kinds: Vec<_> = processor.kinds.iter().map(|kind| (kind.name.as_str(), kind.cores)).collect();
    assert_eq!(kinds, [("performance", 4), ("efficiency", 6)]);
    let caches: Vec<_> =
        processor.caches.iter().map(|cache| (cache.level, cache.bytes >> 10, cache.instances)).collect();
    assert_eq!(caches, [(1, 128, 4), (2, 16 << 10, 1), (1, 64, 6), (2, 4 << 10, 1)]);
    assert_eq!(processor.features, ["neon", "dotprod"]);
    assert_eq!(memory.available_bytes.value(), Some(500_000 * 16384));
    assert_eq!((memory.swap_total_bytes.value(), memory.swap_used_bytes.value()), (Some(2 << 30), Some(1 << 30)));
    assert_eq!((power.source.value(), power.battery_percent.value()), (Some(PowerSource::Battery), Some(57)));
    assert_eq!(power.low_power_mode, Some(true.into()));
    assert_eq!(found.state.thermal_pressure, Some(ThermalPressure::Moderate.into()));
    assert_eq!(found.state.scheduling_class, Some(SchedulingClass::Default.into()));
    assert_eq!((found.state.load_1m.value(), found.state.load_15m.value()), (Some(1.5), Some(2.5)));
    let day = Duration::from_secs(1_700_086_400);
    assert!((uptime(&apple_silicon(), day).unwrap() - 86_400.0).abs() < 1e-6);
}

#[test]
fn every_missing_figure_has_a_reason() {
    let found = read(&Recorded::default());
    let (host, processor, memory) = (&found.host, &found.processor, &found.memory);
    let pressure = found.state.thermal_pressure.as_ref().and_then(record::Recorded::reason);
    let class = found.state.scheduling_class.as_ref().and_then(record::Recorded::reason);
    let reasons = [
        host.system.reason(),
        processor.model.reason(),
        processor.frequency_max_hz.reason(),
        processor.caches.reason(),
        memory.available_bytes.reason(),
        memory.swap_used_bytes.reason(),
        found.power.source.reason(),
        found.power.battery_percent.reason(),
        found.power.low_power_mode.as_ref().and_then(record::Recorded::reason),
        found.state.load_1m.reason(),
        found.state.uptime_s.reason(),
        pressure,
        class,
    ];
    let texts: Vec<_> = reasons.into_iter().map(|reason| reason.expect("it is absent").as_str()).collect();
    insta::assert_snapshot!(texts.join("\n"), @"
    kern.osproductversion: not on this system
    machdep.cpu.brand_string: not on this system
    hw.cpufrequency_max: not on this system: Apple Silicon does not report a fixed frequency
    macOS does not report it
    hw.pagesize: not on this system
    vm.swapusage: not on this system
    IOPSGetProvidingPowerSourceType: not on this system
    no battery
    NSProcessInfo: not on this system
    getloadavg: not on this system
    kern.boottime: not on this system
    the notification com.apple.system.thermalpressurelevel: not on this system
    qos_class_self: not on this system
    ");
}

#[test]
fn an_intel_mac_and_unexpected_answers() {
    let long = |number: u64| number.to_ne_bytes().to_vec();
    let system = Recorded::default()
        .number("hw.physicalcpu", 8)
        .with(Question::Value("hw.l1dcachesize"), long(32 << 10))
        .with(Question::Value("hw.l3cachesize"), long(16 << 20))
        .with(Question::Value("hw.cpufrequency_max"), long(2_400_000_000))
        .with(Question::Notified(PRESSURE), long(30))
        .with(Question::PowerSource, b"AC Power".to_vec())
        .with(Question::Battery, [0_u32, 0].map(u32::to_ne_bytes).concat())
        .with(Question::Qos, 99_u32.to_ne_bytes().to_vec());
    let found = read(&system);
    assert!(found.processor.kinds.is_empty());
    let caches: Vec<_> = found.processor.caches.iter().map(|cache| (cache.level, cache.instances)).collect();
    assert_eq!(caches, [(1, 8), (3, 1)]);
    assert_eq!(found.processor.frequency_max_hz.value(), Some(2_400_000_000));
    assert_eq!(found.power.source.value(), Some(PowerSource::Mains));
    insta::assert_snapshot!(found.power.reasons()["battery_percent"], @"IOPSGetPowerSourceDescription: found a charge of Some(0) of Some(0)");
    insta::assert_snapshot!(found.state.reasons()["thermal_pressure"], @"com.apple.system.thermalpressurelevel: expected a level from 0 to 4, found 30");
    insta::assert_snapshot!(found.state.reasons()["scheduling_class"], @"qos_class_self: expected a class of sys/qos.h, found Some(99)");
}

#[test]
fn the_processors_are_sampled() {
    let ticks = |user: u32, idle: u32| [user, 0, idle, 0].map(u32::to_ne_bytes).concat();
    let system = apple_silicon().with(Question::Host(3), ticks(100, 1000)).with(Question::Host(3), ticks(110, 1030));
    let state = sampled(&system).state;
    assert_eq!(state.busy_now, 0.25.into());
}
