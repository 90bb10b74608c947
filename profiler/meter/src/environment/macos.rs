//! The environment on macOS, from sysctl, Mach, notify and IOKit through [`System`], so tests run on recorded answers. Figures that
//! only Linux has are `null` with a reason.

use std::time::Duration;

use traces::clock;

use super::state::SAMPLING;
use record::environment::{Cache, CoreKind, Environment, Host, Limits, Memory, Power, Processor, State};

use super::{CpuTimes, noted};
use crate::macos::memory::{MachineMemory, processor_ticks, swap};
use crate::macos::sysctl::{count, number, text};
use crate::macos::system::{Answer, Question, System};
use record::{Reason, Reasons};

const NOT_HERE: &str = "macOS does not report it";
/// `kOSThermalNotificationPressureLevelName` of libkern/OSThermalNotification.h, and its levels on a Mac.
const PRESSURE: &str = "com.apple.system.thermalpressurelevel";
const PRESSURE_LEVELS: [&str; 5] = ["nominal", "moderate", "heavy", "trapping", "sleeping"];
/// Classes of sys/qos.h. Background work stays on efficiency cores.
const QOS: [(u32, &str); 6] = [
    (0x21, "user-interactive"),
    (0x19, "user-initiated"),
    (0x15, "default"),
    (0x11, "utility"),
    (0x09, "background"),
    (0x00, "unspecified"),
];

pub(super) fn read(system: &dyn System) -> Environment {
    Environment {
        host: host(system),
        processor: processor(system),
        memory: memory(system),
        limits: limits(),
        power: power(system),
        state: state(system),
        ..Environment::default()
    }
}

/// Notes the same reason for several fields.
fn note_all(reasons: &mut Reasons, fields: &[&str], reason: &str) {
    reasons.extend(fields.iter().map(|&field| (field.to_owned(), reason.to_owned())));
}

/// Like [`read`], and samples the processors for a tenth of a second.
pub(super) fn sampled(system: &dyn System) -> Environment {
    let mut found = read(system);
    let times = || processor_ticks(system).map(|(busy, total)| CpuTimes { total, idle: total - busy, steal: 0 });
    let busy = times().and_then(|before| {
        clock::sleep(SAMPLING);
        times()?.busy_share(before).ok_or_else(|| Reason::new("no tick passed during the sampling"))
    });
    let state = &mut found.state;
    state.reasons.remove("busy_now");
    state.busy_now = noted(&mut state.reasons, "busy_now", busy);
    found
}

fn host(system: &dyn System) -> Host {
    let mut reasons = Reasons::new();
    note_all(&mut reasons, &["hypervisor"], NOT_HERE);
    let version = text(system, "kern.osproductversion").map(|version| match text(system, "kern.osversion") {
        Ok(build) => format!("macOS {version} ({build})"),
        Err(_) => format!("macOS {version}"),
    });
    let kernel = text(system, "kern.osrelease").map(|release| format!("Darwin {release}"));
    Host {
        system: noted(&mut reasons, "system", version),
        kernel: noted(&mut reasons, "kernel", kernel),
        architecture: std::env::consts::ARCH.to_owned(),
        machine: noted(&mut reasons, "machine", text(system, "hw.model")),
        virtualised: noted(&mut reasons, "virtualised", number(system, "kern.hv_vmm_present").map(|guest| guest == 1)),
        hypervisor: None,
        container: Some("none".to_owned()),
        clock_source: Some("mach_absolute_time".to_owned()),
        // Intel Macs have no such value.
        translated: Some(number(system, "sysctl.proc_translated") == Ok(1)),
        reasons,
    }
}

fn processor(system: &dyn System) -> Processor {
    let mut reasons = Reasons::new();
    note_all(
        &mut reasons,
        &["governor", "energy_preference", "frequency_now_hz", "turbo", "throttle_events"],
        NOT_HERE,
    );
    let kinds = core_kinds(system);
    let caches = caches(system, &kinds);
    if caches.is_empty() {
        note_all(&mut reasons, &["caches"], NOT_HERE);
    }
    let frequency = |name: &str| {
        number(system, name).map_err(|reason| reason!("{reason}: Apple Silicon does not report a fixed frequency"))
    };
    Processor {
        model: noted(&mut reasons, "model", text(system, "machdep.cpu.brand_string")),
        sockets: noted(&mut reasons, "sockets", count(system, "hw.packages")),
        cores: noted(&mut reasons, "cores", count(system, "hw.physicalcpu")),
        threads: noted(&mut reasons, "threads", count(system, "hw.logicalcpu")),
        usable_threads: std::thread::available_parallelism().ok().map(std::num::NonZero::get),
        caches,
        kinds,
        frequency_min_hz: noted(&mut reasons, "frequency_min_hz", frequency("hw.cpufrequency_min")),
        frequency_max_hz: noted(&mut reasons, "frequency_max_hz", frequency("hw.cpufrequency_max")),
        features: features(system),
        // One memory for all cores.
        numa_nodes: Some(1),
        reasons,
        ..Processor::default()
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
        (1, "data", "l1dcachesize", Some(1)),
        (1, "instruction", "l1icachesize", Some(1)),
        (2, "unified", "l2cachesize", shared("cpusperl2")),
        (3, "unified", "l3cachesize", shared("cpusperl3")),
    ];
    let cache = |(level, kind, name, sharing): (u32, &str, &str, Option<usize>)| {
        let bytes = number(system, &format!("{prefix}{name}")).ok().filter(|&bytes| bytes > 0)?;
        let instances = sharing.map_or(1, |sharing| cores.div_ceil(sharing));
        Some(Cache { level, kind: kind.to_owned(), bytes, instances })
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
    let mut reasons = Reasons::new();
    note_all(&mut reasons, &["transparent_huge_pages", "huge_page_defrag"], "macOS has no such setting");
    let available = MachineMemory::read(system).map(|memory| memory.available);
    let swap = swap(system);
    Memory {
        total_bytes: noted(&mut reasons, "total_bytes", number(system, "hw.memsize")),
        available_bytes: noted(&mut reasons, "available_bytes", available),
        swap_total_bytes: noted(&mut reasons, "swap_total_bytes", swap.clone().map(|(total, _)| total)),
        swap_used_bytes: noted(&mut reasons, "swap_used_bytes", swap.map(|(_, used)| used)),
        page_bytes: noted(&mut reasons, "page_bytes", number(system, "hw.pagesize")),
        reasons,
        ..Memory::default()
    }
}

fn limits() -> Limits {
    let mut reasons = Reasons::new();
    note_all(&mut reasons, &["version", "memory_bytes", "cpus"], "macOS has no control groups");
    Limits { reasons, ..Limits::default() }
}

fn power(system: &dyn System) -> Power {
    let mut reasons = Reasons::new();
    let source = Answer::<64>::to(system, Question::PowerSource).and_then(|answer| {
        match String::from_utf8_lossy(answer.bytes()).as_ref() {
            "AC Power" => Ok("mains".to_owned()),
            "Battery Power" => Ok("battery".to_owned()),
            "UPS Power" => Ok("ups".to_owned()),
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
        source: noted(&mut reasons, "source", source),
        battery_percent: noted(&mut reasons, "battery_percent", percent),
        low_power_mode: noted(&mut reasons, "low_power_mode", low),
        reasons,
    }
}

fn state(system: &dyn System) -> State {
    let mut reasons = Reasons::new();
    note_all(&mut reasons, &["steal_since_boot", "steal_now"], NOT_HERE);
    note_all(&mut reasons, &["busy_now"], "not sampled");
    let load = Answer::<24>::to(system, Question::Load);
    let average = |index: usize| {
        let bits = load.as_ref().map_err(Reason::clone)?.u64(8 * index);
        bits.map(f64::from_bits).ok_or_else(|| Reason::new("getloadavg gave fewer than three numbers"))
    };
    State {
        load_1m: noted(&mut reasons, "load_1m", average(0)),
        load_15m: noted(&mut reasons, "load_15m", average(2)),
        uptime_s: noted(&mut reasons, "uptime_s", uptime(system, clock::unix_time())),
        thermal_pressure: noted(&mut reasons, "thermal_pressure", thermal_pressure(system)),
        scheduling_class: noted(&mut reasons, "scheduling_class", scheduling_class(system)),
        reasons,
        ..State::default()
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
fn thermal_pressure(system: &dyn System) -> Result<String, Reason> {
    let answer = Answer::<8>::to(system, Question::Notified(PRESSURE))?;
    let level = answer.u64(0).ok_or_else(|| reason!("{PRESSURE}: expected 8 bytes, found {}", answer.bytes().len()))?;
    let name = usize::try_from(level).ok().and_then(|level| PRESSURE_LEVELS.get(level));
    name.map(|&name| name.to_owned()).ok_or_else(|| reason!("{PRESSURE}: expected a level from 0 to 4, found {level}"))
}

fn scheduling_class(system: &dyn System) -> Result<String, Reason> {
    let class = Answer::<4>::to(system, Question::Qos)?.u32(0);
    let known = QOS.iter().find(|(number, _)| Some(*number) == class).map(|&(_, name)| name.to_owned());
    known.ok_or_else(|| reason!("qos_class_self: expected a class of sys/qos.h, found {class:?}"))
}

#[cfg(test)]
mod tests;
