//! The same on macOS, by `sysctlbyname`. What Linux gives in files and macOS does not is `null` with the reason.

use std::ffi::CString;

use super::{Cache, Environment, Host, Limits, Memory, Power, Processor, State, noted};
use crate::results::Reasons;

const NOT_HERE: &str = "macOS does not tell";

pub(super) fn read() -> Environment {
    Environment {
        host: host(),
        processor: processor(),
        memory: memory(),
        limits: limits(),
        power: power(),
        state: state(),
        ..Environment::default()
    }
}

fn host() -> Host {
    let mut reasons = Reasons::new();
    reasons.insert("hypervisor".to_owned(), NOT_HERE.to_owned());
    Host {
        system: noted(&mut reasons, "system", text("kern.osproductversion").map(|version| format!("macOS {version}"))),
        kernel: noted(&mut reasons, "kernel", text("kern.osrelease").map(|release| format!("Darwin {release}"))),
        architecture: std::env::consts::ARCH.to_owned(),
        machine: noted(&mut reasons, "machine", text("hw.model")),
        virtualised: noted(&mut reasons, "virtualised", number("kern.hv_vmm_present").map(|guest| guest == 1)),
        hypervisor: None,
        container: Some("none".to_owned()),
        clock_source: Some("mach_absolute_time".to_owned()),
        reasons,
    }
}

fn processor() -> Processor {
    let mut reasons = Reasons::new();
    for field in ["governor", "frequency_now_hz", "turbo", "throttle_events", "numa_nodes"] {
        reasons.insert(field.to_owned(), NOT_HERE.to_owned());
    }
    let count = |name: &str| number(name).and_then(|n| usize::try_from(n).map_err(|_| format!("{name}: too large")));
    let cores = noted(&mut reasons, "cores", count("hw.physicalcpu"));
    Processor {
        model: noted(&mut reasons, "model", text("machdep.cpu.brand_string")),
        sockets: noted(&mut reasons, "sockets", count("hw.packages")),
        cores,
        threads: noted(&mut reasons, "threads", count("hw.logicalcpu")),
        usable_threads: std::thread::available_parallelism().ok().map(std::num::NonZero::get),
        caches: caches(cores.unwrap_or(1)),
        // Intel only; Apple Silicon has no fixed frequency to tell.
        frequency_min_hz: noted(&mut reasons, "frequency_min_hz", number("hw.cpufrequency_min")),
        frequency_max_hz: noted(&mut reasons, "frequency_max_hz", number("hw.cpufrequency_max")),
        features: features(),
        reasons,
        ..Processor::default()
    }
}

/// Performance cores' caches on Apple Silicon, the plain names on Intel.
fn caches(cores: usize) -> Vec<Cache> {
    let sizes = [
        (1, "data", "l1dcachesize"),
        (1, "instruction", "l1icachesize"),
        (2, "unified", "l2cachesize"),
        (3, "unified", "l3cachesize"),
    ];
    let size = |name: &str| {
        number(&format!("hw.perflevel0.{name}"))
            .or_else(|_| number(&format!("hw.{name}")))
            .ok()
            .filter(|&bytes| bytes > 0)
    };
    sizes
        .iter()
        .filter_map(|&(level, kind, name)| {
            Some(Cache {
                level,
                kind: kind.to_owned(),
                bytes: size(name)?,
                instances: if level == 1 { cores } else { 1 },
            })
        })
        .collect()
}

/// By the compiler's names.
fn features() -> Vec<String> {
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
    known.iter().filter(|(name, _)| number(name) == Ok(1)).map(|&(_, feature)| feature.to_owned()).collect()
}

fn memory() -> Memory {
    let mut reasons = Reasons::new();
    for field in
        ["available_bytes", "swap_total_bytes", "swap_used_bytes", "transparent_huge_pages", "huge_page_defrag"]
    {
        reasons.insert(field.to_owned(), NOT_HERE.to_owned());
    }
    Memory {
        total_bytes: noted(&mut reasons, "total_bytes", number("hw.memsize")),
        page_bytes: noted(&mut reasons, "page_bytes", number("hw.pagesize")),
        reasons,
        ..Memory::default()
    }
}

fn limits() -> Limits {
    let why = || "macOS has no control groups".to_owned();
    let reasons = ["version", "memory_bytes", "cpus"].map(|field| (field.to_owned(), why())).into();
    Limits { reasons, ..Limits::default() }
}

fn power() -> Power {
    let reasons = ["source", "battery_percent"]
        .map(|field| (field.to_owned(), "needs IOKit; `pmset -g batt` shows it".to_owned()))
        .into();
    Power { reasons, ..Power::default() }
}

fn state() -> State {
    let mut reasons = Reasons::new();
    for field in ["uptime_s", "steal_since_boot", "steal_now", "busy_now"] {
        reasons.insert(field.to_owned(), NOT_HERE.to_owned());
    }
    let load = load();
    State {
        load_1m: noted(&mut reasons, "load_1m", load.clone().map(|load| load[0])),
        load_15m: noted(&mut reasons, "load_15m", load.map(|load| load[2])),
        reasons,
        ..State::default()
    }
}

#[allow(unsafe_code, reason = "getloadavg has no safe wrapper in std")]
fn load() -> Result<[f64; 3], String> {
    let mut load = [0.0; 3];
    // SAFETY: `load` has room for the three numbers that are asked for.
    let found = unsafe { libc::getloadavg(load.as_mut_ptr(), 3) };
    if found == 3 { Ok(load) } else { Err("getloadavg gave no answer".to_owned()) }
}

/// Integers of four or eight bytes.
fn number(name: &str) -> Result<u64, String> {
    let bytes = value(name)?;
    match bytes.as_slice() {
        [a, b, c, d] => Ok(u64::from(u32::from_ne_bytes([*a, *b, *c, *d]))),
        [a, b, c, d, e, f, g, h] => Ok(u64::from_ne_bytes([*a, *b, *c, *d, *e, *f, *g, *h])),
        _ => Err(format!("{name}: expected an integer, found {} bytes", bytes.len())),
    }
}

fn text(name: &str) -> Result<String, String> {
    let bytes = value(name)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned())
}

#[allow(unsafe_code, reason = "sysctlbyname has no safe wrapper in std")]
fn value(name: &str) -> Result<Vec<u8>, String> {
    let absent = || format!("{name}: not on this system");
    let known = CString::new(name).map_err(|_| absent())?;
    let mut bytes = vec![0_u8; 256];
    let mut size = bytes.len();
    // SAFETY: the name ends in a zero, `size` is the length of `bytes`, and nothing is written to the system.
    let result = unsafe {
        libc::sysctlbyname(known.as_ptr(), bytes.as_mut_ptr().cast(), &raw mut size, std::ptr::null_mut(), 0)
    };
    if result != 0 {
        return Err(absent());
    }
    bytes.truncate(size);
    Ok(bytes)
}
