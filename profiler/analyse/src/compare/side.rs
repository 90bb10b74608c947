//! The sides of a comparison: whole runs, or engines or models of a run.

use std::path::PathBuf;

use record::{Action, Error, NamedSource, RunFile, nearest};

/// A run that takes part.
#[derive(Debug)]
pub struct ComparedRun {
    /// The path of its folder or file.
    pub path: PathBuf,
    /// Its record.
    pub file: RunFile,
    /// Whether another program measured it.
    pub foreign: bool,
    /// What was left out of a file of another program, and what it does not have.
    pub notes: Vec<String>,
}

/// One side of a comparison: a run, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// Its name in reports.
    pub label: String,
    /// The index of its run in [`Sides::runs`].
    pub run: usize,
    /// Only cases of this engine.
    pub engine: Option<String>,
    /// Only cases of this model.
    pub model: Option<String>,
}

/// The sides, the baseline first, and their runs.
#[derive(Debug)]
pub struct Sides {
    /// Every run once.
    pub runs: Vec<ComparedRun>,
    /// At least two.
    pub sides: Vec<Side>,
}

impl Sides {
    /// The sides of the runs and parts that were named. A part is the label of an engine or the name of a model. A run alone without
    /// parts is compared within itself: its engines, else its models.
    ///
    /// # Errors
    /// When a part is unknown, or there is only one side.
    pub fn of(named: Vec<NamedSource>) -> Result<Self, Error> {
        let alone = named.len() == 1;
        let mut found = Self { runs: Vec::new(), sides: Vec::new() };
        for (index, NamedSource { source, parts }) in named.into_iter().enumerate() {
            let run = ComparedRun {
                path: source.path,
                file: crate::complete(source.opened),
                foreign: source.foreign,
                notes: source.notes,
            };
            let sides = match parts.is_empty() {
                true if alone => within(&run.file),
                true => vec![Side { label: run.file.name.clone(), run: 0, engine: None, model: None }],
                false => parts.iter().map(|part| side_of(part, &run, alone)).collect::<Result<_, _>>()?,
            };
            found.sides.extend(sides.into_iter().map(|side| Side { run: index, ..side }));
            found.runs.push(run);
        }
        if found.sides.len() < 2 {
            let only = found.sides.first().map_or("nothing", |side| side.label.as_str());
            return Err(Error::usage(
                format!("there is {only} and nothing to compare it with"),
                format!("name two runs, or a run of several engines ({})", Action::RunTwice),
            ));
        }
        found.make_labels_unique();
        Ok(found)
    }

    /// Adds the paths to the labels of runs with the same name.
    fn make_labels_unique(&mut self) {
        let labels: Vec<String> = self.sides.iter().map(|side| side.label.clone()).collect();
        for (index, side) in self.sides.iter_mut().enumerate() {
            let twice = labels.iter().enumerate().any(|(other, label)| other != index && *label == side.label);
            if let Some(run) = self.runs.get(side.run).filter(|_| twice) {
                side.label = format!("{} ({})", side.label, run.path.display());
            }
        }
    }
}

/// The sides of one run: its engines, or its models where it has one engine.
fn within(file: &RunFile) -> Vec<Side> {
    let side = |label: &str, engine: Option<&str>, model: Option<&str>| Side {
        label: label.to_owned(),
        run: 0,
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
fn side_of(part: &str, run: &ComparedRun, alone: bool) -> Result<Side, Error> {
    let file = &run.file;
    let is_engine = file.plan.engines.iter().any(|engine| engine == part);
    let is_model = file.plan.models.iter().any(|model| model.name == part);
    if !is_engine && !is_model {
        let known: Vec<&str> = file.plan.engines.iter().map(String::as_str).collect();
        let models = file.plan.models.iter().map(|model| model.name.as_str());
        let known: Vec<&str> = known.into_iter().chain(models).collect();
        return Err(Error::usage(
            format!(
                "{part}: neither a run folder nor an engine or a model of {}{}",
                run.path.display(),
                nearest(part, &known)
            ),
            format!("name one of {}", known.join(", ")),
        ));
    }
    let label = if alone { part.to_owned() } else { format!("{} {part}", file.name) };
    let chosen = |is: bool| is.then(|| part.to_owned());
    Ok(Side { label, run: 0, engine: chosen(is_engine), model: chosen(is_model && !is_engine) })
}
