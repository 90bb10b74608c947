//! `inferometer runs`: the run folders of the working directory.

use std::path::Path;

use clap::{Args, Subcommand};
use profiler::plan::RUNS;
use profiler::report::{Align, Block, Column, Content, Section, Table, content, text};
use profiler::results::{self, Folder};

use super::failure::Code;
use super::output;

/// List, show and remove run folders
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// All run folders below runs/, the oldest first
    List,
    /// The short report of one
    Show(Name),
    /// Remove run folders with everything in them
    Rm(Names),
}

#[derive(Debug, Args)]
pub(super) struct Name {
    /// Its name below runs/, or its path
    run: String,
}

#[derive(Debug, Args)]
pub(super) struct Names {
    /// Their names below runs/, or their paths
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
}

pub(super) fn run(verb: &Verb) -> anyhow::Result<Code> {
    let parent = Path::new(RUNS);
    match verb {
        Verb::List => list(parent)?,
        Verb::Show(name) => {
            let file = results::read(&results::find(parent, &name.run)?)?;
            output::print(text(&content(&file).short(), output::look()).as_bytes())?;
        }
        Verb::Rm(names) => {
            // All of them are looked up before the first is removed.
            let paths = names.runs.iter().map(|name| results::find(parent, name)).collect::<Result<Vec<_>, _>>()?;
            for path in paths {
                results::remove(&path)?;
                output::print(format!("removed {}\n", path.display()).as_bytes())?;
            }
        }
    }
    Ok(Code::Done)
}

fn list(parent: &Path) -> anyhow::Result<()> {
    let folders = results::folders(parent)?;
    let mut columns = ["run", "engines", "models", "cases", "state", "MB"]
        .map(|name| Column { name: name.to_owned(), align: Align::Left });
    if let Some(last) = columns.last_mut() {
        last.align = Align::Right;
    }
    let table = Table { caption: String::new(), columns: columns.into(), rows: folders.iter().map(row).collect() };
    let title = match folders.len() {
        0 => format!("no runs below {}; `inferometer run` makes one", parent.display()),
        1 => format!("1 run below {}", parent.display()),
        many => format!("{many} runs below {}", parent.display()),
    };
    let blocks = if folders.is_empty() { Vec::new() } else { vec![Block::Table(table)] };
    let section = Section { heading: "Runs".to_owned(), short: true, blocks };
    let sections = if section.blocks.is_empty() { Vec::new() } else { vec![section] };
    output::print(text(&Content { title, sections }, output::look()).as_bytes())?;
    Ok(())
}

fn row(folder: &Folder) -> Vec<String> {
    let size = format!("{:.1}", folder.bytes as f64 / 1e6);
    let Ok(file) = &folder.file else {
        return vec![
            folder.name.clone(),
            String::new(),
            String::new(),
            String::new(),
            "cannot be read".to_owned(),
            size,
        ];
    };
    let state = match (file.interrupted, file.finished.is_some()) {
        (true, _) => "interrupted",
        (false, true) => "finished",
        (false, false) => "running, or killed",
    };
    let models: Vec<&str> = file.plan.models.iter().map(|model| model.name.as_str()).collect();
    let cases = folder.cases().map_or_else(String::new, |(ok, all)| format!("{ok} of {all} ok"));
    vec![folder.name.clone(), file.plan.engines.join(", "), models.join(", "), cases, state.to_owned(), size]
}
