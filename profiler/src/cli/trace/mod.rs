//! `inferometer trace check|summary|diff|open`.

mod check;
mod diff;
mod open;
mod summary;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use record::plan::RUNS;

use super::advice::UsageError;
use super::failure::Code;

/// Check, sum up, compare and open Chrome traces
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List every problem of traces with its position; exit code 1 if there are errors
    Check(Files),
    /// Show self and total time per name and phase, and per pass of the requests
    Summary {
        #[command(flatten)]
        files: Files,
        /// The output format
        #[arg(long, value_enum, default_value_t = Form::Text)]
        format: Form,
    },
    /// List the operations that take longer or shorter in the second recording than in the first one
    Diff {
        /// The first recording: a trace file with operations, or a run folder
        a: PathBuf,
        /// The second recording
        b: PathBuf,
        /// The output format
        #[arg(long, value_enum, default_value_t = Form::Text)]
        format: Form,
    },
    /// Show how to open a trace in Perfetto
    Open {
        /// A trace file, or a run folder
        #[arg(value_name = "FILE|RUN_DIR")]
        path: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct Files {
    /// Chrome trace files (JSON array or object form), or run folders: the files with operations, one for each case
    #[arg(required = true, value_name = "FILE|RUN_DIR")]
    files: Vec<PathBuf>,
}

impl Files {
    /// The files, with those of folders in their place.
    fn all(&self) -> anyhow::Result<Vec<PathBuf>> {
        Ok(self.files.iter().map(|path| recordings(path)).collect::<Result<Vec<_>, _>>()?.concat())
    }
}

/// The output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// For a terminal
    Text,
    /// One JSON value
    Json,
}

pub(super) fn run(verb: &Verb) -> anyhow::Result<Code> {
    match verb {
        Verb::Check(files) => check::check_all(&files.all()?),
        Verb::Summary { files, format } => summary::print(&files.all()?, *format),
        Verb::Diff { a, b, format } => diff::print(a, b, *format),
        Verb::Open { path } => open::print(path),
    }
}

/// The trace of the whole run.
const OVERVIEW: &str = "trace.json";
/// A resumed run's trace of the time before the machine was restarted.
const OLD: &str = "trace-before-restart.json";

/// A path as it was given, or the run of this name below runs/.
fn place(path: &Path) -> PathBuf {
    let run = path.to_str().filter(|_| !path.exists()).and_then(|name| record::named(Path::new(RUNS), name));
    run.unwrap_or_else(|| path.to_path_buf())
}

/// A file itself; of a run folder, also by its name below runs/, the files with operations: one per case, or the only one.
fn recordings(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let path = &place(path);
    if !path.is_dir() {
        return Ok(vec![path.clone()]);
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir(path)
        .map_err(record::Error::file(path, "read"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("trace-") && name.ends_with(".json") && name != OLD
        })
        .collect();
    found.sort();
    if found.is_empty() {
        found.extend(Some(path.join(OVERVIEW)).filter(|file| file.exists()));
    }
    if found.is_empty() {
        let problem =
            format!("{}: expected a trace file or a run folder, found a folder without trace.json", path.display());
        let advice = "a run with `--trace phases` or `--trace ops` writes one";
        return Err(UsageError::new(problem, advice).into());
    }
    Ok(found)
}
