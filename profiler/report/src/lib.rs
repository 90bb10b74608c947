//! Reports: one content, several formats.
//!
//! [`content()`] turns a run file into sections of sentences, tables and charts. The renderers do not use run files. All functions
//! return text; the command line prints.

mod chart;
mod comparison;
mod content;
mod draw;
mod figures;
mod json;
mod layout;
mod markdown;
mod page;
mod sections;
mod table;
mod text;

pub use chart::{
    Bar, Bars, CeilingLine, Chart, Differences, Dot, Figure, Layers, Line, Lines, Point, Scatter, StackedBars,
    Waterfall, WaterfallStep,
};
pub use comparison::{COMPARISON_FORMATS, ComparisonFormat, content as comparison_content};
pub use content::{Block, Card, CardFigure, Content, Section};
pub use markdown::markdown;
pub use page::page;
pub use sections::{ceilings_blocks, condition_properties, content, environment_properties};
pub use table::{Align, Column, Table};
pub use text::{TextOptions, text};

use std::path::{Path, PathBuf};

use record::{Error, Printable, RunFile, csv, files, write_atomically};

/// Writes the reports of a finished run into its folder: `report.md` and `report.html`.
///
/// # Errors
/// When a file cannot be written. An older one is kept.
pub fn write(dir: &Path, file: &RunFile) -> Result<(), Error> {
    let content = content(file);
    write_atomically(&dir.join(files::REPORT_MARKDOWN), &Printable::new(&markdown(&content)))?;
    write_atomically(&dir.join(files::REPORT_PAGE), &Printable::new(&page(&content)))
}

/// Writes the page of a run into its folder and returns its path.
///
/// # Errors
/// When it cannot be written. An older one is kept.
pub fn write_page(dir: &Path, file: &RunFile) -> Result<PathBuf, Error> {
    let path = dir.join(files::REPORT_PAGE);
    write_atomically(&path, &Printable::new(&page(&content(file))))?;
    Ok(path)
}

/// A format of a report.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// Name on the command line.
    pub name: &'static str,
    /// What it contains.
    pub summary: &'static str,
    /// Renders the report. Only the format for terminals uses the options.
    pub render: fn(&RunFile, TextOptions) -> Printable,
}

/// Every format, sorted by name.
pub const FORMATS: &[Format] = &[
    Format { name: "csv", summary: "one row per sample", render: |file, _| csv(file) },
    Format {
        name: "html",
        summary: "one page with charts, without other files",
        render: |file, _| Printable::new(&page(&content(file))),
    },
    Format {
        name: "json",
        summary: "the run file, including the samples of an interrupted run",
        render: |file, _| json::json(file),
    },
    Format { name: "md", summary: "Markdown", render: |file, _| Printable::new(&markdown(&content(file))) },
    Format {
        name: "text",
        summary: "for a terminal",
        render: |file, options| Printable::styled(&text(&content(file), options)),
    },
];
