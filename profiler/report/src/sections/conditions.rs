//! The state of the machine during the run: frequencies, heat, control groups, pressure.

use super::RunView;
use crate::content::Section;
use crate::figures::{ABSENT, megabytes, shown, unknown};
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
    ("governor", |at| at.governor.as_ref().cloned()),
    ("energy preference", |at| at.energy_preference.as_ref().cloned()),
    ("turbo", |at| at.turbo.value().map(|on| if on { "on" } else { "off" }.to_owned())),
    ("processor, degrees Celsius", |at| at.heat.processor_celsius.value().map(significant)),
    ("memory of the control group, MB", |at| at.group.memory_bytes.value().map(|bytes| megabytes(bytes as f64))),
    ("  of that anonymous, MB", |at| at.group.anonymous_bytes.value().map(|bytes| megabytes(bytes as f64))),
    ("  of that files, MB", |at| at.group.file_bytes.value().map(|bytes| megabytes(bytes as f64))),
    ("highest so far, MB", |at| at.group.memory_peak_bytes.value().map(|bytes| megabytes(bytes as f64))),
];

/// Totals, shown as their growth.
const TOTALS: &[Total] = &[
    ("thermal throttling of cores, times", |at| at.heat.core_throttles.value().map(|count| count as f64)),
    ("thermal throttling of packages, times", |at| at.heat.package_throttles.value().map(|count| count as f64)),
    ("thermal throttling, sum over cores, s", |at| at.heat.throttled_s.value()),
    ("throttled by the control group, times", |at| at.group.throttled_periods.value().map(|count| count as f64)),
    ("throttled by the control group, s", |at| at.group.throttled_s.value()),
    ("file pages read again", |at| at.group.refaults.value().map(|count| count as f64)),
    ("memory stalls in the control group, s", |at| at.group.memory_stall_s.value()),
    ("some task waited for a processor, s", |at| at.pressure.cpu_some_s.value()),
    ("some task waited for memory, s", |at| at.pressure.memory_some_s.value()),
    ("all tasks waited for memory, s", |at| at.pressure.memory_full_s.value()),
    ("some task waited for storage, s", |at| at.pressure.io_some_s.value()),
    ("all tasks waited for storage, s", |at| at.pressure.io_full_s.value()),
];

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Conditions during the run");
    let (Some(first), Some(last)) = (view.file.conditions.first(), view.file.conditions.last()) else { return section };
    let mut levels = Table::new("Read while no engine computes.", &["<what", "<before", "<after"]);
    for (name, value) in LEVELS {
        let (before, after) = (value(&first.conditions), value(&last.conditions));
        if before.is_some() || after.is_some() {
            let shown = |cell: Option<String>| cell.unwrap_or_else(|| ABSENT.to_owned());
            levels.rows.push(vec![(*name).to_owned(), shown(before), shown(after)]);
        }
    }
    section.add_table(levels);
    let mut totals = Table::new("Growth from the first to the last reading.", &["<what", "growth"]);
    for (name, value) in TOTALS {
        if let (Some(before), Some(after)) = (value(&first.conditions), value(&last.conditions)) {
            totals.rows.push(vec![(*name).to_owned(), significant(after - before)]);
        }
    }
    section.add_table(totals);
    section.add_sentence("Figures of the control group include all of its processes and the page cache. Pressure is of the whole machine. `conditions` in run.json has every reading and the reason for each missing figure. `frequency_hz`, `throttled_s`, `memory_stall_s` and `io_stall_s` of a sample cover its request.");
    section
}

/// The same for one reading, for `inferometer machine`.
pub fn properties(now: &Conditions) -> Vec<(String, String)> {
    let ends = now.frequencies_hz.iter().min().zip(now.frequencies_hz.iter().max());
    let range = ends.map(|(low, high)| format!("{} to {} GHz over the processors", gigahertz(*low), gigahertz(*high)));
    let frequencies = range.unwrap_or_else(|| unknown(now.frequencies_hz.reason()));
    let heat = &now.heat;
    let critical = heat.limit_celsius.value().map(|limit| format!(", critical at {limit:.0}")).unwrap_or_default();
    let group = &now.group;
    let peak = group.memory_peak_bytes.value().map(|bytes| format!(", at most {} so far", models::Bytes(bytes)));
    let peak = peak.unwrap_or_default();
    let in_use = |bytes: &u64| format!("{} in use, page cache included{peak}", models::Bytes(*bytes));
    let waited = |seconds: &f64| format!("some task waited for {} s since boot", significant(*seconds));
    [
        ("frequencies", frequencies),
        ("energy preference", shown(&now.energy_preference, String::clone)),
        ("turbo", shown(&now.turbo, |on| if *on { "on" } else { "off" }.to_owned())),
        ("temperature", shown(&heat.processor_celsius, |degrees| format!("{degrees:.0} degrees Celsius{critical}"))),
        ("thermal throttling", shown(&heat.core_throttles, |count| format!("{count} times since boot (cores)"))),
        ("control group memory", shown(&group.memory_bytes, in_use)),
        (
            "control group processors",
            shown(&group.throttled_s, |seconds| format!("throttled for {} s so far", significant(*seconds))),
        ),
        ("memory pressure", shown(&now.pressure.memory_some_s, waited)),
        ("storage pressure", shown(&now.pressure.io_some_s, waited)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn gigahertz(hertz: u64) -> String {
    format!("{:.2}", hertz as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{ConditionsAt, Moment, RunFile};

    #[test]
    fn levels_are_before_and_after_and_totals_are_differences() {
        let at = |conditions: Conditions| ConditionsAt { moment: Moment::Before, model: "m".to_owned(), conditions };
        let frequencies = |hertz: &[u64]| record::RecordedList::new(hertz.to_vec(), "not read");
        let mut first =
            Conditions { frequencies_hz: frequencies(&[800_000_000, 2_400_000_000]), ..Conditions::absent("not read") };
        first.group.throttled_s = 1.0.into();
        let mut last = Conditions { frequencies_hz: frequencies(&[3_900_000_000]), ..first.clone() };
        last.group.throttled_s = 1.25.into();
        let mut file = RunFile { conditions: vec![at(first.clone()), at(last)], ..RunFile::default() };
        let text = format!("{:?}", section(&RunView { file: &file }).blocks);
        assert!(text.contains("\"2.40\", \"3.90\"") && text.contains("\"0.2500\""), "{text}");
        assert!(!text.contains("degrees"), "a figure without readings has no row: {text}");
        file.conditions.clear();
        assert!(section(&RunView { file: &file }).blocks.is_empty());
        let properties = properties(&first);
        assert!(properties.iter().any(|(name, value)| name == "frequencies" && value.contains("0.80 to 2.40 GHz")));
        assert!(properties.iter().any(|(name, value)| name == "temperature" && value == "unknown (not read)"));
    }
}
