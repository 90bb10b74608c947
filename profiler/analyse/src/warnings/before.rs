//! Warnings that are known before the measurements.

use super::{STEAL, Warning};
use record::environment::{Environment, PowerSource, missing_in_build};
use record::{Recorded, Tool};

/// Tasks per hardware thread before the run: above this other programs are running.
const LOAD_PER_THREAD: f64 = 0.5;
/// Share of the processor time in use just before the run.
const BUSY: f64 = 0.2;

/// The warnings that are known before the measurements. `threads` are the requested thread counts.
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
    let usable = processor.usable_threads.value().or(processor.threads.value());
    let load = state.load_1m.value().zip(usable).filter(|(load, usable)| *load > LOAD_PER_THREAD * *usable as f64);
    let busy = state.busy_now.value().filter(|&share| share > BUSY);
    if load.is_some() || busy.is_some() {
        found.push(Warning::OthersBefore { load, busy });
    }
    found.extend(state.steal_now.value().filter(|&share| share > STEAL).map(Warning::StealBefore));
    found.extend(
        processor
            .governor
            .as_ref()
            .filter(|name| *name == "powersave" || *name == "conservative")
            .filter(|_| !is_hardware_managed(environment))
            .cloned()
            .map(Warning::Governor),
    );
    if environment.memory.transparent_huge_pages.as_deref() == Some("never") {
        found.push(Warning::HugePagesOff);
    }
    found.extend(environment.memory.swap_used_bytes.value().filter(|&bytes| bytes > 0).map(Warning::SwapInUse));
    if let (Some(&most), Some(usable)) = (threads.iter().max(), usable) {
        if most > usable {
            found.push(Warning::Oversubscribed(most, usable));
        }
        found.extend(environment.limits.cpus.value().filter(|&limit| limit < most as f64).map(Warning::ProcessorLimit));
    }
    if environment.power.source == Recorded::Present(PowerSource::Battery) {
        found.push(Warning::Battery);
    }
    let is_virtual = environment.host.virtualised == Recorded::Present(true);
    if is_virtual {
        found.push(Warning::Virtual(environment.host.hypervisor.as_ref().cloned()));
    }
    if processor.throttle_events.is_absent() && !is_virtual {
        found.push(Warning::ThrottlingUnknown);
    }
    found.extend(
        environment.variables.kept.get("LD_PRELOAD").filter(|name| !name.is_empty()).cloned().map(Warning::Preload),
    );
    found
}

/// With hardware-managed frequencies "powersave" is the normal mode; Intel's driver then reports turbo.
fn is_hardware_managed(environment: &Environment) -> bool {
    environment.processor.turbo.is_present() && environment.processor.governor.as_deref() == Some("powersave")
}

/// Thermal throttle events since the environment was read; `None` where there were none or they are not reported.
#[must_use]
pub fn throttled(before: &Environment, now: Option<u64>) -> Option<Warning> {
    let events = now?.saturating_sub(before.processor.throttle_events.value()?);
    (events > 0).then_some(Warning::Throttled(events))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool() -> Tool {
        Tool { profile: "release".to_owned(), ..Tool::default() }
    }

    fn quiet() -> Environment {
        let mut environment = Environment::default();
        environment.host.architecture = "x86_64".to_owned();
        environment.processor.usable_threads = 4.into();
        environment.processor.throttle_events = 0.into();
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
        environment.state.load_1m = 3.0.into();
        environment.state.busy_now = 0.5.into();
        environment.state.steal_now = 0.1.into();
        environment.processor.governor = "powersave".to_owned().into();
        environment.memory.transparent_huge_pages = "never".to_owned().into();
        environment.memory.swap_used_bytes = 1.into();
        environment.limits.cpus = 1.5.into();
        environment.power.source = PowerSource::Battery.into();
        environment.host.virtualised = true.into();
        environment.variables.kept.insert("LD_PRELOAD".to_owned(), "libx.so".to_owned());
        let tool = Tool { profile: "debug".to_owned(), target_features: vec!["avx2".to_owned()], ..Tool::default() };
        let found = before(&environment, &tool, &[8]);
        assert_eq!(found.len(), 12, "{found:#?}");
        insta::assert_snapshot!(found.iter().map(Warning::text).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn throttling_during_the_run_has_a_warning() {
        let environment = quiet();
        assert_eq!(throttled(&environment, Some(3)), Some(Warning::Throttled(3)));
        assert_eq!(throttled(&environment, Some(0)), None);
        assert_eq!(throttled(&environment, None), None);
        assert_eq!(throttled(&Environment::default(), Some(3)), None, "it was not read before the run");
        insta::assert_snapshot!(Warning::Throttled(3).text(), @"the processor was throttled by heat 3 times during the run, so later rounds may be slower than earlier ones; improve the cooling, let the machine cool down, and run again");
    }
}
