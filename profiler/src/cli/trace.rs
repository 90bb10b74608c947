//! `inferometer trace check|summary FILE...`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use profiler::report::{Align, Block, Column, Content, Section, Table, milliseconds, text};
use traces::{check, chrome, summary};

use super::failure::Code;
use super::output;

/// Rows of a summary.
const TOP: usize = 40;

/// Check and sum up Chrome traces
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Tell everything that is wrong in traces, each with its place; exit code 1 where there are errors
    Check(Files),
    /// Show self and total time per name and phase
    Summary(Files),
}

#[derive(Debug, Args)]
pub(super) struct Files {
    /// Chrome trace files (JSON array or object form)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn run(verb: &Verb) -> anyhow::Result<Code> {
    match verb {
        Verb::Check(files) => check_all(&files.files),
        Verb::Summary(files) => {
            for file in &files.files {
                output::print(summed(file)?.as_bytes())?;
            }
            Ok(Code::Done)
        }
    }
}

fn check_all(files: &[PathBuf]) -> anyhow::Result<Code> {
    let mut errors = 0;
    let mut unreadable = None;
    for file in files {
        let report = match check::check(file) {
            Ok(report) => report,
            Err(error) => {
                // The other files are checked all the same; the first that is no trace decides how this ends.
                unreadable.get_or_insert(error);
                continue;
            }
        };
        errors += report.errors();
        let mut out = String::new();
        for problem in &report.problems {
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(out, "{}: {problem}", file.display());
        }
        let counts = report.counts;
        let verdict = match (report.errors(), report.warnings()) {
            (0, 0) => "no problem".to_owned(),
            (errors, warnings) => format!("errors: {errors}, warnings: {warnings}"),
        };
        let _ = writeln!(
            out,
            "{}: {verdict} in {} records ({} spans on {} tracks of {} processes, {} deep; {} counter samples)",
            file.display(),
            counts.records,
            counts.spans,
            counts.threads,
            counts.processes,
            counts.depth,
            counts.counters
        );
        for unchecked in &report.unchecked {
            let _ = writeln!(out, "{}: not checked: {unchecked}", file.display());
        }
        output::print(out.as_bytes())?;
    }
    if let Some(error) = unreadable {
        return Err(error.into());
    }
    Ok(if errors == 0 { Code::Done } else { Code::SomeFailed })
}

fn summed(file: &Path) -> anyhow::Result<String> {
    let summary = summary::summarise(&chrome::read(file)?)?;
    let column = |(name, align): (&str, Align)| Column { name: name.to_owned(), align };
    let columns = [
        ("name", Align::Left),
        ("phase", Align::Left),
        ("count", Align::Right),
        ("self ms", Align::Right),
        ("total ms", Align::Right),
        ("mean ms", Align::Right),
        ("max ms", Align::Right),
    ];
    let row = |row: &summary::Row| {
        let time = |time: traces::Nanos| milliseconds(time.as_secs_f64());
        vec![
            row.name.clone(),
            row.phase.clone().unwrap_or_default(),
            row.count.to_string(),
            time(row.own),
            time(row.total),
            time(row.mean()),
            time(row.max),
        ]
    };
    let left_out = summary.rows.len().saturating_sub(TOP);
    let mut told = format!(
        "{} spans on {} tracks within {} ms. Self is a span's time less that of the spans directly inside it; tracks add up.",
        summary.spans,
        summary.threads,
        milliseconds(summary.wall.as_secs_f64())
    );
    for (count, what) in [
        (summary.dropped, "records were dropped by the recorder"),
        (summary.unpaired, "spans have no end or no beginning"),
        (summary.broken, "places hold no record (see trace check)"),
    ] {
        if count > 0 {
            let _ = write!(told, " {count} {what}.");
        }
    }
    if left_out > 0 {
        let _ = write!(told, " {left_out} rows with less self time are left out.");
    }
    let table = Table {
        caption: String::new(),
        columns: columns.map(column).into(),
        rows: summary.rows.iter().take(TOP).map(row).collect(),
    };
    let section = Section {
        heading: "Self and total time".to_owned(),
        short: true,
        blocks: vec![Block::Table(table), Block::Sentence(told)],
    };
    Ok(text(&Content { title: file.display().to_string(), sections: vec![section] }, output::look()))
}
