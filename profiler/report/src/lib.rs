//! Reports: one content, several forms.
//!
//! [`content()`] turns a run file into sections of sentences and tables; the renderers know nothing of runs. Everything
//! returns text or bytes: printing is the command line's business.

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
mod text;

pub use chart::{
    Bar, Bars, Ceiling, Chart, Differences, Dot, Figure, Layers, Line, Lines, Point, Scatter, Stack, Step, Steps,
};
pub use comparison::{COMPARISON_FORMATS, ComparisonFormat, content as comparison_content};
pub use content::{Align, Block, Card, CardFigure, Column, Content, Section, Table};
pub use markdown::markdown;
pub use page::page;
pub use sections::{ceilings_blocks, condition_facts, content, environment_facts};
pub use text::{Look, text};

use std::path::{Path, PathBuf};

use record::{Error, RunFile, csv, files, write_atomically};

/// Writes the reports of a finished run into its folder: `report.md` and `report.html`.
///
/// # Errors
/// When a file cannot be written; an older one stays.
pub fn write(dir: &Path, file: &RunFile) -> Result<(), Error> {
    let content = content(file);
    write_atomically(&dir.join(files::REPORT_MARKDOWN), markdown(&content).as_bytes())?;
    write_atomically(&dir.join(files::REPORT_PAGE), page(&content).as_bytes())
}

/// Writes the page of a run into its folder, as this version makes it; returns its path.
///
/// # Errors
/// When it cannot be written; an older one stays.
pub fn write_page(dir: &Path, file: &RunFile) -> Result<PathBuf, Error> {
    let path = dir.join(files::REPORT_PAGE);
    write_atomically(&path, page(&content(file)).as_bytes())?;
    Ok(path)
}

/// A form that a report can have.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// Name on the command line.
    pub name: &'static str,
    /// What it is for.
    pub summary: &'static str,
    /// Makes it; `look` matters to the terminal's form only.
    pub render: fn(&RunFile, Look) -> Vec<u8>,
}

/// Every form, sorted by name.
pub const FORMATS: &[Format] = &[
    Format { name: "csv", summary: "one row per sample", render: |file, _| csv(file) },
    Format {
        name: "html",
        summary: "one page that needs nothing else",
        render: |file, _| page(&content(file)).into_bytes(),
    },
    Format {
        name: "json",
        summary: "the run file, with the samples of a run that was cut short",
        render: |file, _| json::json(file),
    },
    Format { name: "md", summary: "Markdown", render: |file, _| markdown(&content(file)).into_bytes() },
    Format { name: "text", summary: "for a terminal", render: |file, look| text(&content(file), look).into_bytes() },
];
