//! The machine that a run was measured on: what it is, and its state before, during and after the run.
//!
//! Wire types only; the readers are in the crate `meter`. A value that cannot be read carries the reason.

use std::collections::BTreeMap;

use engine_api::Identity;
use serde::{Deserialize, Serialize};

use crate::named::named;
use crate::recorded::{unrecorded, with_reasons};
use crate::{Moment, Reason, Reasons, Recorded, RecordedList};

pub use crate::features::{missing_in_build, present};

/// The machine and its state when a run began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

impl Environment {
    /// A machine of which nothing is known, for one reason.
    pub fn absent(reason: impl Into<Reason>) -> Self {
        let reason = reason.into();
        Self {
            host: Host::absent(reason.clone()),
            processor: Processor::absent(reason.clone()),
            memory: Memory::absent(reason.clone()),
            limits: Limits::absent(reason.clone()),
            power: Power::absent(reason.clone()),
            state: State::absent(reason),
            engines: Vec::new(),
            variables: Variables::default(),
        }
    }
}

/// The machine of a record that does not have one.
impl Default for Environment {
    fn default() -> Self {
        Self::absent(Reason::unrecorded())
    }
}

with_reasons! {
    /// The system around the process.
    pub struct Host {
        /// Distribution or system with its version.
        pub system: Recorded<String>,
        /// Kernel release.
        pub kernel: Recorded<String>,
        /// Architecture that this program was built for.
        #[serde(default)]
        pub architecture: String,
        /// Maker and product of the machine.
        pub machine: Recorded<String>,
        /// Whether the machine is virtual.
        pub virtualised: Recorded<bool>,
        /// The name of the hypervisor, where it reports one.
        pub hypervisor: Recorded<String>,
        /// The kind of container, `none` outside one.
        pub container: Recorded<String>,
        /// The kernel's clock source.
        pub clock_source: Recorded<String>,
        /// Whether the program is translated from another architecture while it runs, by Rosetta (macOS only).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub translated: Option<bool>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

with_reasons! {
    /// The processor as the system shows it.
    pub struct Processor {
        /// Its name.
        pub model: Recorded<String>,
        /// Sockets with a processor that is on line.
        pub sockets: Recorded<usize>,
        /// Physical cores that are on line.
        pub cores: Recorded<usize>,
        /// Hardware threads that are on line.
        pub threads: Recorded<usize>,
        /// Threads that this process may use at once: affinity and control group counted.
        pub usable_threads: Recorded<usize>,
        /// Its caches.
        #[serde(default)]
        pub caches: RecordedList<Cache>,
        /// Kinds of cores, the fastest first (macOS only); empty where all are alike.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub kinds: Vec<CoreKind>,
        /// Bytes that a miss of the last cache brings; `null` where the system does not tell.
        #[serde(skip_serializing_if = "Recorded::is_absent")]
        pub cache_line_bytes: Recorded<u64>,
        /// Frequency governor.
        pub governor: Recorded<String>,
        /// Lowest frequency.
        pub frequency_min_hz: Recorded<u64>,
        /// Highest frequency.
        pub frequency_max_hz: Recorded<u64>,
        /// Frequency of the first processor when it was read.
        pub frequency_now_hz: Recorded<u64>,
        /// Whether turbo frequencies are allowed.
        pub turbo: Recorded<bool>,
        /// Thermal throttle events since boot, all cores.
        pub throttle_events: Recorded<u64>,
        /// Features that matter for inference, by the compiler's names.
        #[serde(default)]
        pub features: Vec<String>,
        /// Memory nodes.
        pub numa_nodes: Recorded<usize>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

/// All caches of one level and kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// 1, 2, 3.
    pub level: u32,
    /// What it holds.
    pub kind: CacheKind,
    /// Size of one instance.
    pub bytes: u64,
    /// How many there are.
    pub instances: usize,
}

named! {
    /// What a cache holds.
    pub enum CacheKind {
        /// Data.
        Data = "data",
        /// Instructions.
        Instruction = "instruction",
        /// Both.
        Unified = "unified",
    }
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

with_reasons! {
    /// Memory as the system shows it.
    pub struct Memory {
        /// All of it.
        pub total_bytes: Recorded<u64>,
        /// What new programs can have without swapping.
        pub available_bytes: Recorded<u64>,
        /// Swap.
        pub swap_total_bytes: Recorded<u64>,
        /// Swap in use.
        pub swap_used_bytes: Recorded<u64>,
        /// Transparent huge pages: `always`, `madvise` or `never`.
        pub transparent_huge_pages: Recorded<String>,
        /// What a fault does when no huge page is free.
        pub huge_page_defrag: Recorded<String>,
        /// Size of a page.
        pub page_bytes: Recorded<u64>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

with_reasons! {
    /// Limits of the control groups around this process.
    pub struct Limits {
        /// The version of the control groups.
        pub version: Recorded<GroupVersion>,
        /// Memory; `null` without a limit.
        pub memory_bytes: Recorded<u64>,
        /// Processors' worth of time, such as 1.5; `null` without a limit.
        pub cpus: Recorded<f64>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

named! {
    /// The version of the control groups of a system.
    pub enum GroupVersion {
        /// Version 1.
        V1 = "v1",
        /// Version 2.
        V2 = "v2",
        /// Both.
        Hybrid = "hybrid",
    }
}

with_reasons! {
    /// Power as the system shows it.
    pub struct Power {
        /// Where it comes from.
        pub source: Recorded<PowerSource>,
        /// Whether the user asked for low power, which lowers frequencies (macOS only).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub low_power_mode: Option<Recorded<bool>>,
        /// Charge of the battery in percent.
        pub battery_percent: Recorded<u32>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

named! {
    /// Where the power comes from.
    pub enum PowerSource {
        /// The mains.
        Mains = "mains",
        /// A battery.
        Battery = "battery",
        /// An uninterruptible power supply (macOS only).
        Ups = "ups",
    }
}

with_reasons! {
    /// Load and steal.
    pub struct State {
        /// Tasks that ran or waited to run, averaged over the last minute.
        pub load_1m: Recorded<f64>,
        /// The same over 15 minutes.
        pub load_15m: Recorded<f64>,
        /// Seconds since boot.
        pub uptime_s: Recorded<f64>,
        /// Share of the processor time since boot that the hypervisor took away, 0 to 1.
        pub steal_since_boot: Recorded<f64>,
        /// The same over the tenth of a second before the run.
        pub steal_now: Recorded<f64>,
        /// Share of the processor time that was in use in that tenth of a second, 0 to 1 of all processors.
        pub busy_now: Recorded<f64>,
        /// How much the kernel slows the processor down to keep it cool (macOS only).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub thermal_pressure: Option<Recorded<ThermalPressure>>,
        /// The scheduling class (QoS) of this program (macOS only); `background` keeps it on efficiency cores.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub scheduling_class: Option<Recorded<SchedulingClass>>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

named! {
    /// How much the kernel of macOS slows the processor down, the least first.
    pub enum ThermalPressure {
        /// Not at all.
        Nominal = "nominal",
        /// Somewhat.
        Moderate = "moderate",
        /// Much.
        Heavy = "heavy",
        /// As much as it can.
        Trapping = "trapping",
        /// The machine is about to sleep.
        Sleeping = "sleeping",
    }
}

named! {
    /// The scheduling class (QoS) of a program on macOS, by the names of `sys/qos.h`.
    pub enum SchedulingClass {
        /// `QOS_CLASS_USER_INTERACTIVE`.
        UserInteractive = "user-interactive",
        /// `QOS_CLASS_USER_INITIATED`.
        UserInitiated = "user-initiated",
        /// `QOS_CLASS_DEFAULT`.
        Default = "default",
        /// `QOS_CLASS_UTILITY`.
        Utility = "utility",
        /// `QOS_CLASS_BACKGROUND`: it stays on efficiency cores.
        Background = "background",
        /// `QOS_CLASS_UNSPECIFIED`.
        Unspecified = "unspecified",
    }
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

/// The conditions at one moment of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConditionsAt {
    /// When they were read: `before`, `round 1`, ..., `after`.
    #[serde(with = "crate::moment::as_text")]
    pub moment: Moment,
    /// The model whose cases were measured around it.
    pub model: String,
    /// The conditions: fields of the same object in a file.
    #[serde(flatten)]
    pub conditions: Conditions,
}

with_reasons! {
    /// What changes on a machine while it computes.
    pub struct Conditions {
        /// Frequency of each processor, in Hz.
        #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
        pub frequencies_hz: RecordedList<u64>,
        /// Frequency governor of the first processor.
        pub governor: Recorded<String>,
        /// What its hardware-managed frequencies prefer: `performance`, `balance_power`, ...
        pub energy_preference: Recorded<String>,
        /// Whether turbo frequencies are allowed.
        pub turbo: Recorded<bool>,
        /// Temperatures and throttling.
        #[serde(default = "unrecorded")]
        pub heat: Heat,
        /// What the control groups around this process have used.
        #[serde(default = "unrecorded")]
        pub group: GroupUsage,
        /// For how long tasks waited.
        #[serde(default = "unrecorded")]
        pub pressure: Pressure,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

with_reasons! {
    /// The temperatures and throttle events that the machine reports.
    pub struct Heat {
        /// The hottest sensor of the processor, in degrees Celsius.
        pub processor_celsius: Recorded<f64>,
        /// The temperature at which that processor slows down or is switched off, where the sensor reports it.
        pub limit_celsius: Recorded<f64>,
        /// Every sensor.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub sensors: Vec<Sensor>,
        /// Times since boot that a core was slowed down by heat, all cores.
        pub core_throttles: Recorded<u64>,
        /// Times since boot that a whole package was, all packages.
        pub package_throttles: Recorded<u64>,
        /// For how long, the sum over the cores, in seconds.
        pub throttled_s: Recorded<f64>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
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

with_reasons! {
    /// What the control groups around this process have used so far.
    pub struct GroupUsage {
        /// Memory in use, page cache included.
        pub memory_bytes: Recorded<u64>,
        /// The most that was in use at once since the group was made.
        pub memory_peak_bytes: Recorded<u64>,
        /// Of the memory in use: heap, stacks.
        pub anonymous_bytes: Recorded<u64>,
        /// Of the memory in use: page cache, mapped files.
        pub file_bytes: Recorded<u64>,
        /// Pages of files that were dropped for want of memory and read again.
        pub refaults: Recorded<u64>,
        /// Periods in which the group was stopped because its processor time was used up.
        pub throttled_periods: Recorded<u64>,
        /// For how long, summed over its processors, in seconds.
        pub throttled_s: Recorded<f64>,
        /// Time in which some task of the group waited for memory, in seconds (version 2 only).
        pub memory_stall_s: Recorded<f64>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

with_reasons! {
    /// Totals since boot, in seconds. *Some*: at least one task waited; *full*: no task got on.
    pub struct Pressure {
        /// Some task waited for a processor.
        pub cpu_some_s: Recorded<f64>,
        /// Some task waited for memory: reclaim, swap, pages of files that were dropped.
        pub memory_some_s: Recorded<f64>,
        /// All of them did.
        pub memory_full_s: Recorded<f64>,
        /// Some task waited for storage.
        pub io_some_s: Recorded<f64>,
        /// All of them did.
        pub io_full_s: Recorded<f64>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Fields that are `null` although the `reasons` of their object have no entry for them.
    fn unexplained(path: &str, value: &Value) -> Vec<String> {
        let Some(fields) = value.as_object() else { return Vec::new() };
        let known = |name: &str| value["reasons"].get(name).is_some();
        let of = |(name, value): (&String, &Value)| match value {
            Value::Null if known(name) => Vec::new(),
            Value::Null => vec![format!("{path}.{name}")],
            _ => unexplained(&format!("{path}.{name}"), value),
        };
        fields.iter().flat_map(of).collect()
    }

    #[test]
    fn every_value_of_an_unknown_machine_has_the_reason() {
        let environment = Environment::absent("not read");
        let value = serde_json::to_value(&environment).unwrap();
        assert_eq!(unexplained("environment", &value), [""; 0]);
        assert_eq!(value["processor"]["reasons"]["caches"], "not read", "an empty list too");
        assert_eq!(serde_json::from_value::<Environment>(value).unwrap(), environment);
        let at = ConditionsAt { moment: Moment::Round(0), model: "m".to_owned(), conditions: Conditions::absent("no") };
        let value = serde_json::to_value(&at).unwrap();
        assert_eq!(unexplained("conditions", &value), [""; 0]);
        assert_eq!((&value["moment"], &value["heat"]["reasons"]["throttled_s"]), (&"round 1".into(), &"no".into()));
        assert_eq!(serde_json::from_value::<ConditionsAt>(value).unwrap(), at);
    }

    #[test]
    fn an_older_environment_is_written_as_it_was_read() {
        let text = r#"{"host":{"system":"x","kernel":null,"architecture":"x86_64","machine":null,"virtualised":true,"hypervisor":null,"container":null,"clock_source":null,"reasons":{"kernel":"why"}}}"#;
        let read: Environment = serde_json::from_str(text).unwrap();
        let written = serde_json::to_value(&read).unwrap();
        assert_eq!(written["host"], serde_json::from_str::<Value>(text).unwrap()["host"]);
        assert_eq!(read.host.machine.reason().unwrap(), &Reason::unrecorded().as_str());
        assert!(written["processor"]["caches"].as_array().is_some_and(Vec::is_empty));
        let mac: State = serde_json::from_str(r#"{"reasons":{"thermal_pressure":"not on this system"}}"#).unwrap();
        assert_eq!(mac.thermal_pressure, Some(Recorded::absent("not on this system")));
        assert_eq!(mac.scheduling_class, None, "it does not apply");
    }
}
