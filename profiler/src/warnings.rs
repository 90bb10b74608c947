//! What may disturb the numbers, and what to do about it.
//!
//! Some of it is known before a run ([`before`]), some only from its samples ([`after`]). The thresholds stand here, each
//! with its reason.

use std::collections::BTreeSet;

use crate::ceilings::{Drift, drift};
use crate::environment::{Environment, missing_in_build};
use crate::results::{Case, RunFile, Sample, Status, Tool};
use crate::statistics::{clean, median, percentile};

/// Tasks per processor that ran before anything was started: above this somebody else is at work.
const LOAD_PER_THREAD: f64 = 0.5;
/// Share of the processor time in use just before the run.
const BUSY: f64 = 0.2;
/// Share of the processor time that the hypervisor took away.
const STEAL: f64 = 0.01;
/// Share of the processor time that other processes took during a sample.
const OTHERS: f64 = 0.1;
/// A pass's latency over the clean pass's.
const PROBE: f64 = 1.1;
/// Time between the phases over the latency: more than this is work that has no name.
const OTHER: f64 = 0.01;
/// Latency of the last rounds over the first: heat, or somebody else.
const DRIFT: f64 = 1.1;
/// Probed bandwidth against the ceiling that is kept: more than drift alone explains.
const CEILING: f64 = 0.25;
/// (largest - smallest) / median of a case's latencies.
const SPREAD: f64 = 0.25;

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
    /// A library is loaded into every process: its name.
    Preload(String),
    /// Samples of one case gave different outputs: the case.
    OutputDiffers(String),
    /// The instruments slowed a pass down: its name, ratio (median over the cases).
    ProbeEffect(&'static str, f64),
    /// A pass was faster with its instruments than without: its name, ratio (median over the cases).
    ProbeNoise(&'static str, f64),
    /// The hypervisor took time away during samples: samples, largest share.
    Steal(usize, f64),
    /// Other processes took time during samples: samples, largest share.
    Others(usize, f64),
    /// The last rounds were slower or faster than the first: ratio (median over the cases).
    Drift(f64),
    /// Latencies spread widely: cases, the worst of them, its (max - min) / median.
    Spread(usize, String, f64),
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

impl Warning {
    /// One line: what it is, what it does to the numbers, what to do.
    pub fn text(&self) -> String {
        match self {
            Self::DebugBuild => "this is not an optimised build: every time is too long; build with --release".to_owned(),
            Self::FeaturesMissing(names) => {
                format!("built without {}, which this processor has: kernels are slower than they could be; build where you measure (target-cpu=native, see .cargo/config.toml)", names.join(", "))
            }
            Self::Load(load, threads) => {
                format!("the load of the last minute was {load:.2} on {threads} hardware threads: something else was running; end it and wait a minute, or run again and compare")
            }
            Self::Busy(share) => format!("{:.0} % of the processor time was in use just before the run; end other programs", share * 100.0),
            Self::StealBefore(share) => {
                format!("the hypervisor gave {:.1} % of the processor time to other guests just before the run; use a machine with processors of its own, or more runs (-r)", share * 100.0)
            }
            Self::Governor(name) => format!("the frequency governor is {name}: the processor starts slow and speeds up late; try `cpupower frequency-set -g performance`"),
            Self::HugePagesOff => {
                "transparent huge pages are off: page faults and TLB misses cost more; try `echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled`".to_owned()
            }
            Self::SwapInUse(bytes) => format!("{} of swap are in use: weights may be read from disk again; close programs, or `swapoff -a`", models::Bytes(*bytes)),
            Self::Oversubscribed(asked, usable) => {
                format!("{asked} threads on {usable} hardware threads that this process may use: threads wait for each other; use -t {usable} or fewer")
            }
            Self::Battery => "the machine runs on its battery, which lowers frequencies; plug it in".to_owned(),
            Self::ProcessorLimit(limit) => format!("a control group grants {limit:.2} processors: threads beyond that are stopped for part of each period; use fewer threads (-t) or raise the limit"),
            Self::Virtual(name) => {
                let name = name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
                format!("this is a virtual machine{name}: neighbours share its memory bandwidth and cannot be seen; compare only what was measured in one run")
            }
            Self::ThrottlingUnknown => "whether the processor was slowed down by heat cannot be seen on this machine; look at the drift between first and last rounds".to_owned(),
            Self::Preload(name) => format!("LD_PRELOAD loads {name} into every process: allocations may be counted or served differently; unset it"),
            Self::OutputDiffers(case) => format!("{case}: samples gave different outputs at temperature 0, so their times belong to different work; look at outputs/ and samples.jsonl"),
            Self::ProbeEffect(pass, ratio) => {
                format!("the {pass} pass took {ratio:.2} times the clean pass: use its shares, not its times (published times come from the clean pass)")
            }
            Self::ProbeNoise(pass, ratio) => {
                format!("the {pass} pass took {ratio:.2} times the clean pass, which no instrument does: the machine was not quiet; use more runs (-r)")
            }
            Self::Steal(samples, share) => format!("the hypervisor took up to {:.1} % of the processor time away during {samples} samples; look at `steal` in results.csv and run again", share * 100.0),
            Self::Others(samples, share) => format!("other processes took up to {:.0} % of the processor time during {samples} samples; look at `load_others` in results.csv and run again", share * 100.0),
            Self::Drift(ratio) if *ratio < 1.0 => format!("the last rounds took {ratio:.2} times the first ones: something else took time in the first rounds; run again on a quieter machine"),
            Self::Drift(ratio) => format!("the last rounds took {ratio:.2} times the first ones: the processor became hot, or something else began; let it cool down and run again"),
            Self::Spread(cases, worst, spread) => format!(
                "latencies spread widely in {cases} of the cases, worst in {worst}: {:.0} % of their median; use more runs (-r) on a quieter machine",
                spread * 100.0
            ),
            Self::BandwidthDrift(drift) => format!(
                "the memory bandwidth with {} drifted while this run measured: {:.2} times the first probe at the end, range {:.0} % of the median over {} probes; neighbours share the memory, so trust ratios within a round more than absolute rates, and run again on a quieter machine",
                counted(drift.threads), drift.last_to_first, drift.range * 100.0, drift.n
            ),
            Self::CeilingsDiffer(threads, ratio) => format!(
                "during this run the memory with {} gave {ratio:.2} times what is kept as this machine's ceiling: one of the two was measured while something else was at work; `inferometer machine --refresh` on a quiet machine measures it again",
                counted(*threads)
            ),
            Self::OtherTime(cases, worst, share) => format!(
                "time lies between the phases in {cases} of the cases, most in {worst}: {:.1} % of the latency; the engine does work there that it does not name",
                share * 100.0
            ),
            Self::Synthetic(names) => format!("{}: synthetic weights, so every number rests on the right shapes and types with random values, and the outputs mean nothing", names.join(", ")),
            Self::VirtualTime => "time is virtual: the engine advances a clock instead of computing, and the numbers say nothing about this machine".to_owned(),
            Self::Failures(failed, all) => format!("{failed} of {all} cases did not end well; their rows say why"),
            Self::Interrupted => "the run was interrupted: what was measured until then is kept; go on with --resume".to_owned(),
        }
    }
}

fn counted(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}

/// What is known before anything is measured. `threads` are the thread counts that were asked for.
pub fn before(environment: &Environment, tool: &Tool, threads: &[usize]) -> Vec<Warning> {
    let (processor, state) = (&environment.processor, &environment.state);
    let mut found = Vec::new();
    if tool.profile == "debug" {
        found.push(Warning::DebugBuild);
    }
    let missing = missing_in_build(&environment.host.architecture, &processor.features, &tool.target_features);
    if !missing.is_empty() {
        found.push(Warning::FeaturesMissing(missing));
    }
    let usable = processor.usable_threads.or(processor.threads);
    let load = state.load_1m.zip(usable).filter(|(load, usable)| *load > LOAD_PER_THREAD * *usable as f64);
    found.extend(load.map(|(load, usable)| Warning::Load(load, usable)));
    found.extend(state.busy_now.filter(|&share| share > BUSY).map(Warning::Busy));
    found.extend(state.steal_now.filter(|&share| share > STEAL).map(Warning::StealBefore));
    found.extend(
        processor
            .governor
            .clone()
            .filter(|name| name == "powersave" || name == "conservative")
            .filter(|_| !is_hardware_managed(environment))
            .map(Warning::Governor),
    );
    if environment.memory.transparent_huge_pages.as_deref() == Some("never") {
        found.push(Warning::HugePagesOff);
    }
    found.extend(environment.memory.swap_used_bytes.filter(|&bytes| bytes > 0).map(Warning::SwapInUse));
    if let (Some(&most), Some(usable)) = (threads.iter().max(), usable) {
        if most > usable {
            found.push(Warning::Oversubscribed(most, usable));
        }
        found.extend(environment.limits.cpus.filter(|&limit| limit < most as f64).map(Warning::ProcessorLimit));
    }
    if environment.power.source.as_deref() == Some("battery") {
        found.push(Warning::Battery);
    }
    if environment.host.virtualised == Some(true) {
        found.push(Warning::Virtual(environment.host.hypervisor.clone()));
    }
    if processor.throttle_events.is_none() && environment.host.virtualised != Some(true) {
        found.push(Warning::ThrottlingUnknown);
    }
    found.extend(
        environment.variables.kept.get("LD_PRELOAD").filter(|name| !name.is_empty()).cloned().map(Warning::Preload),
    );
    found
}

/// With hardware-managed frequencies "powersave" is the ordinary mode; then turbo can be seen at Intel's driver.
fn is_hardware_managed(environment: &Environment) -> bool {
    environment.processor.turbo.is_some() && environment.processor.governor.as_deref() == Some("powersave")
}

/// What the samples show.
pub fn after(file: &RunFile) -> Vec<Warning> {
    let mut found = Vec::new();
    if file.interrupted {
        found.push(Warning::Interrupted);
    }
    let bad = file.cases.iter().filter(|case| case.status != Status::Ok).count();
    if bad > 0 {
        found.push(Warning::Failures(bad, file.cases.len()));
    }
    let synthetic: Vec<String> =
        file.plan.models.iter().filter(|model| model.synthetic).map(|model| model.name.clone()).collect();
    if !synthetic.is_empty() {
        found.push(Warning::Synthetic(synthetic));
    }
    found
        .extend(file.cases.iter().filter(|case| outputs(case) > 1).map(|case| Warning::OutputDiffers(case.id.clone())));
    found
        .extend(worst(&file.cases, spread, SPREAD).map(|(cases, worst, spread)| Warning::Spread(cases, worst, spread)));
    found.extend(
        worst(&file.cases, between, OTHER).map(|(cases, worst, share)| Warning::OtherTime(cases, worst, share)),
    );
    if file.plan.virtual_time {
        // Nothing that follows can be told of a clock that does not run by itself.
        found.push(Warning::VirtualTime);
        return found;
    }
    let ratio = |value: fn(&crate::results::Probe) -> Option<f64>| {
        median(&file.probes.iter().filter_map(value).collect::<Vec<f64>>())
    };
    for (pass, found_ratio) in [("stepped", ratio(|probe| probe.stepped)), ("traced", ratio(|probe| probe.traced))] {
        match found_ratio {
            Some(ratio) if ratio > PROBE => found.push(Warning::ProbeEffect(pass, ratio)),
            Some(ratio) if ratio < 1.0 / PROBE => found.push(Warning::ProbeNoise(pass, ratio)),
            _ => {}
        }
    }
    let drifts = |ratio: &f64| *ratio > DRIFT || *ratio < 1.0 / DRIFT;
    found.extend(ratio(|probe| probe.clean).filter(drifts).map(Warning::Drift));
    let drifts = drift(&file.ceiling_probes);
    found.extend(drifts.iter().filter_map(|drift| differs(file, drift)));
    found.extend(drifts.into_iter().filter(Drift::is_large).map(Warning::BandwidthDrift));
    let (samples, largest) = above(file, |sample| sample.steal, STEAL);
    if samples > 0 {
        found.push(Warning::Steal(samples, largest));
    }
    let (samples, largest) = above(file, |sample| sample.load_others, OTHERS);
    if samples > 0 {
        found.push(Warning::Others(samples, largest));
    }
    found
}

/// The probes of a run against the ceiling of the same thread count.
fn differs(file: &RunFile, drift: &Drift) -> Option<Warning> {
    let entry = file.ceilings.as_ref()?.threads.iter().find(|entry| entry.threads == drift.threads)?;
    let ratio = drift.median / entry.memory_read?.median;
    ((ratio - 1.0).abs() > CEILING).then_some(Warning::CeilingsDiffer(drift.threads, ratio))
}

/// How many samples that count lie above a limit, and the largest of them.
fn above(file: &RunFile, value: fn(&Sample) -> Option<f64>, limit: f64) -> (usize, f64) {
    let over: Vec<f64> = file.cases.iter().flat_map(clean).filter_map(value).filter(|&share| share > limit).collect();
    (over.len(), over.iter().copied().fold(0.0, f64::max))
}

/// Different outputs among the samples of a case.
fn outputs(case: &Case) -> usize {
    let samples = clean(case).chain(&case.stepped).chain(&case.traced);
    samples.filter_map(|sample| sample.output_sha256.as_deref()).collect::<BTreeSet<_>>().len()
}

/// (largest - smallest) / median of a case's latencies; needs three.
fn spread(case: &Case) -> Option<f64> {
    let latencies: Vec<f64> = clean(case).filter_map(|sample| sample.latency_s).collect();
    let middle = median(&latencies).filter(|&middle| middle > 0.0 && latencies.len() > 2)?;
    Some((percentile(&latencies, 100.0)? - percentile(&latencies, 0.0)?) / middle)
}

/// Median share of a case's latency that lies between the phases.
fn between(case: &Case) -> Option<f64> {
    let share = |sample: &Sample| Some(sample.other_s? / sample.latency_s.filter(|&latency| latency > 0.0)?);
    median(&clean(case).filter_map(share).collect::<Vec<f64>>())
}

/// How many cases lie above a limit, and the worst of them with its value.
fn worst(cases: &[Case], value: fn(&Case) -> Option<f64>, limit: f64) -> Option<(usize, String, f64)> {
    let over: Vec<(&Case, f64)> =
        cases.iter().filter_map(|case| Some((case, value(case)?))).filter(|(_, value)| *value > limit).collect();
    let (case, most) = over.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some((over.len(), case.id.clone(), *most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::CeilingProbe;

    fn tool() -> Tool {
        Tool { profile: "release".to_owned(), ..Tool::default() }
    }

    fn quiet() -> Environment {
        let mut environment = Environment::default();
        environment.host.architecture = "x86_64".to_owned();
        environment.processor.usable_threads = Some(4);
        environment.processor.throttle_events = Some(0);
        environment
    }

    #[test]
    fn a_quiet_machine_and_a_good_build_give_none() {
        assert_eq!(before(&quiet(), &tool(), &[4]), []);
    }

    #[test]
    fn each_disturbance_has_its_warning() {
        let mut environment = quiet();
        environment.processor.features = vec!["avx2".to_owned(), "avx512f".to_owned()];
        environment.state.load_1m = Some(3.0);
        environment.state.busy_now = Some(0.5);
        environment.state.steal_now = Some(0.1);
        environment.processor.governor = Some("powersave".to_owned());
        environment.memory.transparent_huge_pages = Some("never".to_owned());
        environment.memory.swap_used_bytes = Some(1);
        environment.limits.cpus = Some(1.5);
        environment.power.source = Some("battery".to_owned());
        environment.host.virtualised = Some(true);
        environment.variables.kept.insert("LD_PRELOAD".to_owned(), "libx.so".to_owned());
        let tool = Tool { profile: "debug".to_owned(), target_features: vec!["avx2".to_owned()], ..Tool::default() };
        let found = before(&environment, &tool, &[8]);
        assert_eq!(found.len(), 13, "{found:#?}");
        insta::assert_snapshot!(found.iter().map(Warning::text).collect::<Vec<_>>().join("\n"));
    }

    fn case(id: &str, samples: Vec<Sample>) -> Case {
        Case { id: id.to_owned(), samples, ..Case::default() }
    }

    #[test]
    fn outputs_that_differ_are_counted() {
        let sample = |hash: &str| Sample { output_sha256: Some(hash.to_owned()), ..Sample::default() };
        assert_eq!(outputs(&case("c", vec![sample("a"), sample("b"), sample("a")])), 2);
        assert_eq!(outputs(&case("c", vec![sample("a"), sample("a")])), 1);
        assert_eq!(outputs(&case("c", vec![Sample::default()])), 0);
    }

    fn probed(threads: usize, rate: f64) -> CeilingProbe {
        CeilingProbe { threads, memory_read: Some(rate), ..CeilingProbe::default() }
    }

    #[test]
    fn a_drift_of_the_bandwidth_is_told_with_advice() {
        let drift = drift(&[probed(2, 40e9), probed(2, 30e9)])[0];
        let text = Warning::BandwidthDrift(drift).text();
        assert!(text.contains("2 threads") && text.contains("0.75 times") && text.contains("run again"), "{text}");
    }

    #[test]
    fn cases_that_share_a_trouble_share_a_warning() {
        let sample =
            |latency: f64| Sample { latency_s: Some(latency), other_s: Some(0.02 * latency), ..Sample::default() };
        let wide = |id: &str, most: f64| case(id, vec![sample(1.0), sample(1.0), sample(most)]);
        let cases = [wide("a", 1.5), wide("b", 2.0), wide("c", 1.1)];
        let (count, id, found) = worst(&cases, spread, SPREAD).unwrap();
        assert_eq!((count, id.as_str()), (2, "b"));
        assert!((found - 1.0).abs() < 1e-9);
        assert_eq!(worst(&cases, between, OTHER).map(|(count, ..)| count), Some(3));
        assert_eq!(worst(&cases, between, 0.5), None);
        assert_eq!(spread(&case("d", vec![sample(1.0), sample(9.0)])), None);
    }
}
