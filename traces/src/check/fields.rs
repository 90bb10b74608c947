//! The fields and arguments that a record must have, by its phase.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::Severity;
use crate::chrome::{Phase, Record, excerpt};

/// A problem of one field: severity, field, text.
pub(super) type Finding = (Severity, &'static str, String);

/// All problems of a record that can be found without other records.
pub(super) fn findings(record: &Record<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> =
        record.flaws.iter().map(|flaw| (Severity::Error, flaw.field, flaw.text.clone())).collect();
    for &field in required(record.phase) {
        if is_missing(record, field) && !record.flaws.iter().any(|flaw| flaw.field == field) {
            found.push((Severity::Error, field, "is missing".to_owned()));
        }
    }
    if let Some(time) = record.start
        && time.nanos < 0
    {
        found.push((Severity::Warning, "ts", "is negative: it is before the clock's origin".to_owned()));
    }
    match record.phase {
        Phase::Counter => found.extend(counter_args(record.args)),
        Phase::Metadata => found.extend(metadata_args(&record.name, record.args)),
        _ => {}
    }
    found
}

fn required(phase: Phase) -> &'static [&'static str] {
    match phase {
        Phase::Complete => &["name", "pid", "tid", "ts", "dur"],
        Phase::Begin => &["name", "pid", "tid", "ts"],
        Phase::End => &["pid", "tid", "ts"],
        Phase::Counter | Phase::Instant => &["name", "pid", "ts"],
        Phase::Metadata => &["name", "pid"],
        Phase::Unknown => &["ph"],
        Phase::Other(_) => &[],
    }
}

fn is_missing(record: &Record<'_>, field: &str) -> bool {
    match field {
        "name" => record.name.is_empty(),
        "pid" => record.pid.is_none(),
        "tid" => record.tid.is_none(),
        "ts" => record.start.is_none(),
        "dur" => record.duration.is_none(),
        // A phase that is unknown without a flaw is missing.
        _ => record.flaws.iter().all(|flaw| flaw.field != "ph"),
    }
}

/// The arguments of a counter are its series: at least one, all numbers.
fn counter_args(args: Option<&RawValue>) -> Vec<Finding> {
    let error = |text: String| vec![(Severity::Error, "args", text)];
    let Some(args) = args else { return error("is missing: a counter needs its values there".to_owned()) };
    let Ok(series) = serde_json::from_str::<BTreeMap<String, &RawValue>>(args.get()) else {
        return error(format!("expected an object of numbers, found {}", excerpt(args)));
    };
    if series.is_empty() {
        return error("has no value".to_owned());
    }
    series
        .into_iter()
        .filter(|(_, value)| serde_json::from_str::<f64>(value.get()).is_err())
        .map(|(name, value)| (Severity::Error, "args", format!("{name:?} is {}, expected a number", excerpt(value))))
        .collect()
}

/// Names are texts, sort indices are numbers. Metadata with other names belongs to other tools.
fn metadata_args(name: &str, args: Option<&RawValue>) -> Option<Finding> {
    let (key, expected) = match name {
        "process_name" | "thread_name" => ("name", "a text"),
        "process_sort_index" | "thread_sort_index" => ("sort_index", "a whole number"),
        "process_labels" => ("labels", "a text"),
        _ => return None,
    };
    let args: BTreeMap<String, &RawValue> =
        args.and_then(|args| serde_json::from_str(args.get()).ok()).unwrap_or_default();
    let Some(value) = args.get(key) else {
        return Some((Severity::Error, "args", format!("{key:?} is missing")));
    };
    let fits = match key {
        "sort_index" => serde_json::from_str::<i64>(value.get()).is_ok(),
        _ => serde_json::from_str::<String>(value.get()).is_ok(),
    };
    (!fits).then(|| (Severity::Error, "args", format!("{key:?} is {}, expected {expected}", excerpt(value))))
}
