//! What is compared with what: whole runs, engines or models of a run, a llama-bench file.

use std::path::{Path, PathBuf};

use super::foreign;
use record::Error;
use record::RunFile;
use record::nearest;

/// A run that takes part.
#[derive(Debug)]
pub struct Source {
    /// Where it lies.
    pub path: PathBuf,
    /// What stands in it.
    pub file: RunFile,
    /// Measured by another program.
    pub foreign: bool,
}

/// One side of a comparison: a run, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// What it is called in reports.
    pub label: String,
    /// Place in the list of sources.
    pub source: usize,
    /// Only cases of this engine.
    pub engine: Option<String>,
    /// Only cases of this model.
    pub model: Option<String>,
}

/// The sides, the baseline first, with the runs that they are of.
#[derive(Debug)]
pub struct Sides {
    /// Every run once.
    pub sources: Vec<Source>,
    /// At least two.
    pub sides: Vec<Side>,
}

impl Sides {
    /// Reads what was named: paths or names of runs, llama-bench files, and behind each of them labels of engines or names of
    /// models that stand in it. Labels without a run are of the newest one below `parent`, and a run alone is compared within
    /// itself: its engines, else its models.
    ///
    /// # Errors
    /// When something is not found or cannot be read, or there is only one side.
    pub fn open(arguments: &[String], parent: &Path) -> Result<Self, Error> {
        let mut named: Vec<(Source, Vec<&str>)> = Vec::new();
        for argument in arguments {
            if let Some(source) = source(argument, parent)? {
                named.push((source, Vec::new()));
            } else if let Some((_, parts)) = named.last_mut() {
                parts.push(argument);
            } else {
                named.push((newest(argument, parent)?, vec![argument]));
            }
        }
        if named.is_empty() {
            named.push((newest("compare", parent)?, Vec::new()));
        }
        let alone = named.len() == 1;
        let mut found = Self { sources: Vec::new(), sides: Vec::new() };
        for (place, (source, parts)) in named.into_iter().enumerate() {
            let sides = match parts.is_empty() {
                true if alone => within(&source.file),
                true => vec![Side { label: source.file.name.clone(), source: 0, engine: None, model: None }],
                false => parts.iter().map(|part| of(part, &source, alone)).collect::<Result<_, _>>()?,
            };
            found.sides.extend(sides.into_iter().map(|side| Side { source: place, ..side }));
            found.sources.push(source);
        }
        if found.sides.len() < 2 {
            let only = found.sides.first().map_or("nothing", |side| side.label.as_str());
            return Err(Error::usage(
                format!("there is {only} and nothing to compare it with"),
                "name two runs, or a run of several engines (`inferometer run -e candle -e again=candle`)",
            ));
        }
        found.tell_apart();
        Ok(found)
    }

    /// Two runs of one name are called by their paths.
    fn tell_apart(&mut self) {
        let labels: Vec<String> = self.sides.iter().map(|side| side.label.clone()).collect();
        for (place, side) in self.sides.iter_mut().enumerate() {
            let twice = labels.iter().enumerate().any(|(other, label)| other != place && *label == side.label);
            if let Some(source) = self.sources.get(side.source).filter(|_| twice) {
                side.label = format!("{} ({})", side.label, source.path.display());
            }
        }
    }
}

/// A run or a foreign file by its path, or a run by its name; `None` where the argument names neither.
fn source(argument: &str, parent: &Path) -> Result<Option<Source>, Error> {
    let path = Path::new(argument);
    if path.is_file() && foreign::is_foreign(path)? {
        return Ok(Some(Source { path: path.to_path_buf(), file: foreign::read(path)?, foreign: true }));
    }
    let place = match record::named(parent, argument) {
        Some(place) => place,
        // What looks like a path is meant as one: its own error says what is wrong with it.
        None if path.exists() || argument.contains(std::path::MAIN_SEPARATOR) => path.to_path_buf(),
        None => return Ok(None),
    };
    let file = crate::open(&place)?;
    Ok(Some(Source { path: place, file, foreign: false }))
}

/// The run that was begun last, for an argument that needs one.
fn newest(argument: &str, parent: &Path) -> Result<Source, Error> {
    let runs = record::folders(parent)?;
    let newest = runs.into_iter().filter_map(|folder| Some((folder.file.ok()?, folder.path)));
    let newest = newest.max_by(|(a, _), (b, _)| a.started.cmp(&b.started));
    newest.map(|(file, path)| Source { path, file, foreign: false }).ok_or_else(|| {
        Error::usage(
            format!("{argument}: no run is named, and there is none below {}", parent.display()),
            "give the folder of a run, or make one with `inferometer run`",
        )
    })
}

/// The sides of one run: its engines, or its models where it has one engine.
fn within(file: &RunFile) -> Vec<Side> {
    let side = |label: &str, engine: Option<&str>, model: Option<&str>| Side {
        label: label.to_owned(),
        source: 0,
        engine: engine.map(str::to_owned),
        model: model.map(str::to_owned),
    };
    let models = || file.plan.models.iter().map(|model| model.name.as_str());
    if file.plan.engines.len() > 1 {
        return file.plan.engines.iter().map(|engine| side(engine, Some(engine), None)).collect();
    }
    models().map(|model| side(model, None, Some(model))).collect()
}

/// A part of a run by the label of an engine or the name of a model.
fn of(part: &str, source: &Source, alone: bool) -> Result<Side, Error> {
    let file = &source.file;
    let is_engine = file.plan.engines.iter().any(|engine| engine == part);
    let is_model = file.plan.models.iter().any(|model| model.name == part);
    if !is_engine && !is_model {
        let known: Vec<&str> = file.plan.engines.iter().map(String::as_str).collect();
        let models = file.plan.models.iter().map(|model| model.name.as_str());
        let known: Vec<&str> = known.into_iter().chain(models).collect();
        return Err(Error::usage(
            format!(
                "{part}: neither a run folder nor an engine or a model of {}{}",
                source.path.display(),
                nearest(part, &known)
            ),
            format!("name one of {}", known.join(", ")),
        ));
    }
    let label = if alone { part.to_owned() } else { format!("{} {part}", file.name) };
    let chosen = |is: bool| is.then(|| part.to_owned());
    Ok(Side { label, source: 0, engine: chosen(is_engine), model: chosen(is_model && !is_engine) })
}
