//! Reads a run folder, complete or not.

use std::path::{Path, PathBuf};

use redaction::{Sensitive, redact};
use serde_json::Value;

use super::journal::{self, Keep};
use super::{RunFile, SCHEMA_VERSION, Sample, files, json_lines, mark_repeated};
use crate::Error;

/// A run as it was found on disk.
#[derive(Debug)]
pub struct Opened {
    /// What the run has measured until now.
    pub file: RunFile,
    /// Whether `samples.jsonl` had samples that `run.json` lacks: summaries in the file are then older than its samples.
    pub samples_added: bool,
    /// Whether the file was made from the journal, which has no findings.
    pub without_findings: bool,
}

/// Reads a run folder, or `run.json` itself. A run that has not ended is read from its journal. A folder of an earlier version has
/// none: of a run that was killed, the last samples are only in `samples.jsonl`.
///
/// # Errors
/// When it is not a run folder, or the file was written by a newer version or is invalid.
pub fn open(place: &Path) -> Result<Opened, Error> {
    let path = if place.is_file() { place.to_path_buf() } else { place.join(files::RUN) };
    let dir = path.parent().unwrap_or(Path::new(""));
    let is_run_file = path.file_name().is_some_and(|name| name == files::RUN);
    let has_journal = is_run_file && dir.join(files::JOURNAL).exists();
    if !path.exists() && !has_journal {
        let problem = match place.exists() {
            true => format!("is not a run folder (no {})", files::RUN),
            false => "does not exist".to_owned(),
        };
        return Err(Error::Content {
            path: place.to_path_buf(),
            problem,
            advice: "give the folder of a run, such as runs/NAME".to_owned(),
        });
    }
    let whole = read_run(&path);
    if has_journal
        && !whole.as_ref().is_ok_and(|file| file.finished.is_present())
        && let Some(found) = journal::replay(dir, Keep::File)?
    {
        return Ok(Opened { file: found.file, samples_added: false, without_findings: true });
    }
    let mut file = whole?;
    let samples = path.with_file_name(files::SAMPLES);
    let mut samples_added = false;
    if samples.exists() && !has_journal {
        let mut found = Vec::new();
        let damaged = json_lines::read(&samples, |sample| found.push(sample))?;
        samples_added = add_samples(&mut file, found);
        file.messages.extend(json_lines::about_damaged(files::SAMPLES, &damaged));
    }
    Ok(Opened { file, samples_added, without_findings: false })
}

fn read_run(path: &Path) -> Result<RunFile, Error> {
    let text = text_input::read(path).map_err(Error::text(path))?;
    let mut file = parse(path, &text)?;
    redact_old_fields(&mut file);
    Ok(file)
}

fn parse(path: &Path, text: &str) -> Result<RunFile, Error> {
    let wrong = |problem: String, advice: &str| Error::Content {
        path: PathBuf::from(path),
        problem,
        advice: advice.to_owned(),
    };
    let value: Value = serde_json::from_str(text).map_err(|error| {
        wrong(format!("is not JSON: {error}"), "it is incomplete or was changed; use the samples in samples.jsonl")
    })?;
    match value["schema_version"].as_u64() {
        None => {
            Err(wrong("has no schema_version, so it is not a run.json of inferometer".to_owned(), "give a run folder"))
        }
        Some(version) if version > u64::from(SCHEMA_VERSION) => {
            let problem = format!("has schema version {version}, this program reads up to {SCHEMA_VERSION}");
            Err(wrong(problem, "read it with the version of inferometer that wrote it, or a newer one"))
        }
        Some(_) => {
            // From the text, so that the error has a line and a column.
            serde_json::from_str(text).map_err(|error| {
                wrong(
                    format!("does not match schema version {SCHEMA_VERSION}: {error}"),
                    "it was changed after it was written",
                )
            })
        }
    }
}

/// Redacts the fields that earlier versions wrote as they were given. In a file of this version nothing changes.
fn redact_old_fields(file: &mut RunFile) {
    let mut option = String::new();
    for argument in &mut file.command_line {
        let given = std::mem::take(argument);
        *argument = match option.trim_start_matches('-') {
            // A prompt is not a secret.
            "prompt" => given.clone(),
            option => Sensitive::setting(option, &given).to_string(),
        };
        option = if given.starts_with('-') && !given.contains('=') { given } else { String::new() };
    }
    for (_, key, value) in &mut file.plan.settings {
        *value = Sensitive::setting(key, value).to_string();
    }
    let references = file.plan.models.iter_mut().map(|model| &mut model.reference);
    let cases = file
        .cases
        .iter_mut()
        .flat_map(|case| case.error.iter_mut().chain(case.server.as_mut().map(|server| &mut server.url)));
    for text in references.chain(cases).chain(&mut file.messages) {
        *text = redact(text);
    }
}

/// Adds the samples that the cases do not have. Returns whether there were any.
fn add_samples(file: &mut RunFile, samples: Vec<Sample>) -> bool {
    let mut added = false;
    for sample in samples {
        let Some(case) = file.cases.iter_mut().find(|case| case.id == sample.case) else { continue };
        let list = case.samples_mut(sample.pass);
        let same = |kept: &&Sample| {
            (kept.round, kept.warmup, kept.fresh, &kept.started)
                == (sample.round, sample.warmup, sample.fresh, &sample.started)
        };
        if !list.iter().any(|kept| same(&kept)) {
            list.push(sample);
            added = true;
        }
    }
    file.cases.iter_mut().for_each(|case| mark_repeated(&mut case.samples));
    added
}
