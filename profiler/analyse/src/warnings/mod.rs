//! What may disturb the numbers, and what to do about it.
//!
//! Some warnings are known before a run ([`before()`]), some only from its samples ([`after()`]). Each threshold is defined where it is
//! used, with its reason. Each text has its advice.

mod after;
mod before;
mod conditions;
mod text;
mod worst;

use crate::drift::Drift;
use crate::served_weights::ServedWeights;
use crate::summary::Disturbances;

pub use after::after;
pub use before::{before, throttled};
pub(crate) use conditions::FullMemory;

use record::{Pass, ProbeEffect, RunFile, Status};

/// Every warning of a run as text: from its environment, its notes, and its samples. `probes` are the probe effects of its cases.
#[must_use]
pub fn texts(file: &RunFile, probes: &[ProbeEffect]) -> Vec<String> {
    let mut found = Vec::new();
    let after = after(file, probes);
    // Without a measurement nothing was disturbed: what failed is what matters.
    let has_failed = file.cases.iter().any(|case| case.status != Status::Ok);
    if has_failed && !file.has_samples() {
        found.extend(after.iter().filter(|warning| warning.is_about_the_run()).map(Warning::text));
        found.extend(file.messages.iter().cloned());
        return found;
    }
    if !file.plan.virtual_time {
        let threads = if file.threads_are_names() { &[][..] } else { &file.plan.threads };
        let of_this_run = |warning: &&Warning| !(file.uses_only_servers() && warning.is_about_own_kernels());
        let before = before(&file.environment, &file.tool, threads);
        let is_covered = |warning: &&Warning| after.iter().any(|other| warning.is_covered_by(other));
        let shown = before.iter().filter(of_this_run).filter(|warning| !is_covered(warning));
        found.extend(shown.map(Warning::text));
    }
    found.extend(file.messages.iter().cloned());
    found.extend(throttled(&file.environment, file.throttle_events_after.value()).map(|warning| warning.text()));
    found.extend(after.iter().map(Warning::text));
    found
}

/// Share of the processor time that the hypervisor took away.
const STEAL: f64 = 0.01;

/// Something that may disturb the numbers.
#[derive(Debug, Clone, PartialEq)]
pub enum Warning {
    /// The program was not optimised.
    DebugBuild,
    /// The processor has features that the build could not use.
    FeaturesMissing(Vec<String>),
    /// Other programs were running before the run.
    OthersBefore {
        /// The load of the last minute, and the hardware threads; where it is high.
        load: Option<(f64, usize)>,
        /// The share of the processor time in use just before; where it is high.
        busy: Option<f64>,
    },
    /// The hypervisor took processor time before the run: share.
    StealBefore(f64),
    /// The governor lowers the frequency: its name.
    Governor(String),
    /// Transparent huge pages are off.
    HugePagesOff,
    /// Swap is in use: bytes.
    SwapInUse(u64),
    /// More threads than the process may use at once: asked for, usable.
    Oversubscribed(usize, usize),
    /// The machine runs on battery.
    Battery,
    /// More threads than the processors that a control group allows: limit.
    ProcessorLimit(f64),
    /// A virtual machine: hardware counters, frequencies and other guests are not visible.
    Virtual(Option<String>),
    /// Thermal throttling is not reported.
    ThrottlingUnknown,
    /// The processor was throttled by heat during the run: number of events.
    Throttled(u64),
    /// The package was throttled, but no core: number of events.
    PackageThrottled(u64),
    /// The processor came close to its critical temperature: degrees Celsius, critical degrees.
    Hot(f64, f64),
    /// The frequency fell between requests: cases, the worst of them, its fall as a share.
    FrequencyFell(usize, String, f64),
    /// The energy preference of hardware-managed frequencies: its name.
    Preference(String),
    /// A setting changed during the run: its name, before, now.
    SettingChanged(&'static str, String, String),
    /// A control group throttled the engine: samples, seconds, largest share of a latency.
    GroupThrottled(usize, f64, f64),
    /// Tasks waited for memory: samples, seconds, largest share of a latency.
    MemoryPressure(usize, f64, f64),
    /// Tasks waited for storage: samples, seconds, largest share of a latency.
    StoragePressure(usize, f64, f64),
    /// Files were evicted from memory and read again: bytes.
    Refaults(u64),
    /// The model is on memory nodes where no thread runs: cases, the worst of them, share of its pages.
    RemoteMemory(usize, String, f64),
    /// A library is loaded into every process: its name.
    Preload(String),
    /// Samples of one case have different outputs: the case, whether its server worked for other clients meanwhile.
    OutputDiffers(String, bool),
    /// An output token is not the most likely one of the steps: cases, the first of them, its output token from 1.
    StepsDiffer(usize, String, usize),
    /// The instruments slowed passes down: each pass with its ratio (median over the cases).
    ProbeEffect(Vec<(Pass, f64)>),
    /// Passes were faster with their instruments than without: each pass with its ratio (median over the cases).
    ProbeNoise(Vec<(Pass, f64)>),
    /// The hypervisor took processor time during samples: samples, largest share.
    Steal(usize, f64),
    /// Other processes took processor time during samples: samples, largest share.
    Others(usize, f64),
    /// Requests were disturbed, and their prompt rounds were measured again.
    Disturbed(Disturbances),
    /// The last rounds were slower or faster than the first: ratio (median over the cases).
    Drift(f64),
    /// Latencies vary widely: cases, the worst of them, its (max - min) / median.
    Spread(usize, String, f64),
    /// Warm-up reached its limit before requests were steady: cases, the worst of them, its last change.
    Unsteady(usize, String, f64),
    /// Much time is between the phases: cases, the worst of them, its share of the latency.
    OtherTime(usize, String, f64),
    /// The memory bandwidth drifted during the run, or differs from the stored ceiling.
    Bandwidth {
        /// The probes of the run.
        probes: Drift,
        /// Probed / stored, where the two differ.
        of_ceiling: Option<f64>,
    },
    /// The weights are random: the models.
    Synthetic(Vec<String>),
    /// Something stands in for what a model's files do not contain: the model, what is missing, what was used.
    Substituted(String, String, String),
    /// A server does not list the file that was named for it, or reports other weights.
    OtherWeights(ServedWeights),
    /// Time was virtual: the numbers are not those of a machine.
    VirtualTime,
    /// Cases failed: their number, and that of all cases.
    Failures(usize, usize),
    /// The run was interrupted: incomplete cases, all cases.
    Interrupted(usize, usize),
}

impl Warning {
    /// Whether it concerns the code of engines in this program's processes, which a server does not run.
    const fn is_about_own_kernels(&self) -> bool {
        matches!(self, Self::FeaturesMissing(_))
    }

    /// Whether it says less of the fact that `other` states: what was seen before the run, where the requests themselves showed it.
    const fn is_covered_by(&self, other: &Self) -> bool {
        matches!((self, other), (Self::OthersBefore { .. }, Self::Others(..)) | (Self::StealBefore(_), Self::Steal(..)))
    }

    /// Whether it concerns the run as a whole, not what disturbed its measurements.
    const fn is_about_the_run(&self) -> bool {
        matches!(self, Self::Interrupted(..) | Self::Failures(..))
    }
}

#[cfg(test)]
mod tests {
    use engine_api::{Device, Identity, WeightUse};
    use record::environment::Environment;
    use record::{Case, Sample};

    use super::*;

    /// A run on a loaded machine with fewer features than it could have, whose only engine computes on this device.
    fn run(device: Device, case: Case) -> RunFile {
        let identity = Identity {
            name: "e".to_owned(),
            variant: None,
            version: "1".to_owned(),
            device,
            features: Vec::new(),
            weight_use: WeightUse::default(),
        };
        let mut environment = Environment { engines: vec![identity], ..Environment::default() };
        environment.host.architecture = "x86_64".to_owned();
        environment.processor.features = vec!["avx2".to_owned(), "fma".to_owned()];
        environment.processor.usable_threads = 2.into();
        environment.state.load_1m = 9.0.into();
        let plan = record::plan::PlanFile { threads: vec![4], ..record::plan::PlanFile::default() };
        RunFile { environment, plan, cases: vec![case], ..RunFile::default() }
    }

    fn measured() -> Case {
        Case { samples: vec![Sample { latency_s: 1.0.into(), ..Sample::absent("not measured") }], ..Case::default() }
    }

    #[test]
    fn a_run_without_a_measurement_has_no_warnings_about_disturbances() {
        let failed = Case { status: Status::Failed, ..Case::default() };
        let found = texts(&run(Device::Cpu, failed), &[]);
        assert_eq!(found, ["1 of 1 cases failed; \"Failures\" has the reasons"]);
    }

    #[test]
    fn one_fact_has_one_warning() {
        let mut case = measured();
        case.samples[0].load_others = 0.5.into();
        let mut file = run(Device::Cpu, case);
        file.environment.state.busy_now = 0.9.into();
        file.environment.state.steal_now = 0.2.into();
        let about = |found: &[String], part: &str| found.iter().filter(|text| text.contains(part)).count();
        let found = texts(&file, &[]);
        assert_eq!(about(&found, "other programs"), 1, "those during the requests: {found:#?}");
        assert_eq!(about(&found, "hypervisor"), 1, "only seen before: {found:#?}");
        file.cases[0].samples[0].load_others = 0.0.into();
        file.cases[0].samples[0].steal = 0.3.into();
        let found = texts(&file, &[]);
        assert_eq!((about(&found, "other programs"), about(&found, "hypervisor")), (1, 1), "{found:#?}");
        assert!(found.iter().any(|text| text.contains("load of the last minute") && text.contains("90 %")));
    }

    #[test]
    fn a_server_has_its_own_code_and_threads() {
        let has = |found: &[String], part: &str| found.iter().any(|text| text.contains(part));
        let own = texts(&run(Device::Cpu, measured()), &[]);
        assert!(
            has(&own, "built without") && has(&own, "threads share") && has(&own, "load of the last minute"),
            "{own:?}"
        );
        let server = texts(&run(Device::Server, measured()), &[]);
        assert!(!has(&server, "built without") && !has(&server, "threads share"), "{server:?}");
        assert!(has(&server, "load of the last minute"), "{server:?}");
    }
}
