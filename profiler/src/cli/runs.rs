//! `inferometer runs`: run folders below runs/ or in other folders.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use record::plan::RUNS;
use record::{Folder, Printable};
use report::{Align, Block, Column, Content, Section, Table, content, text};

use super::failure::Code;
use super::output;

/// List, show and remove run folders
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List the run folders below runs/ or in other folders, oldest first
    List(Places),
    /// Show the short report of a run
    Show(Name),
    /// Remove run folders with their contents
    Rm(Names),
}

#[derive(Debug, Args)]
pub(super) struct Places {
    /// Run folders, or folders that contain some [default: runs]
    #[arg(value_name = "DIR")]
    places: Vec<PathBuf>,
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
        Verb::List(places) => list(parent, &places.places)?,
        Verb::Show(name) => {
            let file = analyse::complete(record::open(&record::find(parent, &name.run)?)?);
            output::print(&Printable::styled(&text(&content(&file).short(), output::text_options())))?;
        }
        Verb::Rm(names) => {
            // Find all of them before removing the first.
            let paths = names.runs.iter().map(|name| record::find(parent, name)).collect::<Result<Vec<_>, _>>()?;
            for path in paths {
                record::remove(&path)?;
                output::print(&Printable::new(&format!("removed {}\n", path.display())))?;
            }
        }
    }
    Ok(Code::Done)
}

fn list(parent: &Path, places: &[PathBuf]) -> anyhow::Result<()> {
    let mut folders = Vec::new();
    for place in places {
        folders.extend(record::folders_of(place)?);
    }
    if places.is_empty() {
        folders = record::folders(parent)?;
    }
    let named =
        |folder: &Folder| if places.is_empty() { folder.name.clone() } else { folder.path.display().to_string() };
    let mut columns = ["run", "started", "engines", "models", "cases", "state", "MB"]
        .map(|name| Column { name: name.to_owned(), align: Align::Left });
    // A name is copied into other commands.
    columns[0].align = Align::Name;
    if let Some(last) = columns.last_mut() {
        last.align = Align::Right;
    }
    let rows = folders.iter().map(|folder| row(named(folder), folder)).collect();
    let table = Table { caption: String::new(), columns: columns.into(), rows };
    let below: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    let below =
        if places.is_empty() { format!("below {}", parent.display()) } else { format!("in {}", below.join(", ")) };
    let title = match folders.len() {
        0 => format!("no runs {below}; `inferometer run` makes one"),
        1 => format!("1 run {below}"),
        many => format!("{many} runs {below}"),
    };
    let blocks = if folders.is_empty() { Vec::new() } else { vec![Block::Table(table)] };
    let section = Section { heading: "Runs".to_owned(), short: true, blocks };
    let sections = if section.blocks.is_empty() { Vec::new() } else { vec![section] };
    output::print(&Printable::styled(&text(&Content { title, sections }, output::text_options())))?;
    Ok(())
}

fn row(name: String, folder: &Folder) -> Vec<String> {
    let size = format!("{:.1}", folder.bytes as f64 / 1e6);
    let Ok(file) = &folder.file else {
        let mut cells = vec![String::new(); 4];
        cells.insert(0, name);
        cells.extend(["cannot be read".to_owned(), size]);
        return cells;
    };
    let state = match (file.interrupted, file.finished.is_present()) {
        (true, _) => "interrupted",
        (false, true) => "finished",
        (false, false) => "running or killed",
    };
    let models: Vec<&str> = file.plan.models.iter().map(|model| model.name.as_str()).collect();
    let cases = folder.cases().map_or_else(String::new, |(ok, all)| format!("{ok} of {all} ok"));
    vec![name, started(&file.started), file.plan.engines.join(", "), models.join(", "), cases, state.to_owned(), size]
}

/// A timestamp to the second: `2026-11-21T22:40:05.123Z` as `2026-11-21 22:40:05Z`.
fn started(timestamp: &str) -> String {
    match timestamp.split_once('.') {
        Some((seconds, _)) => format!("{}Z", seconds.replace('T', " ")),
        None => timestamp.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_shown_to_the_second() {
        assert_eq!(started("2026-11-21T22:40:05.123Z"), "2026-11-21 22:40:05Z");
        assert_eq!(started("beyond the calendar"), "beyond the calendar");
    }
}
