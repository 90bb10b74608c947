//! What may disturb the numbers, and what to do about it.
//!
//! Some of it is known before a run ([`before()`]), some only from its samples ([`after()`]). Each threshold stands where it is
//! used, with its reason; each text has its advice.

mod after;
mod before;
mod conditions;
mod text;
mod worst;

use crate::drift::Drift;
use crate::summary::Disturbances;

pub use after::after;
pub use before::{before, throttled};

use record::{Pass, ProbeEffect, RunFile};

/// Every warning of a run as text: from its environment, its notes, and its samples. `probes` are the probe effects of its cases.
#[must_use]
pub fn texts(file: &RunFile, probes: &[ProbeEffect]) -> Vec<String> {
    let mut found = Vec::new();
    if !file.plan.virtual_time {
        found.extend(before(&file.environment, &file.tool, &file.plan.threads).iter().map(Warning::text));
    }
    found.extend(file.notes.iter().cloned());
    found.extend(throttled(&file.environment, file.throttle_events_after).map(|warning| warning.text()));
    found.extend(after(file, probes).iter().map(Warning::text));
    found
}

/// Share of the processor time that the hypervisor took away.
const STEAL: f64 = 0.01;

/// One thing that may disturb the numbers.
#[derive(Debug, Clone, PartialEq)]
pub enum Warning {
    /// The program was not optimised.
    DebugBuild,
    /// The processor has features that the build could not use.
    FeaturesMissing(Vec<String>),
    /// Something else was running: load of the last minute, processors.
    Load(f64, usize),
    /// Something else was using the processors just before the run: share.
    Busy(f64),
    /// The hypervisor took time away before the run: share.
    StealBefore(f64),
    /// The governor lowers the frequency: its name.
    Governor(String),
    /// Transparent huge pages are off.
    HugePagesOff,
    /// Swap is in use: bytes.
    SwapInUse(u64),
    /// More threads than the process may use at once: asked for, usable.
    Oversubscribed(usize, usize),
    /// The machine runs on its battery.
    Battery,
    /// More processors' worth of threads than a control group grants: limit.
    ProcessorLimit(f64),
    /// A virtual machine: hardware counters, frequencies and neighbours cannot be seen.
    Virtual(Option<String>),
    /// Whether the processor was throttled cannot be seen.
    ThrottlingUnknown,
    /// The processor was slowed down by heat during the run: so many times.
    Throttled(u64),
    /// Whole packages were, though no core was: so many times.
    PackageThrottled(u64),
    /// The processor came near its critical temperature: degrees Celsius, the critical ones.
    Hot(f64, f64),
    /// Processors ran slower during some requests than during others: cases, the worst of them, its fall as a share.
    FrequencyFell(usize, String, f64),
    /// Hardware-managed frequencies prefer to save energy: the preference.
    Preference(String),
    /// A setting changed during the run: its name, before, now.
    SettingChanged(&'static str, String, String),
    /// A control group stopped the engine: samples, seconds, largest share of a latency.
    GroupThrottled(usize, f64, f64),
    /// Tasks waited for memory: samples, seconds, largest share of a latency.
    MemoryPressure(usize, f64, f64),
    /// Tasks waited for storage: samples, seconds, largest share of a latency.
    StoragePressure(usize, f64, f64),
    /// The control group dropped files for want of memory and read them again: bytes.
    Refaults(u64),
    /// The model lies on memory nodes where no thread runs: cases, the worst of them, share of its pages.
    RemoteMemory(usize, String, f64),
    /// A library is loaded into every process: its name.
    Preload(String),
    /// Samples of one case gave different outputs: the case.
    OutputDiffers(String),
    /// The steps hold another token likelier than the one that came out: cases, the first of them, its output token from 1.
    StepsDiffer(usize, String, usize),
    /// The instruments slowed a pass down: its name, ratio (median over the cases).
    ProbeEffect(Pass, f64),
    /// A pass was faster with its instruments than without: its name, ratio (median over the cases).
    ProbeNoise(Pass, f64),
    /// The hypervisor took time away during samples: samples, largest share.
    Steal(usize, f64),
    /// Other processes took time during samples: samples, largest share.
    Others(usize, f64),
    /// Requests were disturbed, and their blocks were measured again.
    Disturbed(Disturbances),
    /// The last rounds were slower or faster than the first: ratio (median over the cases).
    Drift(f64),
    /// Latencies spread widely: cases, the worst of them, its (max - min) / median.
    Spread(usize, String, f64),
    /// Warm-up ended at its limit with requests that still changed: cases, the worst of them, its last change.
    Unsteady(usize, String, f64),
    /// Time between the phases is large: cases, the worst of them, its share of the latency.
    OtherTime(usize, String, f64),
    /// The memory bandwidth moved during the run.
    BandwidthDrift(Drift),
    /// The ceilings that are kept differ from what was probed: threads, probed / kept.
    CeilingsDiffer(usize, f64),
    /// Numbers rest on random weights: the models.
    Synthetic(Vec<String>),
    /// Time was virtual: the numbers say nothing about a machine.
    VirtualTime,
    /// Cases did not end well: how many, of how many.
    Failures(usize, usize),
    /// The run was interrupted.
    Interrupted,
}
