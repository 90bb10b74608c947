//! The environment on macOS, from sysctl, Mach, notify and IOKit through [`System`], so tests run on recorded answers. Figures that
//! only Linux has are `null` with a reason.

use std::time::Duration;

use traces::clock;

use super::state::{NOT_SAMPLED, SAMPLING};
use record::environment::{
    Cache, CacheKind, CoreKind, Environment, Host, Limits, Memory, Power, PowerSource, Processor, SchedulingClass,
    State, ThermalPressure, Variables,
};

use super::CpuTimes;
use super::processor::usable_threads;
use crate::macos::memory::{MachineMemory, processor_ticks, swap};
use crate::macos::sysctl::{count, number, text};
use crate::macos::system::{Answer, Question, System};
use record::{Reason, Reasons, Recorded, RecordedList};

const NOT_HERE: &str = "macOS does not report it";
const NO_SETTING: &str = "macOS has no such setting";
/// `kOSThermalNotificationPressureLevelName` of libkern/OSThermalNotification.h, whose levels on a Mac are those of [`ThermalPressure`].
const PRESSURE: &str = "com.apple.system.thermalpressurelevel";
/// Classes of sys/qos.h.
const QOS: [(u32, SchedulingClass); 6] = [
    (0x21, SchedulingClass::UserInteractive),
    (0x19, SchedulingClass::UserInitiated),
    (0x15, SchedulingClass::Default),
    (0x11, SchedulingClass::Utility),
    (0x09, SchedulingClass::Background),
    (0x00, SchedulingClass::Unspecified),
];

pub(super) fn read(system: &dyn System) -> Environment {
    Environment {
        host: host(system),
        processor: processor(system),
        memory: memory(system),
        limits: Limits::absent("macOS has no control groups"),
        power: power(system),
        state: state(system),
        engines: Vec::new(),
        variables: Variables::default(),
    }
}

/// Like [`read`], and samples the processors for a tenth of a second.
pub(super) fn sampled(system: &dyn System) -> Environment {
    let mut found = read(system);
    let times = || processor_ticks(system).map(|(busy, total)| CpuTimes { total, idle: total - busy, steal: 0 });
    let busy = times().and_then(|before| {
        clock::sleep(SAMPLING);
        times()?.busy_share(before).ok_or_else(|| Reason::new("no tick passed during the sampling"))
    });
    found.state.busy_now = busy.into();
    found
}

fn host(system: &dyn System) -> Host {
    let version = text(system, "kern.osproductversion").map(|version| match text(system, "kern.osversion") {
        Ok(build) => format!("macOS {version} ({build})"),
        Err(_) => format!("macOS {version}"),
    });
    let kernel = text(system, "kern.osrelease").map(|release| format!("Darwin {release}"));
    Host {
        system: version.into(),
        kernel: kernel.into(),
        architecture: std::env::consts::ARCH.to_owned(),
        machine: text(system, "hw.model").into(),
        virtualised: number(system, "kern.hv_vmm_present").map(|guest| guest == 1).into(),
        hypervisor: Recorded::absent(NOT_HERE),
        container: "none".to_owned().into(),
        clock_source: "mach_absolute_time".to_owned().into(),
        // Intel Macs have no such value.
        translated: Some(number(system, "sysctl.proc_translated") == Ok(1)),
        notes: Reasons::new(),
    }
}

fn processor(system: &dyn System) -> Processor {
    let kinds = core_kinds(system);
    let caches = caches(system, &kinds);
    let frequency = |name: &str| {
        number(system, name).map_err(|reason| reason!("{reason}: Apple Silicon does not report a fixed frequency"))
    };
    Processor {
        model: text(system, "machdep.cpu.brand_string").into(),
        sockets: count(system, "hw.packages").into(),
        cores: count(system, "hw.physicalcpu").into(),
        threads: count(system, "hw.logicalcpu").into(),
        usable_threads: usable_threads().into(),
        caches: RecordedList::new(caches, NOT_HERE),
        kinds,
        frequency_min_hz: frequency("hw.cpufrequency_min").into(),
        frequency_max_hz: frequency("hw.cpufrequency_max").into(),
        features: features(system),
        // One memory for all cores.
        numa_nodes: 1.into(),
        cache_line_bytes: Recorded::absent("it is not read on macOS"),
        ..Processor::absent(NOT_HERE)
    }
}

/// Kinds of cores, the fastest first; empty where all are equal.
fn core_kinds(system: &dyn System) -> Vec<CoreKind> {
    let levels = count(system, "hw.nperflevels").unwrap_or(1);
    let kind = |level: usize| {
        let fallback = if level == 0 { "Performance" } else { "Efficiency" };
        let name = text(system, &format!("hw.perflevel{level}.name")).unwrap_or_else(|_| fallback.to_owned());
        let cores = count(system, &format!("hw.perflevel{level}.physicalcpu")).ok()?;
        Some(CoreKind { name: name.to_lowercase(), cores })
    };
    if levels > 1 { (0..levels).filter_map(kind).collect() } else { Vec::new() }
}

/// The caches of each kind of core on Apple Silicon; on Intel one list for all cores.
fn caches(system: &dyn System, kinds: &[CoreKind]) -> Vec<Cache> {
    let cores = count(system, "hw.physicalcpu").unwrap_or(1);
    if kinds.is_empty() {
        return caches_of(system, "hw.", cores);
    }
    kinds
        .iter()
        .enumerate()
        .flat_map(|(level, kind)| caches_of(system, &format!("hw.perflevel{level}."), kind.cores))
        .collect()
}

/// The caches below one prefix. Level 1 is each core's own; `cpusperl2` cores share one of level 2.
fn caches_of(system: &dyn System, prefix: &str, cores: usize) -> Vec<Cache> {
    let shared = |name: &str| count(system, &format!("{prefix}{name}")).ok().filter(|&cores| cores > 0);
    let known = [
        (1, CacheKind::Data, "l1dcachesize", Some(1)),
        (1, CacheKind::Instruction, "l1icachesize", Some(1)),
        (2, CacheKind::Unified, "l2cachesize", shared("cpusperl2")),
        (3, CacheKind::Unified, "l3cachesize", shared("cpusperl3")),
    ];
    let cache = |(level, kind, name, sharing): (u32, CacheKind, &str, Option<usize>)| {
        let bytes = number(system, &format!("{prefix}{name}")).ok().filter(|&bytes| bytes > 0)?;
        let instances = sharing.map_or(1, |sharing| cores.div_ceil(sharing));
        Some(Cache { level, kind, bytes, instances })
    };
    known.into_iter().filter_map(cache).collect()
}

/// Features by the compiler's names.
fn features(system: &dyn System) -> Vec<String> {
    let known = [
        ("hw.optional.AdvSIMD", "neon"),
        ("hw.optional.arm.FEAT_FP16", "fp16"),
        ("hw.optional.arm.FEAT_DotProd", "dotprod"),
        ("hw.optional.arm.FEAT_I8MM", "i8mm"),
        ("hw.optional.arm.FEAT_BF16", "bf16"),
        ("hw.optional.avx1_0", "avx"),
        ("hw.optional.avx2_0", "avx2"),
        ("hw.optional.fma", "fma"),
        ("hw.optional.f16c", "f16c"),
        ("hw.optional.avx512f", "avx512f"),
    ];
    known.iter().filter(|(name, _)| number(system, name) == Ok(1)).map(|&(_, feature)| feature.to_owned()).collect()
}

fn memory(system: &dyn System) -> Memory {
    let available = MachineMemory::read(system).map(|memory| memory.available);
    let swap = swap(system);
    Memory {
        total_bytes: number(system, "hw.memsize").into(),
        available_bytes: available.into(),
        swap_total_bytes: swap.clone().map(|(total, _)| total).into(),
        swap_used_bytes: swap.map(|(_, used)| used).into(),
        page_bytes: number(system, "hw.pagesize").into(),
        transparent_huge_pages: Recorded::absent(NO_SETTING),
        huge_page_defrag: Recorded::absent(NO_SETTING),
        notes: Reasons::new(),
    }
}

fn power(system: &dyn System) -> Power {
    let source = Answer::<64>::to(system, Question::PowerSource).and_then(|answer| {
        match String::from_utf8_lossy(answer.bytes()).as_ref() {
            "AC Power" => Ok(PowerSource::Mains),
            "Battery Power" => Ok(PowerSource::Battery),
            "UPS Power" => Ok(PowerSource::Ups),
            other => Err(reason!("IOPSGetProvidingPowerSourceType: expected a kind of power, found \"{other}\"")),
        }
    });
    let battery = Answer::<8>::to(system, Question::Battery).map_err(|_| Reason::new("no battery"));
    let percent = battery.and_then(|answer| match (answer.u32(0), answer.u32(4)) {
        (Some(now), Some(full)) if full > 0 => Ok((u64::from(now) * 100 / u64::from(full)).min(100) as u32),
        (now, full) => Err(reason!("IOPSGetPowerSourceDescription: found a charge of {now:?} of {full:?}")),
    });
    let low = Answer::<1>::to(system, Question::LowPowerMode).map(|answer| answer.bytes() == [1]);
    Power {
        source: source.into(),
        battery_percent: percent.into(),
        low_power_mode: Some(low.into()),
        notes: Reasons::new(),
    }
}

fn state(system: &dyn System) -> State {
    let load = Answer::<24>::to(system, Question::Load);
    let average = |index: usize| {
        let bits = load.as_ref().map_err(Reason::clone)?.u64(8 * index);
        bits.map(f64::from_bits).ok_or_else(|| Reason::new("getloadavg gave fewer than three numbers"))
    };
    State {
        load_1m: average(0).into(),
        load_15m: average(2).into(),
        uptime_s: uptime(system, clock::unix_time()).into(),
        thermal_pressure: Some(thermal_pressure(system).into()),
        scheduling_class: Some(scheduling_class(system).into()),
        steal_since_boot: Recorded::absent(NOT_HERE),
        steal_now: Recorded::absent(NOT_HERE),
        busy_now: Recorded::absent(NOT_SAMPLED),
        notes: Reasons::new(),
    }
}

/// Seconds since `kern.boottime`, a `struct timeval`.
fn uptime(system: &dyn System, now: Duration) -> Result<f64, Reason> {
    let answer = Answer::<16>::to(system, Question::Value("kern.boottime"))?;
    let booted = answer.u64(0).ok_or_else(|| reason!("kern.boottime: found {} bytes", answer.bytes().len()))?;
    Ok(now.as_secs_f64() - booted as f64)
}

/// The kernel's level of thermal throttling.
///
/// # Errors
/// When the call fails or the level is unknown.
fn thermal_pressure(system: &dyn System) -> Result<ThermalPressure, Reason> {
    let answer = Answer::<8>::to(system, Question::Notified(PRESSURE))?;
    let level = answer.u64(0).ok_or_else(|| reason!("{PRESSURE}: expected 8 bytes, found {}", answer.bytes().len()))?;
    let name = usize::try_from(level).ok().and_then(|level| ThermalPressure::ALL.get(level));
    name.copied().ok_or_else(|| reason!("{PRESSURE}: expected a level from 0 to 4, found {level}"))
}

fn scheduling_class(system: &dyn System) -> Result<SchedulingClass, Reason> {
    let class = Answer::<4>::to(system, Question::Qos)?.u32(0);
    let known = QOS.iter().find(|(number, _)| Some(*number) == class).map(|&(_, name)| name);
    known.ok_or_else(|| reason!("qos_class_self: expected a class of sys/qos.h, found {class:?}"))
}

#[cfg(test)]
mod tests;
