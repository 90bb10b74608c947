//! The state of the machine during the run: frequencies, heat, control groups, pressure.

use super::RunView;
use crate::content::Section;
use crate::figures::{ABSENT, megabytes};
use crate::table::Table;
use record::environment::Conditions;
use record::figures::significant;

/// A row: its label, and its value in a reading.
type Row = (&'static str, fn(&Conditions) -> Option<String>);

/// The same for a figure that only grows.
type Total = (&'static str, fn(&Conditions) -> Option<f64>);

/// Levels at one time.
const LEVELS: &[Row] = &[
    ("fastest processor, GHz", |at| at.frequencies_hz.iter().max().map(|&hertz| gigahertz(hertz))),
    ("slowest processor, GHz", |at| at.frequencies_hz.iter().min().map(|&hertz| gigahertz(hertz))),
    ("governor", |at| at.governor.clone()),
    ("energy preference", |at| at.energy_preference.clone()),
    ("turbo", |at| at.turbo.map(|on| if on { "on" } else { "off" }.to_owned())),
    ("processor, degrees Celsius", |at| at.heat.processor_celsius.map(significant)),
    ("memory of the control group, MB", |at| at.group.memory_bytes.map(|bytes| megabytes(bytes as f64))),
    ("  of that anonymous, MB", |at| at.group.anonymous_bytes.map(|bytes| megabytes(bytes as f64))),
    ("  of that files, MB", |at| at.group.file_bytes.map(|bytes| megabytes(bytes as f64))),
    ("highest so far, MB", |at| at.group.memory_peak_bytes.map(|bytes| megabytes(bytes as f64))),
];

/// Totals, shown as their growth.
const TOTALS: &[Total] = &[
    ("thermal throttling of cores, times", |at| at.heat.core_throttles.map(|count| count as f64)),
    ("thermal throttling of packages, times", |at| at.heat.package_throttles.map(|count| count as f64)),
    ("thermal throttling, sum over cores, s", |at| at.heat.throttled_s),
    ("throttled by the control group, times", |at| at.group.throttled_periods.map(|count| count as f64)),
    ("throttled by the control group, s", |at| at.group.throttled_s),
    ("file pages read again", |at| at.group.refaults.map(|count| count as f64)),
    ("memory stalls in the control group, s", |at| at.group.memory_stall_s),
    ("some task waited for a processor, s", |at| at.pressure.cpu_some_s),
    ("some task waited for memory, s", |at| at.pressure.memory_some_s),
    ("all tasks waited for memory, s", |at| at.pressure.memory_full_s),
    ("some task waited for storage, s", |at| at.pressure.io_some_s),
    ("all tasks waited for storage, s", |at| at.pressure.io_full_s),
];

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Conditions during the run");
    let (Some(first), Some(last)) = (view.file.conditions.first(), view.file.conditions.last()) else { return section };
    let mut levels = Table::new("While no engine computes.", &["<what", "<before", "<after"]);
    for (name, value) in LEVELS {
        let (before, after) = (value(first), value(last));
        if before.is_some() || after.is_some() {
            let shown = |cell: Option<String>| cell.unwrap_or_else(|| ABSENT.to_owned());
            levels.rows.push(vec![(*name).to_owned(), shown(before), shown(after)]);
        }
    }
    section.add_table(levels);
    let mut totals = Table::new("Growth from the first to the last reading.", &["<what", "growth"]);
    for (name, value) in TOTALS {
        if let (Some(before), Some(after)) = (value(first), value(last)) {
            totals.rows.push(vec![(*name).to_owned(), significant(after - before)]);
        }
    }
    section.add_table(totals);
    section.add_sentence("Figures of the control group include all of its processes and the page cache. Pressure is of the whole machine. `conditions` in run.json has every reading and the reason for each missing figure. `frequency_hz`, `throttled_s`, `memory_stall_s` and `io_stall_s` of a sample cover its request.");
    section
}

/// The same for one reading, for `inferometer machine`.
pub fn properties(now: &Conditions) -> Vec<(String, String)> {
    let mut properties: Vec<(String, String)> = Vec::new();
    let mut property = |name: &str, value: Option<String>, reason: Option<&String>| {
        let reason = reason.map_or("no reason recorded", String::as_str);
        properties.push((name.to_owned(), value.unwrap_or_else(|| format!("unknown ({reason})"))));
    };
    let ends = now.frequencies_hz.iter().min().zip(now.frequencies_hz.iter().max());
    let range = ends.map(|(low, high)| format!("{} to {} GHz over the processors", gigahertz(*low), gigahertz(*high)));
    property("frequencies", range, now.reasons.get("frequencies_hz"));
    property("energy preference", now.energy_preference.clone(), now.reasons.get("energy_preference"));
    property("turbo", now.turbo.map(|on| if on { "on" } else { "off" }.to_owned()), now.reasons.get("turbo"));
    let heat = &now.heat;
    let critical = heat.limit_celsius.map(|limit| format!(", critical at {limit:.0}")).unwrap_or_default();
    let degrees = heat.processor_celsius.map(|degrees| format!("{degrees:.0} degrees Celsius{critical}"));
    property("temperature", degrees, heat.reasons.get("processor_celsius"));
    let throttles = heat.core_throttles.map(|count| format!("{count} times since boot (cores)"));
    property("thermal throttling", throttles, heat.reasons.get("core_throttles"));
    let group = &now.group;
    let memory = group.memory_bytes.map(|bytes| models::Bytes(bytes).to_string());
    let peak = group.memory_peak_bytes.map(|bytes| format!(", at most {} so far", models::Bytes(bytes)));
    let memory = memory.map(|memory| format!("{memory} in use, page cache included{}", peak.unwrap_or_default()));
    property("control group memory", memory, group.reasons.get("memory_bytes"));
    let stopped = group.throttled_s.map(|seconds| format!("throttled for {} s so far", significant(seconds)));
    property("control group processors", stopped, group.reasons.get("throttled_s"));
    let pressure = &now.pressure;
    let waited =
        |value: Option<f64>| value.map(|seconds| format!("some task waited for {} s since boot", significant(seconds)));
    property("memory pressure", waited(pressure.memory_some_s), pressure.reasons.get("memory_some_s"));
    property("storage pressure", waited(pressure.io_some_s), pressure.reasons.get("io_some_s"));
    properties
}

fn gigahertz(hertz: u64) -> String {
    format!("{:.2}", hertz as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::RunFile;

    #[test]
    fn levels_are_before_and_after_and_totals_are_differences() {
        let mut first = Conditions { frequencies_hz: vec![800_000_000, 2_400_000_000], ..Conditions::default() };
        first.group.throttled_s = Some(1.0);
        let mut last = Conditions { frequencies_hz: vec![3_900_000_000], ..first.clone() };
        last.group.throttled_s = Some(1.25);
        let mut file = RunFile { conditions: vec![first.clone(), last], ..RunFile::default() };
        let text = format!("{:?}", section(&RunView { file: &file }).blocks);
        assert!(text.contains("\"2.40\", \"3.90\"") && text.contains("\"0.2500\""), "{text}");
        assert!(!text.contains("degrees"), "a figure without readings has no row: {text}");
        file.conditions.clear();
        assert!(section(&RunView { file: &file }).blocks.is_empty());
        let properties = properties(&first);
        assert!(properties.iter().any(|(name, value)| name == "frequencies" && value.contains("0.80 to 2.40 GHz")));
        assert!(properties.iter().any(|(name, value)| name == "temperature" && value.starts_with("unknown")));
    }
}
