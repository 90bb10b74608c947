//! `inferometer trace summary FILE...`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use record::Printable;
use record::figures::milliseconds;
use report::{Align, Block, Column, Content, Section, Table, text};
use traces::{chrome, summary};

use super::super::failure::Code;
use super::super::output;
use super::Form;

/// Maximal number of rows per pass.
const TOP: usize = 40;

/// Prints self and total times of each file.
pub(super) fn print(files: &[PathBuf], form: Form) -> anyhow::Result<Code> {
    for file in files {
        let summary = summary::summarise(&chrome::read(file)?)?;
        let shown = match form {
            Form::Text => Printable::styled(&text_of(file, &summary)),
            Form::Json => Printable::json(&summary)?,
        };
        output::print(&shown)?;
    }
    Ok(Code::Done)
}

fn text_of(file: &Path, summary: &summary::Summary) -> String {
    let mut sentences = format!(
        "{} spans on {} tracks within {} ms. Self time is the time of a span minus that of the spans directly inside it, except \
         a thread's part of shared work. Times are sums over all tracks.",
        summary.spans,
        summary.threads,
        milliseconds(summary.wall.as_secs_f64())
    );
    for (count, what) in [
        (summary.dropped, "records were dropped by the recorder"),
        (summary.unpaired, "spans have no end or no beginning"),
        (summary.broken, "places have no valid record (see `trace check`)"),
    ] {
        if count > 0 {
            // Writing to a string cannot fail, here and below.
            let _ = write!(sentences, " {count} {what}.");
        }
    }
    let passes = summary.rows.chunk_by(|a, b| a.pass == b.pass);
    let mut blocks: Vec<Block> = Vec::new();
    for rows in passes {
        let pass = rows.first().and_then(|row| row.pass.as_deref());
        blocks.push(Block::Table(table(pass, rows)));
        let left_out = rows.len().saturating_sub(TOP);
        if left_out > 0 {
            let _ = write!(sentences, " {left_out} rows with less self time are omitted.");
        }
    }
    blocks.push(Block::Sentence(sentences));
    let section = Section { heading: "Self and total time".to_owned(), short: true, blocks };
    text(&Content { title: file.display().to_string(), sections: vec![section] }, output::text_options())
}

fn table(pass: Option<&str>, rows: &[summary::Row]) -> Table {
    let column = |(name, align): (&str, Align)| Column { name: name.to_owned(), align };
    let columns = [
        ("name", Align::Left),
        ("kind", Align::Left),
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
            row.category.clone(),
            row.phase.clone().unwrap_or_default(),
            row.count.to_string(),
            time(row.own),
            time(row.total),
            time(row.mean()),
            time(row.max),
        ]
    };
    Table {
        caption: pass.map_or_else(String::new, |pass| format!("{pass} pass")),
        columns: columns.map(column).into(),
        rows: rows.iter().take(TOP).map(row).collect(),
    }
}
