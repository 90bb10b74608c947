//! Differences between two runs besides their figures: machine, settings, versions; the likeliest causes of other figures first.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::comparison::RunDifference;
use super::side::Sides;
use record::RunFile;

/// Fields that are left out: they always change, follow from others, or are part of the contrasts.
const LEFT_OUT: &[&str] = &[
    "environment.memory.available_bytes",
    "environment.state.load_15m",
    "environment.state.uptime_s",
    "environment.state.steal_since_boot",
    "environment.state.steal_now",
    "environment.state.busy_now",
    "environment.processor.frequency_now_hz",
    "environment.memory.swap_used_bytes",
    "plan.models",
    "plan.prompts",
    "plan.cases",
    "plan.seed",
    "plan.trace",
    "plan.counters",
    "plan.instrumented_runs",
];

/// The beginning of a path, how likely it explains a difference in speed, and why. The first match counts.
const WEIGHTS: &[(&str, u8, &str)] = &[
    ("tool.target_features", 3, "kernels use other instructions"),
    ("tool.profile", 3, "a debug build is many times slower"),
    ("engine ", 3, "another version, device or build of the engine"),
    ("plan.settings", 3, "the engine has other settings"),
    ("plan.kv_type", 3, "the cache has another size"),
    ("plan.flash_attention", 3, "attention is computed in another way"),
    ("plan.batch", 3, "prefill has other batches"),
    ("plan.prompt_set", 3, "other prompts"),
    ("plan.device", 3, "another device"),
    ("plan.cold", 3, "loads start with another state of the page cache"),
    ("environment.processor.model", 3, "another processor"),
    ("environment.processor.governor", 3, "frequencies are chosen in another way"),
    ("environment.processor.turbo", 3, "the highest frequency differs"),
    ("environment.limits", 3, "the system has other resource limits"),
    ("environment.processor", 2, "the processor has another configuration"),
    ("environment.power", 2, "on a battery frequencies are lower"),
    ("environment.memory.transparent_huge_pages", 2, "the page size of memory may differ"),
    ("environment.memory", 2, "the memory differs"),
    ("environment.state.load_1m", 2, "other programs were running"),
    ("environment.variables", 2, "libraries depend on environment variables"),
    ("environment.host", 2, "another system"),
    ("tool.compiler", 2, "another compiler"),
    ("tool.revision", 2, "another revision of this tool and of the engines in it"),
    ("tool.version", 2, "another version of this tool and of the engines in it"),
    ("plan.warmup", 2, "other warm-up"),
    ("plan.threads", 2, "other thread counts were measured in the same run"),
];
const RARELY: (u8, &str) = (1, "rarely matters");

/// Differences of every other run from the baseline's. Sides of one run have none.
pub(super) fn run_differences(sides: &Sides) -> Vec<RunDifference> {
    let Some((first, others)) = sides.sides.split_first() else { return Vec::new() };
    let Some(baseline) = sides.runs.get(first.run) else { return Vec::new() };
    let mut rows: Vec<RunDifference> = Vec::new();
    let mut done = vec![first.run];
    for side in others {
        let Some(other) = sides.runs.get(side.run).filter(|_| !done.contains(&side.run)) else { continue };
        done.push(side.run);
        // Records of other programs have other fields, but settings of engines have the same names.
        rows.extend(match other.foreign || baseline.foreign {
            false => differences(&baseline.file, &other.file, &side.label),
            true => setting_differences(&baseline.file, &other.file, &side.label),
        });
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.weight));
    rows
}

fn differences(baseline: &RunFile, other: &RunFile, side: &str) -> Vec<RunDifference> {
    let (b, o) = (leaves(baseline), leaves(other));
    let mut names: Vec<&String> = b.keys().chain(o.keys()).collect();
    names.sort();
    names.dedup();
    let rows = names.into_iter().filter(|name| b.get(*name) != o.get(*name) && counts(name, &b, &o));
    rows.map(|name| {
        let known = WEIGHTS.iter().find(|(start, ..)| name.starts_with(start)).map(|(_, weight, why)| (*weight, *why));
        let (weight, because) = known.unwrap_or(RARELY);
        let text_of =
            |leaves: &BTreeMap<String, String>| leaves.get(name).cloned().unwrap_or_else(|| "not recorded".to_owned());
        RunDifference {
            side: side.to_owned(),
            what: name.clone(),
            baseline: text_of(&b),
            other: text_of(&o),
            weight,
            because: because.to_owned(),
        }
    })
    .collect()
}

/// Settings that the plans of both state, and state differently: those of llama.cpp in a run here and in a file of llama-bench.
fn setting_differences(baseline: &RunFile, other: &RunFile, side: &str) -> Vec<RunDifference> {
    let (b, o) = (named_settings(baseline), named_settings(other));
    let both = b.iter().filter_map(|(name, value)| Some((name, value, o.get(name)?)));
    both.filter(|(_, baseline, other)| baseline != other)
        .map(|(name, baseline, other)| RunDifference {
            side: side.to_owned(),
            what: format!("plan.settings {name}"),
            baseline: baseline.clone(),
            other: other.clone(),
            weight: 3,
            because: "the engine has other settings".to_owned(),
        })
        .collect()
}

/// The settings of all engines by name, in llama-bench's words; of several engines all values, each once.
fn named_settings(file: &RunFile) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (_, name, value) in &file.plan.settings {
        let (name, value) = in_words_of_llama_bench(name, value);
        let values = found.entry(name.to_owned()).or_default();
        if !values.contains(&value) {
            values.push(value);
        }
    }
    if let Some(batch) = file.plan.batch {
        found.entry("n_ubatch".to_owned()).or_insert_with(|| vec![batch.to_string()]);
    }
    found.into_iter().map(|(name, values)| (name, values.join(" or "))).collect()
}

/// Switches are `1` and `0`; how the file is read is one setting. Files of early releases have two switches for it.
fn in_words_of_llama_bench<'a>(name: &'a str, value: &str) -> (&'a str, String) {
    let value = match value {
        "on" => "1",
        "off" => "0",
        other => other,
    };
    match (name, value) {
        ("mmap" | "use_mmap", "1") | ("direct_io", "0") => ("load_mode", "mmap".to_owned()),
        ("mmap" | "use_mmap", "0") => ("load_mode", "none".to_owned()),
        ("direct_io" | "use_direct_io", "1") => ("load_mode", "dio".to_owned()),
        (name, value) => (name, value.to_owned()),
    }
}

/// A load below that of one busy processor is noise.
fn counts(name: &str, b: &BTreeMap<String, String>, o: &BTreeMap<String, String>) -> bool {
    let load = |leaves: &BTreeMap<String, String>| leaves.get(name).and_then(|text| text.parse::<f64>().ok());
    match name {
        "environment.state.load_1m" => load(b).zip(load(o)).is_some_and(|(b, o)| (b - o).abs() >= 1.0),
        _ => true,
    }
}

/// Machine, tool, settings and engines as paths with their values.
fn leaves(file: &RunFile) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    walk("environment", &value(&file.environment), &mut found);
    walk("tool", &value(&file.tool), &mut found);
    walk("plan", &value(&file.plan), &mut found);
    for label in &file.plan.engines {
        if let Some(engine) = file.identity(label) {
            let text = format!("{} on {}, {}", engine.version, engine.device, engine.features.join(" "));
            found.insert(format!("engine {label}"), text);
        }
    }
    found.retain(|name, _| {
        !name.starts_with("environment.engines")
            && !name.contains(".reasons.")
            && LEFT_OUT.iter().all(|out| !name.starts_with(out))
    });
    found
}

fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

fn walk(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| walk(&format!("{path}.{name}"), value, found)),
        Value::Null => {}
        Value::Array(items) => {
            found.insert(path.to_owned(), items.iter().map(plain).collect::<Vec<_>>().join(" "));
        }
        other => {
            found.insert(path.to_owned(), plain(other));
        }
    }
}

/// Lists within lists are joined by dots: a setting is engine, key and value.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join("."),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_llama_cpp_have_the_names_of_llama_bench() {
        let run = |settings: &[(&str, &str)], batch| {
            let mut file = RunFile::default();
            let setting = |(key, value): &(&str, &str)| ("engine".to_owned(), (*key).to_owned(), (*value).to_owned());
            file.plan.settings = settings.iter().map(setting).collect();
            file.plan.batch = batch;
            file
        };
        let ours = run(&[("mmap", "off"), ("repack", "off"), ("n_batch", "512"), ("cpu_strict", "on")], Some(256));
        let bench = run(
            &[
                ("load_mode", "mmap"),
                ("repack", "1"),
                ("n_batch", "512"),
                ("cpu_strict", "1"),
                ("n_ubatch", "512"),
                ("poll", "50"),
            ],
            None,
        );
        let rows = setting_differences(&ours, &bench, "bench");
        let found: Vec<[&str; 3]> = rows.iter().map(|row| [&*row.what, &*row.baseline, &*row.other]).collect();
        assert_eq!(
            found,
            [
                ["plan.settings load_mode", "none", "mmap"],
                ["plan.settings n_ubatch", "256", "512"],
                ["plan.settings repack", "0", "1"]
            ]
        );
    }

    #[test]
    fn the_likeliest_cause_is_first_and_noise_is_left_out() {
        let mut baseline = RunFile::default();
        baseline.tool.target_features = vec!["avx2".to_owned()];
        baseline.environment.host.kernel = "6.1".to_owned().into();
        baseline.environment.state.load_1m = 0.1.into();
        let mut other = baseline.clone();
        other.tool.target_features = vec!["avx2".to_owned(), "avx512f".to_owned()];
        other.environment.host.kernel = "6.2".to_owned().into();
        other.environment.memory.available_bytes = 7.into();
        other.environment.state.load_1m = 0.4.into();
        let mut rows = differences(&baseline, &other, "b");
        rows.sort_by_key(|row| std::cmp::Reverse(row.weight));
        let found: Vec<(&str, u8)> = rows.iter().map(|row| (row.what.as_str(), row.weight)).collect();
        assert_eq!(found, [("tool.target_features", 3), ("environment.host.kernel", 2)]);
        assert_eq!((rows[0].baseline.as_str(), rows[0].other.as_str()), ("avx2", "avx2 avx512f"));
        assert!(differences(&baseline, &baseline, "b").is_empty());
    }
}
