//! An estimate compared with a later measurement.

use std::path::Path;

use super::CeilingBasis;
use super::prediction::{Figure, PREDICTION_VERSION, Prediction};
use crate::warnings::FullMemory;
use record::{Action, Case, Error, RunFile, Sample, Status};
use statistics::median;

/// A measured figure and its estimate.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedFigure {
    /// Field name of the estimate.
    pub field: &'static str,
    /// As it was written.
    pub predicted: Figure,
    /// The same on the ceilings that were probed while it was measured; `None` where ceilings do not enter.
    pub scaled: Option<f64>,
    /// Median over the clean requests.
    pub measured: f64,
}

impl CheckedFigure {
    /// `scaled (or predicted) / measured - 1`.
    #[must_use]
    pub fn error(&self) -> f64 {
        self.scaled.unwrap_or(self.predicted.value()) / self.measured - 1.0
    }

    /// Whether the measured figure is inside the interval, scaled with the ceilings; `None` for a bound.
    #[must_use]
    pub fn inside(&self) -> Option<bool> {
        let moved = self.scaled.map_or(1.0, |scaled| scaled / self.predicted.value());
        let (low, high) = self.predicted.interval()?;
        Some((low * moved..=high * moved).contains(&self.measured))
    }
}

/// The estimate in the content of a file. `path` is its place in errors.
///
/// # Errors
/// When it is not an estimate, or was written by a newer version.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Prediction, Error> {
    let wrong = |problem: String, advice: String| Error::Content { path: path.to_path_buf(), problem, advice };
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| wrong(format!("is not JSON: {error}"), write_one()))?;
    match value["prediction_version"].as_u64() {
        None => {
            Err(wrong("has no prediction_version, so it is not a prediction of inferometer".to_owned(), write_one()))
        }
        Some(version) if version > u64::from(PREDICTION_VERSION) => Err(wrong(
            format!("has prediction version {version}, this program reads up to {PREDICTION_VERSION}"),
            "read it with the version of inferometer that wrote it, or a newer one".to_owned(),
        )),
        Some(_) => serde_json::from_slice(bytes).map_err(|error| {
            wrong(format!("does not match its version: {error}"), "it was changed after it was written".to_owned())
        }),
    }
}

fn write_one() -> String {
    format!("write one with {}", Action::WritePrediction)
}

/// The comparison of an estimate with a case of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictionCheck {
    /// The case that it is compared with.
    pub case: String,
    /// Notes on the choice of the case and on the run.
    pub notes: Vec<String>,
    /// One per figure that was both estimated and measured.
    pub rows: Vec<CheckedFigure>,
}

/// The settings by which the case is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CaseSettings {
    prompt_tokens: usize,
    new_tokens: usize,
    threads: usize,
    depth: usize,
}

impl CaseSettings {
    /// Of a case: as its clean requests had it.
    fn of(case: &Case) -> Option<Self> {
        let sample = case.clean_samples().find(|sample| sample.prompt_tokens.is_present())?;
        Some(Self {
            prompt_tokens: sample.prompt_tokens.value()?,
            new_tokens: sample.output_tokens.value().unwrap_or(0),
            threads: case.threads,
            depth: case.depth,
        })
    }

    const fn named(&self) -> [(&'static str, usize); 4] {
        [
            ("prompt tokens", self.prompt_tokens),
            ("new tokens", self.new_tokens),
            ("threads", self.threads),
            ("depth", self.depth),
        ]
    }

    /// How far two cases are apart:
    ///
    /// ```text
    /// sum over prompt tokens, new tokens, threads, depth of |ln((a + 1) / (b + 1))|
    /// ```
    fn distance(&self, other: &Self) -> f64 {
        let pairs = self.named().into_iter().zip(other.named());
        pairs.map(|((_, a), (_, b))| ((a as f64 + 1.0) / (b as f64 + 1.0)).ln().abs()).sum()
    }
}

/// Compares an estimate with the case of a run that has the same model and engine and the nearest prompt tokens, new tokens,
/// threads and depth; of equally near ones the first. Loads are those of all cases of the model and engine.
///
/// # Errors
/// When the run has no such case, naming those that it has.
pub fn check(prediction: &Prediction, file: &RunFile) -> Result<PredictionCheck, Error> {
    // Synthetic weights have the type in their name.
    let synthetic = format!("{}-{}", prediction.model, prediction.quant.to_lowercase());
    let like = |case: &&Case| {
        (case.model == prediction.model || case.model == synthetic)
            && case.engine == prediction.engine
            && case.status == Status::Ok
    };
    let cases: Vec<&Case> = file.cases.iter().filter(like).collect();
    let asked = CaseSettings {
        prompt_tokens: prediction.prompt_tokens,
        new_tokens: prediction.new_tokens,
        threads: prediction.threads,
        depth: prediction.depth,
    };
    let known: Vec<(&Case, CaseSettings)> =
        cases.iter().filter_map(|case| Some((*case, CaseSettings::of(case)?))).collect();
    let nearest = known.iter().min_by(|a, b| asked.distance(&a.1).total_cmp(&asked.distance(&b.1)));
    let Some((chosen, has)) = nearest.copied() else { return Err(no_such_case(prediction, file)) };
    Ok(PredictionCheck {
        case: chosen.id.clone(),
        notes: notes(prediction, file, (&known, chosen), (asked, has)),
        rows: rows(prediction, file, &cases, chosen),
    })
}

fn notes(
    prediction: &Prediction,
    file: &RunFile,
    (known, chosen): (&[(&Case, CaseSettings)], &Case),
    (asked, has): (CaseSettings, CaseSettings),
) -> Vec<String> {
    let mut notes = Vec::new();
    if known.len() > 1 {
        let (id, n, model) = (&chosen.id, known.len(), &prediction.model);
        let like = known.iter().filter(|(_, other)| other.distance(&asked) <= has.distance(&asked)).count() - 1;
        let like = match like {
            0 => String::new(),
            more => format!(", the first of {} equally near ones", more + 1),
        };
        notes.push(format!("compared with {id}, which is the nearest to the prediction of {n} cases of {model}{like}"));
    }
    let differs: Vec<String> = asked
        .named()
        .into_iter()
        .zip(has.named())
        .filter(|((_, a), (_, b))| a != b)
        .map(|((name, a), (_, b))| format!("{name} predicted {a}, measured {b}"))
        .collect();
    if !differs.is_empty() {
        notes.push(format!("not the same settings: {}; no case of the run is nearer", differs.join(", ")));
    }
    if file.plan.kv_type != prediction.kv_type {
        let (predicted, measured) = (&prediction.kv_type, &file.plan.kv_type);
        notes.push(format!("not the same KV cache: predicted {predicted}, measured {measured}"));
    }
    if let Some(evidence) = FullMemory::of(file).in_words() {
        notes.push(format!(
            "the memory of the machine was full during {}: {evidence}. A process has less resident memory then than it needs, and weights are read again, so the errors of memory, loads and rates are not those of the estimate alone",
            file.name
        ));
    }
    if prediction.rests_on.iter().any(|run| run.starts_with(&format!("{}: ", file.name))) {
        notes.push(format!(
            "{} is one of the runs that the estimate is fitted to: the errors are those of the fit, not those of a prediction",
            file.name
        ));
    }
    notes
}

fn rows(prediction: &Prediction, file: &RunFile, cases: &[&Case], chosen: &Case) -> Vec<CheckedFigure> {
    let basis = CeilingBasis::of(file, chosen.threads, Some(&chosen.model));
    let middle =
        |value: fn(&Sample) -> Option<f64>| median(&chosen.clean_samples().filter_map(value).collect::<Vec<_>>());
    let on = |parts: Option<super::TimeParts>| Some(parts?.on(&prediction.basis, &basis?));
    let load = |cold: bool| {
        let loads = cases.iter().filter(|case| match case.memory.load_cached_share.value() {
            Some(share) if cold => share <= 0.0,
            Some(share) => share >= 1.0,
            None => false,
        });
        median(&loads.filter_map(|case| case.memory.load_s.value()).collect::<Vec<_>>())
    };
    let first = chosen.samples.iter().find(|sample| sample.fresh);
    let peak = first.and_then(|sample| sample.memory_peak_bytes.value()).map(|bytes| bytes as f64);
    let rows = [
        ("load_warm_s", prediction.load_warm_s.value(), None, load(false)),
        ("load_cold_s", prediction.load_cold_s.value(), None, load(true)),
        ("memory_bytes", prediction.memory_bytes.value(), None, peak),
        (
            "prefill_tps",
            prediction.prefill_tps.value(),
            on(prediction.prefill.value()).map(|seconds| prediction.prompt_tokens as f64 / seconds),
            middle(|sample| sample.prefill_tps.value()),
        ),
        (
            "decode_tps",
            prediction.decode_tps.value(),
            on(prediction.decode.value()).map(|seconds| 1.0 / seconds),
            middle(|sample| sample.decode_tps.value()),
        ),
    ];
    let row = |(field, predicted, scaled, measured): (_, Option<Figure>, _, Option<f64>)| {
        Some(CheckedFigure { field, predicted: predicted?, scaled, measured: measured? })
    };
    rows.into_iter().filter_map(row).collect()
}

fn no_such_case(prediction: &Prediction, file: &RunFile) -> Error {
    let Prediction { model, engine, .. } = prediction;
    let known: Vec<&str> = file.cases.iter().map(|case| case.id.as_str()).collect();
    Error::usage(
        format!(
            "{}: has no measured case of {engine} with {model}, which was predicted; its cases are {}",
            file.name,
            known.join(", ")
        ),
        "measure that model with that engine, or predict those of the run",
    )
}
