//! [`EarlierRun`]: the results of a run that is resumed. Its plan must be the same.

use std::collections::HashMap;
use std::path::Path;

use record::plan::PlanFile;
use record::{
    Case, Error, Journalled, PassFigures, Reason, Recorded, RunFile, Sample, Session, Setting, Status, Store,
};
use serde_json::Value;

use crate::plan::Plan;

/// What an earlier run has besides its record.
#[derive(Debug)]
pub(super) struct EarlierRun {
    /// The number of its requests.
    pub(super) samples: usize,
    /// The number of requests of the plan that need not be repeated.
    pub(super) done: usize,
    /// The requests with figures of their pass, by case.
    pub(super) requests: HashMap<String, Vec<(Sample, PassFigures)>>,
    /// The last session of each case.
    pub(super) sessions: HashMap<String, Session>,
}

impl EarlierRun {
    /// The part of a journal besides the record.
    pub(super) fn of(journalled: Journalled, plan: &Plan) -> (RunFile, Self) {
        let Journalled { file, requests, sessions } = journalled;
        let samples = file.cases.iter().map(|case| requests_of(case).count()).sum();
        let done = done(&file.cases, plan.requests_of_case());
        (file, Self { samples, done, requests, sessions })
    }
}

fn requests_of(case: &Case) -> impl Iterator<Item = &Sample> {
    case.samples.iter().chain(&case.stepped).chain(&case.traced).chain(&case.counted)
}

/// The number of requests that need not be repeated: those of complete cases, and the samples of the others without warm-up, because
/// their sessions are warmed up again.
fn done(cases: &[Case], of_case: usize) -> usize {
    let there = |case: &Case| match case.status {
        Status::Ok => of_case,
        _ => requests_of(case).filter(|sample| !sample.warmup).count().min(of_case),
    };
    cases.iter().map(there).sum()
}

/// Reads an earlier run and checks that it has the same plan.
pub(super) fn earlier(dir: &Path, plan: &PlanFile) -> Result<Journalled, Error> {
    let found = Store::earlier(dir)?;
    let file = &found.file;
    if let Some(field) = differs(&file.plan, plan) {
        let problem = format!("the run there has another plan: `{field}` differs{}", values(&file.plan, plan, &field));
        let advice = format!(
            "resume with the options of that run, which was started with `{}`, or start a new run without {}",
            typed(&file.command_line),
            Setting::Resume
        );
        return Err(Error::Content { path: dir.to_path_buf(), problem, advice });
    }
    Ok(found)
}

/// A command line as a shell reads it.
fn typed(command_line: &[String]) -> String {
    let quoted = |word: &String| {
        let is_plain = !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "@%+=:,./-_~".contains(c));
        if is_plain { word.clone() } else { format!("'{}'", word.replace('\'', "'\\''")) }
    };
    command_line.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Both values of a field, where they are short: `: 5 there, 3 here`.
fn values(there: &PlanFile, here: &PlanFile, field: &str) -> String {
    /// Longer values, such as lists of prompts, say nothing at a glance.
    const LONGEST: usize = 60;
    let value = |plan: &PlanFile| {
        let text = serde_json::to_value(plan).ok()?.get(field).map_or_else(|| "null".to_owned(), Value::to_string);
        (text.len() <= LONGEST).then_some(text)
    };
    match value(there).zip(value(here)) {
        Some((there, here)) if there != here => format!(": {there} there, {here} here"),
        _ => String::new(),
    }
}

/// A property of a model that is not compared.
fn not_compared<T>() -> Recorded<T> {
    Recorded::Absent(Reason::unrecorded())
}

/// The first field in which two plans differ. Not compared are the origin of a file, the available memory, the time budget, and
/// properties of files that older versions did not record.
fn differs(one: &PlanFile, other: &PlanFile) -> Option<String> {
    let compared = |plan: &PlanFile, other: &PlanFile| {
        let mut plan = PlanFile { budget_s: None, ..plan.clone() };
        for (index, model) in plan.models.iter_mut().enumerate() {
            model.origin.clear();
            model.predicted_bytes = not_compared();
            model.together = true;
            // Hashes are compared if both are known; the other properties follow from the file.
            if other.models.get(index).is_some_and(|other| other.sha256.is_absent()) {
                model.sha256 = not_compared();
            }
            (model.bits_per_weight, model.source) = (not_compared(), not_compared());
        }
        let mut plan = serde_json::to_value(plan).unwrap_or(Value::Null);
        // Older versions gave fewer reasons.
        let models = plan.get_mut("models").and_then(Value::as_array_mut).into_iter().flatten();
        models.filter_map(Value::as_object_mut).for_each(|model| drop(model.remove("reasons")));
        plan
    };
    let (one, other) = (compared(one, other), compared(other, one));
    let (Value::Object(one), Value::Object(other)) = (one, other) else { return Some("plan".to_owned()) };
    let keys = one.keys().chain(other.keys().filter(|key| !one.contains_key(*key)));
    keys.into_iter().find(|key| one.get(*key) != other.get(*key)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::plan::PlannedModel;

    #[test]
    fn the_command_and_the_values_of_the_run_are_named() {
        let line = ["inferometer", "run", "-e", "mock", "--prompt", "it's"].map(str::to_owned);
        assert_eq!(typed(&line), "inferometer run -e mock --prompt 'it'\\''s'");
        let plan = |runs| PlanFile { runs, prompt_set: "s".repeat(99), ..PlanFile::default() };
        assert_eq!(values(&plan(5), &plan(3), "runs"), ": 5 there, 3 here");
        assert_eq!(values(&plan(5), &PlanFile::default(), "prompt_set"), "", "too long");
    }

    #[test]
    fn another_plan_is_reported_by_its_field() {
        let plan = PlanFile {
            runs: 5,
            models: vec![PlannedModel { origin: "hub".to_owned(), ..PlannedModel::absent("not recorded") }],
            ..PlanFile::default()
        };
        let mut other = plan.clone();
        other.models[0].origin = "cache".to_owned();
        assert_eq!(differs(&plan, &other), None, "a file that was fetched is now cached");
        other.budget_s = Some(60.0);
        assert_eq!(differs(&plan, &other), None, "more time is the same plan");
        other.precision = Some(0.02);
        assert_eq!(differs(&plan, &other).as_deref(), Some("precision"));
        other.precision = None;
        other.models[0].sha256 = "1".repeat(64).into();
        other.models[0].bits_per_weight = 4.5.into();
        assert_eq!(differs(&plan, &other), None, "the earlier run did not hash its file");
        assert_eq!(differs(&other, &plan), None);
        let mut older = other.clone();
        older.models[0].parameters = not_compared();
        assert_eq!(differs(&older, &other), None, "another reason is not another plan");
        let mut changed = other.clone();
        changed.models[0].sha256 = "2".repeat(64).into();
        assert_eq!(differs(&other, &changed).as_deref(), Some("models"));
        other.runs = 6;
        assert_eq!(differs(&plan, &other).as_deref(), Some("runs"));
    }
}
