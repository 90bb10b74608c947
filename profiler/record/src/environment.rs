//! The machine that a run was measured on: what it is, and its state before, during and after the run.
//!
//! Wire types only; the readers are in the crate `meter`. A value that cannot be read is `null`, and the `reasons` of the same
//! object say why.

use std::collections::BTreeMap;

use engine_api::Identity;
use serde::{Deserialize, Serialize};

use crate::Reasons;
pub use crate::features::{missing_in_build, present};

/// The machine and its state when a run began.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// Operating system, kernel, virtualisation.
    pub host: Host,
    /// Processor, caches, frequencies.
    pub processor: Processor,
    /// Memory, huge pages, swap.
    pub memory: Memory,
    /// What a container or control group grants.
    pub limits: Limits,
    /// Where the power comes from.
    pub power: Power,
    /// Load and steal when the run began.
    pub state: State,
    /// Engines that took part, with their versions, in the order of the plan's labels.
    pub engines: Vec<Identity>,
    /// Environment variables that change what is measured.
    pub variables: Variables,
}

/// The system around the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// Distribution or system with its version.
    pub system: Option<String>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Architecture that this program was built for.
    pub architecture: String,
    /// Maker and product of the machine.
    pub machine: Option<String>,
    /// Whether the machine is virtual.
    pub virtualised: Option<bool>,
    /// The name of the hypervisor, where it reports one.
    pub hypervisor: Option<String>,
    /// The kind of container, `none` outside one.
    pub container: Option<String>,
    /// The kernel's clock source.
    pub clock_source: Option<String>,
    /// Whether the program is translated from another architecture while it runs, by Rosetta (macOS only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub translated: Option<bool>,
    /// Why a field is `null`.
    #[serde(skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
}

/// The processor as the system shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Processor {
    /// Its name.
    pub model: Option<String>,
    /// Sockets with a processor that is on line.
    pub sockets: Option<usize>,
    /// Physical cores that are on line.
    pub cores: Option<usize>,
    /// Hardware threads that are on line.
    pub threads: Option<usize>,
    /// Threads that this process may use at once: affinity and control group counted.
    pub usable_threads: Option<usize>,
    /// Its caches.
    pub caches: Vec<Cache>,
    /// Kinds of cores, the fastest first (macOS only); empty where all are alike.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<CoreKind>,
    /// Bytes that a miss of the last cache brings; `null` where the system does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_line_bytes: Option<u64>,
    /// Frequency governor.
    pub governor: Option<String>,
    /// Lowest frequency.
    pub frequency_min_hz: Option<u64>,
    /// Highest frequency.
    pub frequency_max_hz: Option<u64>,
    /// Frequency of the first processor when it was read.
    pub frequency_now_hz: Option<u64>,
    /// Whether turbo frequencies are allowed.
    pub turbo: Option<bool>,
    /// Thermal throttle events since boot, all cores.
    pub throttle_events: Option<u64>,
    /// Features that matter for inference, by the compiler's names.
    pub features: Vec<String>,
    /// Memory nodes.
    pub numa_nodes: Option<usize>,
    /// Why a field is `null`.
    #[serde(skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
}

/// All caches of one level and kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// 1, 2, 3.
    pub level: u32,
    /// `data`, `instruction` or `unified`.
    pub kind: String,
    /// Size of one instance.
    pub bytes: u64,
    /// How many there are.
    pub instances: usize,
}

/// Cores of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CoreKind {
    /// `performance`, `efficiency`.
    pub name: String,
    /// Cores of it.
    pub cores: usize,
}

/// Memory as the system shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// All of it.
    pub total_bytes: Option<u64>,
    /// What new programs can have without swapping.
    pub available_bytes: Option<u64>,
    /// Swap.
    pub swap_total_bytes: Option<u64>,
    /// Swap in use.
    pub swap_used_bytes: Option<u64>,
    /// Transparent huge pages: `always`, `madvise` or `never`.
    pub transparent_huge_pages: Option<String>,
    /// What a fault does when no huge page is free.
    pub huge_page_defrag: Option<String>,
    /// Size of a page.
    pub page_bytes: Option<u64>,
    /// Why a field is `null`.
    #[serde(skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
}

/// Limits of the control groups around this process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// `v1`, `v2` or `hybrid`.
    pub version: Option<String>,
    /// Memory; `null` without a limit.
    pub memory_bytes: Option<u64>,
    /// Processors' worth of time, such as 1.5; `null` without a limit.
    pub cpus: Option<f64>,
    /// Why a field is `null`.
    #[serde(skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
}

/// Power as the system shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Power {
    /// `mains`, `battery` or, on macOS, `ups`.
    pub source: Option<String>,
    /// Whether the user asked for low power, which lowers frequencies (macOS only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low_power_mode: Option<bool>,
    /// Charge of the battery in percent.
    pub battery_percent: Option<u32>,
    /// Why a field is `null`.
    #[serde(skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
}

/// Load and steal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Tasks that ran or waited to run, averaged over the last minute.
    pub load_1m: Option<f64>,
    /// The same over 15 minutes.
    pub load_15m: Option<f64>,
    /// Seconds since boot.
    pub uptime_s: Option<f64>,
    /// Share of the processor time since boot that the hypervisor took away, 0 to 1.
    pub steal_since_boot: Option<f64>,
    /// The same over the tenth of a second before the run.
    pub steal_now: Option<f64>,
    /// Share of the processor time that was in use in that tenth of a second, 0 to 1 of all processors.
    pub busy_now: Option<f64>,
    /// How much the kernel slows the processor down to keep it cool (macOS only): `nominal`, `moderate`, `heavy`, `trapping`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thermal_pressure: Option<String>,
    /// The scheduling class (QoS) of this program (macOS only); `background` keeps it on efficiency cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling_class: Option<String>,
    /// Why a field is `null`.
    #[serde(skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
}

/// What is kept of the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Variables {
    /// Name to value.
    pub kept: BTreeMap<String, String>,
    /// Names that matter and whose values were left out because they look like secrets.
    pub hidden: Vec<String>,
}

/// The machine at one moment of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// `before`, `round 1`, ..., `after`.
    pub moment: String,
    /// The model whose cases were measured around it.
    pub model: String,
    /// Frequency of each processor, in Hz.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frequencies_hz: Vec<u64>,
    /// Frequency governor of the first processor.
    pub governor: Option<String>,
    /// What its hardware-managed frequencies prefer: `performance`, `balance_power`, ...
    pub energy_preference: Option<String>,
    /// Whether turbo frequencies are allowed.
    pub turbo: Option<bool>,
    /// Temperatures and throttling.
    pub heat: Heat,
    /// What the control groups around this process have used.
    pub group: GroupUsage,
    /// For how long tasks waited.
    pub pressure: Pressure,
    /// Why a field is `null`.
    #[serde(skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
}

/// The temperatures and throttle events that the machine reports.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heat {
    /// The hottest sensor of the processor, in degrees Celsius.
    pub processor_celsius: Option<f64>,
    /// The temperature at which that processor slows down or is switched off, where the sensor reports it.
    pub limit_celsius: Option<f64>,
    /// Every sensor.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sensors: Vec<Sensor>,
    /// Times since boot that a core was slowed down by heat, all cores.
    pub core_throttles: Option<u64>,
    /// Times since boot that a whole package was, all packages.
    pub package_throttles: Option<u64>,
    /// For how long, the sum over the cores, in seconds.
    pub throttled_s: Option<f64>,
    /// Why a field is `null`.
    #[serde(skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
}

/// One sensor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sensor {
    /// Driver and label: `coretemp Package id 0`.
    pub name: String,
    /// Degrees Celsius.
    pub celsius: f64,
    /// Critical temperature, where it is reported.
    pub critical_celsius: Option<f64>,
}

/// What the control groups around this process have used so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupUsage {
    /// Memory in use, page cache included.
    pub memory_bytes: Option<u64>,
    /// The most that was in use at once since the group was made.
    pub memory_peak_bytes: Option<u64>,
    /// Of the memory in use: heap, stacks.
    pub anonymous_bytes: Option<u64>,
    /// Of the memory in use: page cache, mapped files.
    pub file_bytes: Option<u64>,
    /// Pages of files that were dropped for want of memory and read again.
    pub refaults: Option<u64>,
    /// Periods in which the group was stopped because its processor time was used up.
    pub throttled_periods: Option<u64>,
    /// For how long, summed over its processors, in seconds.
    pub throttled_s: Option<f64>,
    /// Time in which some task of the group waited for memory, in seconds (version 2 only).
    pub memory_stall_s: Option<f64>,
    /// Why a field is `null`.
    #[serde(skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
}

/// Totals since boot, in seconds. *Some*: at least one task waited; *full*: no task got on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pressure {
    /// Some task waited for a processor.
    pub cpu_some_s: Option<f64>,
    /// Some task waited for memory: reclaim, swap, pages of files that were dropped.
    pub memory_some_s: Option<f64>,
    /// All of them did.
    pub memory_full_s: Option<f64>,
    /// Some task waited for storage.
    pub io_some_s: Option<f64>,
    /// All of them did.
    pub io_full_s: Option<f64>,
    /// Why a field is `null`.
    #[serde(skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
}
