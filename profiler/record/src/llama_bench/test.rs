//! [`Test`]: one test of llama-bench, from the fields of a record.

use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::ENGINE;
use super::found::Record;
use super::settings::{Settings, text_of};

/// One test with its figures.
#[derive(Debug, Clone, Default)]
pub(super) struct Test {
    pub(super) build: String,
    pub(super) build_commit: String,
    pub(super) processor: String,
    pub(super) model_path: String,
    pub(super) model_type: String,
    pub(super) model_bytes: Option<u64>,
    pub(super) parameters: Option<u64>,
    /// `None` where the file does not have it, as a table of a GPU.
    pub(super) threads: Option<usize>,
    pub(super) settings: Settings,
    /// The settings that distinguish it from other tests of the file.
    pub(super) variant: String,
    pub(super) prompt: usize,
    pub(super) generated: usize,
    pub(super) depth: usize,
    pub(super) time: String,
    /// Nanoseconds of each repetition; `None` for one without a positive time.
    pub(super) times_ns: Vec<Option<f64>>,
    /// Tokens per second of each repetition; `None` for one without a positive, finite rate.
    pub(super) rates: Vec<Option<f64>>,
    /// The figures are the means of the repetitions.
    pub(super) only_means: bool,
    /// Why its figures are doubtful: its means are not those of its repetitions.
    pub(super) contradiction: Option<String>,
}

/// A field with an invalid value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InvalidField {
    name: &'static str,
    expected: &'static str,
    found: String,
}

impl fmt::Display for InvalidField {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "`{}`: expected {}, found {}", self.name, self.expected, self.found)
    }
}

/// Rates and times of one repetition that differ by more than this share are not of the same measurement.
const TOLERANCE: f64 = 0.02;

impl Test {
    /// The test of a record.
    pub(super) fn read(record: &Record) -> Result<Self, InvalidField> {
        let text = |name: &str| record.fields.get(name).and_then(text_of).unwrap_or_default();
        let count = |name: &'static str| count(record, name);
        let mut test = Self {
            build: text("build_number"),
            build_commit: text("build_commit"),
            processor: text("cpu_info"),
            model_path: text("model_filename"),
            model_type: text("model_type"),
            model_bytes: count("model_size")?,
            parameters: count("model_n_params")?,
            threads: count("n_threads")?.map(|number| number as usize),
            settings: Settings::read(record),
            variant: String::new(),
            prompt: count("n_prompt")?.unwrap_or(0) as usize,
            generated: count("n_gen")?.unwrap_or(0) as usize,
            depth: count("n_depth")?.unwrap_or(0) as usize,
            time: text("test_time"),
            times_ns: figures(record, "samples_ns")?,
            rates: figures(record, "samples_ts")?,
            only_means: false,
            contradiction: None,
        };
        if test.times_ns.is_empty() && test.rates.is_empty() {
            test.only_means = true;
            test.times_ns = vec![positive(number(record, "avg_ns")?)];
            test.rates = vec![positive(number(record, "avg_ts")?)];
            test.contradiction = test.impossible_means();
        } else {
            test.complete_rates();
            let stated = [("avg_ts", "samples_ts", &test.rates), ("avg_ns", "samples_ns", &test.times_ns)];
            let (times, rates) = (test.times_ns.len(), test.rates.len());
            if times > 0 && times != rates {
                let text = format!("`samples_ns` has {times} repetitions, and `samples_ts` {rates}: some are missing");
                test.contradiction = Some(text);
            }
            for (mean, list, repetitions) in stated {
                let stated = positive(number(record, mean)?);
                test.contradiction = test.contradiction.or_else(|| contradiction((mean, stated), (list, repetitions)));
            }
        }
        Ok(test)
    }

    /// Rates by the times, as llama-bench computes them, where the file has none; a rate that disagrees with its time is withheld.
    fn complete_rates(&mut self) {
        let tokens = (self.prompt + self.generated) as f64;
        let computed = |time: &Option<f64>| time.map(|nanos| tokens * 1e9 / nanos);
        if self.rates.is_empty() {
            self.rates = self.times_ns.iter().map(computed).collect();
        }
        for (rate, time) in self.rates.iter_mut().zip(&self.times_ns) {
            let agree =
                rate.zip(computed(time)).is_none_or(|(rate, computed)| (rate / computed - 1.0).abs() <= TOLERANCE);
            if !agree {
                *rate = None;
            }
        }
    }

    /// Where the mean rate is below what the mean time gives: the mean of rates is at least the rate of the mean time.
    fn impossible_means(&self) -> Option<String> {
        let ([Some(time)], [Some(rate)]) = (self.times_ns.as_slice(), self.rates.as_slice()) else { return None };
        let least = (self.prompt + self.generated) as f64 * 1e9 / time;
        (*rate < least * (1.0 - TOLERANCE)).then(|| {
            let shown = crate::figures::significant;
            format!(
                "its `avg_ts` is {}, and its tokens and `avg_ns` give {}: one of them is wrong",
                shown(*rate),
                shown(least)
            )
        })
    }

    pub(super) fn is_prompt(&self) -> bool {
        self.prompt > 0 && self.generated == 0
    }

    pub(super) fn is_generation(&self) -> bool {
        self.generated > 0 && self.prompt == 0
    }

    /// The same model and settings, on as many threads.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        (self.model(), self.threads, &self.variant) == (other.model(), other.threads, &other.variant)
    }

    /// Its name in llama-bench's tables: `pp512`, `tg128`, `pp512+tg128`, with ` @ d4096` after a context.
    pub(super) fn what(&self) -> String {
        let depth = if self.depth > 0 { format!(" @ d{}", self.depth) } else { String::new() };
        match (self.prompt, self.generated) {
            (prompt, 0) => format!("pp{prompt}{depth}"),
            (0, generated) => format!("tg{generated}{depth}"),
            (prompt, generated) => format!("pp{prompt}+tg{generated}{depth}"),
        }
    }

    /// The label of its engine.
    pub(super) fn label(&self) -> String {
        if self.variant.is_empty() { ENGINE.to_owned() } else { format!("{ENGINE}:{}", self.variant) }
    }

    /// What distinguishes builds: the commit, else the number.
    pub(super) fn build(&self) -> &str {
        if self.build_commit.is_empty() { &self.build } else { &self.build_commit }
    }

    /// Number and commit of the build.
    pub(super) fn version(&self) -> String {
        match (self.build.as_str(), self.build_commit.as_str()) {
            ("", "") => "unknown".to_owned(),
            (build, "") => build.to_owned(),
            ("", commit) => commit.to_owned(),
            (build, commit) => format!("{build} ({commit})"),
        }
    }

    pub(super) fn model(&self) -> String {
        // A path of Windows has its own separators.
        let file = self.model_path.rsplit(['/', '\\']).next().unwrap_or_default();
        match Path::new(file).file_stem() {
            Some(stem) => stem.to_string_lossy().into_owned(),
            None => self.model_type.clone(),
        }
    }

    /// The same test in another run of llama-bench.
    fn repeats(&self, other: &Self) -> bool {
        let what = |test: &Self| {
            (test.prompt, test.generated, test.depth, test.only_means, test.build().to_owned(), test.processor.clone())
        };
        what(self) == what(other)
            && self.settings == other.settings
            && self.threads == other.threads
            && self.model() == other.model()
    }
}

/// Tests of several runs in one file: those of the same test are its repetitions.
pub(super) fn merged(tests: Vec<Test>) -> Vec<Test> {
    let mut merged: Vec<Test> = Vec::new();
    for test in tests {
        match merged.iter_mut().find(|before| before.repeats(&test)) {
            Some(before) => {
                before.times_ns.extend(test.times_ns);
                before.rates.extend(test.rates);
            }
            None => merged.push(test),
        }
    }
    merged
}

/// Where the stated mean is not the mean of the repetitions.
fn contradiction((name, stated): (&str, Option<f64>), (list, repetitions): (&str, &[Option<f64>])) -> Option<String> {
    let known: Option<Vec<f64>> = repetitions.iter().copied().collect();
    let (stated, mean) = stated.zip(statistics::mean(&known?))?;
    let differs = (stated / mean - 1.0).abs() > TOLERANCE;
    let shown = |number: f64| crate::figures::significant(number);
    differs.then(|| {
        format!(
            "its `{name}` is {}, and the mean of its `{list}` is {}: one of them is wrong",
            shown(stated),
            shown(mean)
        )
    })
}

fn positive(number: Option<f64>) -> Option<f64> {
    number.filter(|number| number.is_finite() && *number > 0.0)
}

/// A number, also as text; `None` where there is none, or none that is finite.
fn number(record: &Record, name: &'static str) -> Result<Option<f64>, InvalidField> {
    record.fields.get(name).map_or(Ok(None), |value| number_of(name, value))
}

fn number_of(name: &'static str, value: &Value) -> Result<Option<f64>, InvalidField> {
    match value {
        Value::Null => Ok(None),
        Value::Number(number) => Ok(number.as_f64()),
        Value::String(text) if text.trim().is_empty() => Ok(None),
        Value::String(text) => text.trim().parse().map(Some).map_err(|_| invalid(name, "a number", value)),
        other => Err(invalid(name, "a number", other)),
    }
}

fn count(record: &Record, name: &'static str) -> Result<Option<u64>, InvalidField> {
    const EXPECTED: &str = "a whole number that is not negative";
    let Some(number) = number(record, name)? else { return Ok(None) };
    let is_count = number >= 0.0 && number.fract() == 0.0 && number < 9e15;
    if is_count { Ok(Some(number as u64)) } else { Err(invalid(name, EXPECTED, &record.fields[name])) }
}

fn figures(record: &Record, name: &'static str) -> Result<Vec<Option<f64>>, InvalidField> {
    match record.fields.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(values)) => values.iter().map(|value| number_of(name, value).map(positive)).collect(),
        // A table that was made of JSON has the list as text.
        Some(Value::String(text)) => {
            let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
            let parts = inner.split(',').map(str::trim).filter(|part| !part.is_empty());
            parts.map(|part| number_of(name, &Value::String(part.to_owned())).map(positive)).collect()
        }
        Some(other) => Err(invalid(name, "a list of numbers", other)),
    }
}

fn invalid(name: &'static str, expected: &'static str, found: &Value) -> InvalidField {
    InvalidField { name, expected, found: text_input::excerpt(&found.to_string()) }
}
