//! An estimate beside what was measured afterwards.

use std::path::Path;

use super::Ground;
use super::prediction::{Figure, PREDICTION_VERSION, Prediction};
use crate::Error;
use crate::results::{Case, RunFile, Sample, Status};
use crate::statistics::{clean, median};

/// A figure beside its estimate.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Field name of the estimate.
    pub field: &'static str,
    /// As it was written.
    pub predicted: Figure,
    /// The same on the ceilings that were probed while it was measured; `None` where ceilings do not enter.
    pub scaled: Option<f64>,
    /// Median over the clean requests.
    pub measured: f64,
}

impl Comparison {
    /// `scaled (or predicted) / measured - 1`.
    #[must_use]
    pub fn error(&self) -> f64 {
        self.scaled.unwrap_or(self.predicted.value) / self.measured - 1.0
    }

    /// Whether the measured figure lies inside the interval, moved with the ceilings; `None` for a bound.
    #[must_use]
    pub fn inside(&self) -> Option<bool> {
        let moved = self.scaled.map_or(1.0, |scaled| scaled / self.predicted.value);
        Some((self.predicted.low? * moved..=self.predicted.high? * moved).contains(&self.measured))
    }
}

/// Reads an estimate back.
///
/// # Errors
/// When it cannot be read, is no estimate, or was written by a newer version.
pub fn read(path: &Path) -> Result<Prediction, Error> {
    let bytes = std::fs::read(path).map_err(Error::file(path, "read"))?;
    let wrong =
        |problem: String, advice: &str| Error::Content { path: path.to_path_buf(), problem, advice: advice.to_owned() };
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| wrong(format!("is not JSON: {error}"), MAKE_ONE))?;
    match value["prediction_version"].as_u64() {
        None => Err(wrong("has no prediction_version, so it is no prediction of inferometer".to_owned(), MAKE_ONE)),
        Some(version) if version > u64::from(PREDICTION_VERSION) => Err(wrong(
            format!("has prediction version {version}, this program reads up to {PREDICTION_VERSION}"),
            "read it with the version of inferometer that wrote it, or a newer one",
        )),
        Some(_) => serde_json::from_slice(&bytes).map_err(|error| {
            wrong(format!("is not what its version says: {error}"), "it was changed after it was written")
        }),
    }
}

const MAKE_ONE: &str = "write one with `inferometer predict -m MODEL -o FILE`";

/// Compares an estimate with a run that has the same model, engine, threads, depth and prompt length.
///
/// # Errors
/// When the run has no such case, naming those that it has.
pub fn compare(prediction: &Prediction, file: &RunFile) -> Result<Vec<Comparison>, Error> {
    let like = |case: &&Case| {
        case.model == prediction.model
            && case.engine == prediction.engine
            && case.threads == prediction.threads
            && case.depth == prediction.depth
            && case.status == Status::Ok
            && clean(case).any(|sample| sample.prompt_tokens == Some(prediction.prompt_tokens))
    };
    let cases: Vec<&Case> = file.cases.iter().filter(like).collect();
    if cases.is_empty() {
        return Err(no_such_case(prediction, file));
    }
    let ground = Ground::of(file, prediction.threads, Some(&prediction.model));
    let middle = |value: fn(&Sample) -> Option<f64>| {
        median(&cases.iter().flat_map(|case| clean(case)).filter_map(value).collect::<Vec<_>>())
    };
    let on = |parts: Option<super::Parts>| Some(parts?.on(&prediction.ground, &ground?));
    let load = |cold: bool| {
        let loads = cases.iter().filter(|case| match case.memory.load_cached_share {
            Some(share) if cold => share <= 0.0,
            Some(share) => share >= 1.0,
            None => false,
        });
        median(&loads.filter_map(|case| case.memory.load_s).collect::<Vec<_>>())
    };
    let peak = |case: &&Case| Some(case.samples.iter().find(|sample| sample.fresh)?.memory_peak_bytes? as f64);
    let rows = [
        ("load_warm_s", prediction.load_warm_s, None, load(false)),
        ("load_cold_s", prediction.load_cold_s, None, load(true)),
        ("memory_bytes", prediction.memory_bytes, None, median(&cases.iter().filter_map(peak).collect::<Vec<_>>())),
        (
            "prefill_tps",
            prediction.prefill_tps,
            on(prediction.prefill).map(|seconds| prediction.prompt_tokens as f64 / seconds),
            middle(|sample| sample.prefill_tps),
        ),
        (
            "decode_tps",
            prediction.decode_tps,
            on(prediction.decode).map(|seconds| 1.0 / seconds),
            middle(|sample| sample.decode_tps),
        ),
    ];
    let row = |(field, predicted, scaled, measured): (_, Option<Figure>, _, Option<f64>)| {
        Some(Comparison { field, predicted: predicted?, scaled, measured: measured? })
    };
    Ok(rows.into_iter().filter_map(row).collect())
}

fn no_such_case(prediction: &Prediction, file: &RunFile) -> Error {
    let Prediction { model, engine, threads, depth, prompt_tokens, .. } = prediction;
    let known: Vec<&str> = file.cases.iter().map(|case| case.id.as_str()).collect();
    Error::Usage(format!(
        "{}: has no measured case of {engine} on {model} with {threads} threads, depth {depth} and {prompt_tokens} prompt tokens, which was predicted; its cases: {}; measure the same settings, or predict those of the run",
        file.name,
        known.join(", ")
    ))
}
