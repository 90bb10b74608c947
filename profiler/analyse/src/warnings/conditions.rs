//! Warnings that follow from the machine's conditions before, between and after the rounds: heat, frequencies, settings, control
//! groups, pressure.

use super::Warning;
use super::text::plural;
use super::worst::worst;
use models::Bytes;
use record::environment::Conditions;
use record::{Case, MemoryFile, Recorded, RunFile, Sample};

/// Lost time over the latency of a sample: less is within the noise of a quiet machine.
const LOST: f64 = 0.01;
/// Degrees below the critical temperature at which processors slow down (Intel and AMD begin 5 to 10 K below it).
const NEAR_LIMIT: f64 = 5.0;
/// Lowest over highest frequency at the end of a case's requests: turbo steps of neighbouring requests stay above it.
const SLOWED: f64 = 0.85;
/// Bytes of files that were evicted and read again: less happens on any machine.
const REFAULTS: u64 = 16 << 20;
/// Share of the model on memory nodes where no thread ran.
const REMOTE: f64 = 0.2;

/// All warnings of this module.
pub(super) fn warnings(file: &RunFile) -> Vec<Warning> {
    let mut found = Vec::new();
    let lost = |value: fn(&Sample) -> Option<f64>| lost(file, value);
    if let Some((samples, seconds, share)) = lost(|sample| sample.throttled_s.value()) {
        found.push(Warning::GroupThrottled(samples, seconds, share));
    }
    let memory = FullMemory::of(file);
    if let Some((samples, seconds, share)) = memory.waits {
        found.push(Warning::MemoryPressure(samples, seconds, share));
    }
    if let Some((samples, seconds, share)) = lost(|sample| sample.io_stall_s.value()) {
        found.push(Warning::StoragePressure(samples, seconds, share));
    }
    found.extend(
        worst(&file.cases, slowed, 1.0 - SLOWED).map(|(cases, worst, fall)| Warning::FrequencyFell(cases, worst, fall)),
    );
    let remote = worst(&file.cases, |case| remote(&case.memory), REMOTE);
    found.extend(remote.map(|(cases, worst, share)| Warning::RemoteMemory(cases, worst, share)));
    if let (Some(first), Some(last)) = (file.conditions.first(), file.conditions.last()) {
        found.extend(between(&first.conditions, &last.conditions, memory));
    }
    found.extend(
        file.conditions
            .iter()
            .filter_map(|at| hot(&at.conditions))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(degrees, limit)| Warning::Hot(degrees, limit)),
    );
    found
}

/// What a record shows of a memory that was full. A process then has less resident memory than it needs, and weights are read again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FullMemory {
    /// Clean samples during which tasks waited for memory: their number, the seconds of all of them, the largest share of a latency.
    waits: Option<(usize, f64, f64)>,
    /// Bytes of files that were evicted and read again during the run.
    evicted_bytes: Option<u64>,
    /// Swap in use before the run, in bytes.
    swapped_bytes: Option<u64>,
}

impl FullMemory {
    pub(crate) fn of(file: &RunFile) -> Self {
        let memory = &file.environment.memory;
        let evicted = file.conditions.first().zip(file.conditions.last()).and_then(|(first, last)| {
            let page = memory.page_bytes.value()?;
            let pages = |at: &record::ConditionsAt| at.conditions.group.refaults.value();
            Some(pages(last)?.saturating_sub(pages(first)?) * page)
        });
        Self {
            waits: lost(file, |sample| sample.memory_stall_s.value()),
            evicted_bytes: evicted.filter(|&bytes| bytes > REFAULTS),
            swapped_bytes: memory.swap_used_bytes.value().filter(|&bytes| bytes > 0),
        }
    }

    /// The evidence in words; `None` without any.
    pub(crate) fn in_words(self) -> Option<String> {
        let evicted = self.evicted_bytes.map(|bytes| format!("{} of files were evicted and read again", Bytes(bytes)));
        let waits = self.waits.map(|(samples, seconds, _)| {
            format!("tasks waited for memory for {:.0} ms during {}", seconds * 1e3, plural(samples))
        });
        let swapped = self.swapped_bytes.map(|bytes| format!("{} of swap was in use before it", Bytes(bytes)));
        let found: Vec<String> = [evicted, waits, swapped].into_iter().flatten().collect();
        (!found.is_empty()).then(|| found.join(", "))
    }
}

/// Changes from the first to the last conditions of a run.
fn between(first: &Conditions, last: &Conditions, memory: FullMemory) -> Vec<Warning> {
    let mut found = Vec::new();
    let grown = |value: fn(&Conditions) -> Option<u64>| {
        Some(value(last)?.saturating_sub(value(first)?)).filter(|&grown| grown > 0)
    };
    // Throttled cores have a warning of their own; a package may be throttled without them.
    if grown(|at| at.heat.core_throttles.value()).is_none() {
        found.extend(grown(|at| at.heat.package_throttles.value()).map(Warning::PackageThrottled));
    }
    found.extend(memory.evicted_bytes.map(Warning::Refaults));
    let turbo = |at: &Conditions| at.turbo.clone().map(|on| if on { "on" } else { "off" }.to_owned());
    let settings = [
        ("the frequency governor", &first.governor, &last.governor),
        ("the energy preference", &first.energy_preference, &last.energy_preference),
        ("turbo", &turbo(first), &turbo(last)),
    ];
    for (name, before, now) in settings {
        if let (Recorded::Present(before), Recorded::Present(now)) = (before, now)
            && before != now
        {
            found.push(Warning::SettingChanged(name, before.clone(), now.clone()));
        }
    }
    let saving = last.energy_preference.as_ref().filter(|name| *name == "power" || *name == "balance_power");
    found.extend(saving.cloned().map(Warning::Preference));
    found
}

/// Clean samples with a loss above the limit: their number, the seconds of all of them, the largest share of a latency.
fn lost(file: &RunFile, value: fn(&Sample) -> Option<f64>) -> Option<(usize, f64, f64)> {
    let shares = file.cases.iter().flat_map(Case::clean_samples).filter_map(|sample| {
        let (seconds, latency) = (value(sample)?, sample.latency_s.value().filter(|&latency| latency > 0.0)?);
        Some((seconds, seconds / latency)).filter(|(_, share)| *share > LOST)
    });
    let over: Vec<(f64, f64)> = shares.collect();
    let largest = over.iter().map(|(_, share)| *share).max_by(f64::total_cmp)?;
    Some((over.len(), over.iter().map(|(seconds, _)| seconds).sum(), largest))
}

/// 1 - lowest / highest frequency at the end of a case's clean requests.
fn slowed(case: &Case) -> Option<f64> {
    let found: Vec<f64> =
        case.clean_samples().filter_map(|sample| sample.frequency_hz.value()).map(|hertz| hertz as f64).collect();
    let highest = found.iter().copied().max_by(f64::total_cmp).filter(|&highest| highest > 0.0)?;
    Some(1.0 - found.iter().copied().min_by(f64::total_cmp)? / highest)
}

/// Share of the model's pages (of anonymous pages where the model is not mapped) on nodes where no thread ran.
fn remote(memory: &MemoryFile) -> Option<f64> {
    let mapped = memory.nodes.iter().any(|node| node.model_bytes > 0);
    let bytes = |nodes: &mut dyn Iterator<Item = &record::MemoryNodeRow>| {
        nodes.map(|node| if mapped { node.model_bytes } else { node.anonymous_bytes }).sum::<u64>() as f64
    };
    let all = bytes(&mut memory.nodes.iter());
    (all > 0.0).then(|| bytes(&mut memory.nodes.iter().filter(|node| node.threads == 0)) / all)
}

/// Temperature and critical temperature, where they are close.
fn hot(at: &Conditions) -> Option<(f64, f64)> {
    let (degrees, limit) = (at.heat.processor_celsius.value()?, at.heat.limit_celsius.value()?);
    (degrees > limit - NEAR_LIMIT).then_some((degrees, limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{ConditionsAt, MemoryNodeRow, Moment, RecordedList};

    fn sample(latency: f64) -> Sample {
        Sample { latency_s: latency.into(), ..Sample::absent("not measured") }
    }

    fn at(conditions: Conditions) -> ConditionsAt {
        ConditionsAt { moment: Moment::Before, model: "m".to_owned(), conditions }
    }

    #[test]
    fn a_quiet_run_gives_none() {
        let calm = Conditions { governor: "performance".to_owned().into(), ..Conditions::absent("not read") };
        let case = Case {
            samples: vec![Sample { throttled_s: 0.0.into(), memory_stall_s: 0.001.into(), ..sample(1.0) }],
            ..Case::default()
        };
        let file = RunFile { cases: vec![case], conditions: vec![at(calm.clone()), at(calm)], ..RunFile::default() };
        assert_eq!(warnings(&file), []);
    }

    #[test]
    fn each_condition_has_its_warning() {
        let held = Sample {
            throttled_s: 0.4.into(),
            memory_stall_s: 0.2.into(),
            io_stall_s: 0.1.into(),
            frequency_hz: 2_000_000_000.into(),
            ..sample(2.0)
        };
        let fast = Sample { frequency_hz: 4_000_000_000.into(), ..sample(1.0) };
        let node = |node, model_bytes, threads| MemoryNodeRow { node, model_bytes, threads, anonymous_bytes: 7 };
        let memory = MemoryFile {
            nodes: RecordedList::new(vec![node(0, 100, 4), node(1, 300, 0)], ""),
            ..MemoryFile::default()
        };
        let case = Case { id: "e/m/p".to_owned(), samples: vec![held.clone(), held, fast], memory, ..Case::default() };
        let mut first = Conditions {
            governor: "performance".to_owned().into(),
            turbo: true.into(),
            ..Conditions::absent("not read")
        };
        first.heat.package_throttles = 5.into();
        first.heat.core_throttles = 1.into();
        first.group.refaults = 0.into();
        let mut last = first.clone();
        last.heat.package_throttles = 9.into();
        last.heat.processor_celsius = 97.0.into();
        last.heat.limit_celsius = 100.0.into();
        last.group.refaults = 10_000.into();
        last.governor = "powersave".to_owned().into();
        last.energy_preference = "balance_power".to_owned().into();
        let mut file = RunFile { cases: vec![case], conditions: vec![at(first), at(last)], ..RunFile::default() };
        file.environment.memory.page_bytes = 4096.into();
        let found = warnings(&file);
        assert_eq!(found.len(), 10, "{found:#?}");
        insta::assert_snapshot!(found.iter().map(Warning::text).collect::<Vec<_>>().join("\n"));
        file.environment.memory.page_bytes = Recorded::absent("not read");
        assert_eq!(warnings(&file).len(), 9, "without the size of a page, the bytes of files are not known");
    }

    #[test]
    fn copied_weights_are_anonymous() {
        let node = |node, anonymous_bytes, threads| MemoryNodeRow { node, anonymous_bytes, threads, model_bytes: 0 };
        let memory = MemoryFile {
            nodes: RecordedList::new(vec![node(0, 300, 0), node(1, 100, 2)], ""),
            ..MemoryFile::default()
        };
        assert_eq!(remote(&memory), Some(0.75));
        assert_eq!(remote(&MemoryFile::default()), None);
    }
}
