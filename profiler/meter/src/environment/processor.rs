//! The processor: model, topology, caches, frequencies, features.

use record::environment::{Cache, CacheKind, Processor};
use std::collections::{BTreeMap, BTreeSet};

use crate::root::Root;
use record::{Reason, Reasons};

const CPUS: &str = "/sys/devices/system/cpu";

/// Reads `/proc/cpuinfo` and `/sys/devices/system/cpu`.
pub fn read(root: &Root) -> Processor {
    let info = root.text("/proc/cpuinfo");
    let model = info.clone().and_then(|text| model(&text));
    let info = info.unwrap_or_default();
    let topology = topology(root);
    let counted = |count: fn(&Topology) -> usize| topology.as_ref().map(count).map_err(Reason::clone).into();
    let flags = field(&info, "flags").or_else(|| field(&info, "Features")).unwrap_or_default();
    let flags: Vec<&str> = flags.split_whitespace().collect();
    // The architecture of the tree, not of this program: a recorded tree may be of another one.
    let architecture = if flags.contains(&"asimd") { "aarch64" } else { "x86_64" };
    let frequency = |name: &str| root.number::<u64>(&format!("{CPUS}/cpu0/cpufreq/{name}")).map(|khz| khz * 1000);
    let now = frequency("scaling_cur_freq").or_else(|why| {
        let mhz: Option<f64> = field(&info, "cpu MHz").and_then(|mhz| mhz.parse().ok());
        mhz.map(|mhz| (mhz * 1e6) as u64).ok_or(why)
    });
    Processor {
        model: model.into(),
        sockets: counted(|topology| topology.sockets),
        cores: counted(|topology| topology.cores),
        threads: counted(|topology| topology.threads),
        usable_threads: usable_threads().into(),
        kinds: Vec::new(),
        cache_line_bytes: cache_line(root).into(),
        caches: caches(root).into(),
        governor: root.text(&format!("{CPUS}/cpu0/cpufreq/scaling_governor")).into(),
        frequency_min_hz: frequency("cpuinfo_min_freq").into(),
        frequency_max_hz: frequency("cpuinfo_max_freq").into(),
        frequency_now_hz: now.into(),
        turbo: turbo(root).into(),
        throttle_events: throttle_events(root).into(),
        features: record::environment::present(architecture, &flags),
        numa_nodes: numa_nodes(root).into(),
        notes: Reasons::new(),
    }
}

/// Threads that this process may use at once.
///
/// # Errors
/// When the system does not report them.
pub(super) fn usable_threads() -> Result<usize, Reason> {
    std::thread::available_parallelism().map(std::num::NonZero::get).map_err(|error| reason!("{error}"))
}

struct Topology {
    sockets: usize,
    cores: usize,
    threads: usize,
}

/// The value of the first line `name : value`.
fn field(info: &str, name: &str) -> Option<String> {
    let line = info.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// x86 has `model name`; Arm kernels give only implementer and part numbers.
fn model(info: &str) -> Result<String, Reason> {
    if let Some(name) = field(info, "model name").or_else(|| field(info, "Model")) {
        return Ok(name);
    }
    match (field(info, "CPU implementer"), field(info, "CPU part")) {
        (Some(implementer), Some(part)) => Ok(format!("Arm implementer {implementer}, part {part}")),
        _ => Err(Reason::new("/proc/cpuinfo: has no model name")),
    }
}

/// Counts distinct (package, core) pairs of the online processors.
fn topology(root: &Root) -> Result<Topology, Reason> {
    let mut sockets = BTreeSet::new();
    let mut cores = BTreeSet::new();
    let mut threads = 0;
    for cpu in processors(root)? {
        let id = |name: &str| root.number::<i64>(&format!("{CPUS}/{cpu}/topology/{name}"));
        // An offline processor has no topology.
        let Ok(core) = id("core_id") else { continue };
        let package = id("physical_package_id")?;
        threads += 1;
        sockets.insert(package);
        cores.insert((package, id("die_id").unwrap_or(0), core));
    }
    match threads {
        0 => Err(reason!("{CPUS}: no processor shows its topology")),
        _ => Ok(Topology { sockets: sockets.len(), cores: cores.len(), threads }),
    }
}

fn processors(root: &Root) -> Result<Vec<String>, Reason> {
    let numbered = |name: &String| name.strip_prefix("cpu").is_some_and(|rest| rest.parse::<u32>().is_ok());
    Ok(root.names(CPUS)?.into_iter().filter(numbered).collect())
}

/// Instances of a cache are distinguished by the processors that share them.
fn caches(root: &Root) -> Result<Vec<Cache>, Reason> {
    let mut found: BTreeMap<(u32, CacheKind, u64), BTreeSet<String>> = BTreeMap::new();
    for cpu in processors(root)? {
        let folder = format!("{CPUS}/{cpu}/cache");
        for index in root.names(&folder).unwrap_or_default().iter().filter(|name| name.starts_with("index")) {
            let text = |name: &str| root.text(&format!("{folder}/{index}/{name}"));
            let (Ok(level), Ok(kind), Ok(size)) = (text("level"), text("type"), text("size")) else { continue };
            let kind = CacheKind::of_name(&kind.to_lowercase());
            let (Ok(level), Some(kind), Some(bytes)) = (level.parse(), kind, size_bytes(&size)) else { continue };
            let shared = text("shared_cpu_list").unwrap_or_else(|_| cpu.clone());
            found.entry((level, kind, bytes)).or_default().insert(shared);
        }
    }
    if found.is_empty() {
        return Err(reason!("{CPUS}: no processor shows its caches"));
    }
    Ok(found
        .into_iter()
        .map(|((level, kind, bytes), shared)| Cache { level, kind, bytes, instances: shared.len() })
        .collect())
}

/// The cache line size of the last cache level of the first processor.
///
/// # Errors
/// When the system does not report it.
fn cache_line(root: &Root) -> Result<u64, Reason> {
    let line = |index: u32| root.number(&format!("{CPUS}/cpu0/cache/index{index}/coherency_line_size")).ok();
    let found = (0..8).rev().find_map(line).filter(|&bytes| bytes > 0);
    found.ok_or_else(|| reason!("{CPUS}/cpu0/cache/index*/coherency_line_size: not on this system"))
}

/// `32K`, `1024K`, `32M` -> bytes.
fn size_bytes(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

pub(super) fn turbo(root: &Root) -> Result<bool, Reason> {
    let intel = root.number::<u8>(&format!("{CPUS}/intel_pstate/no_turbo")).map(|off| off == 0);
    intel.or_else(|_| root.number::<u8>(&format!("{CPUS}/cpufreq/boost")).map(|on| on == 1))
}

/// Thermal throttle events of this machine since boot.
///
/// # Errors
/// When the machine does not report them.
pub fn throttle_events_now() -> Result<u64, Reason> {
    throttle_events(&Root::system())
}

/// The sum of the counts per core. Package events are left out because each core counts them.
fn throttle_events(root: &Root) -> Result<u64, Reason> {
    let mut sum = None;
    for cpu in processors(root)? {
        if let Ok(count) = root.number::<u64>(&format!("{CPUS}/{cpu}/thermal_throttle/core_throttle_count")) {
            sum = Some(sum.unwrap_or(0) + count);
        }
    }
    sum.ok_or_else(|| reason!("{CPUS}/cpu*/thermal_throttle: not on this system"))
}

fn numa_nodes(root: &Root) -> Result<usize, Reason> {
    let path = "/sys/devices/system/node/online";
    let list = root.text(path)?;
    crate::root::count_list(&list).ok_or_else(|| reason!("{path}: expected a list, found \"{list}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_caches() {
        assert_eq!(size_bytes("32K"), Some(32 << 10));
        assert_eq!(size_bytes("36M"), Some(36 << 20));
        assert_eq!(size_bytes("64"), Some(64));
        assert_eq!(size_bytes("1X"), None);
    }

    #[test]
    fn models_of_arm_are_numbers() {
        let info = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n";
        assert_eq!(model(info).unwrap(), "Arm implementer 0x41, part 0xd40");
        assert!(model("processor\t: 0").is_err());
    }
}
