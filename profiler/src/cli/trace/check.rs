//! `inferometer trace check FILE...`.

use std::fmt::Write as _;
use std::path::PathBuf;

use record::Printable;
use traces::check;

use super::super::failure::Code;
use super::super::output;

/// Prints every problem of each file.
pub(super) fn check_all(files: &[PathBuf]) -> anyhow::Result<Code> {
    let mut errors = 0;
    let mut unreadable = None;
    for file in files {
        let report = match check::check(file) {
            Ok(report) => report,
            Err(error) => {
                // Check the other files too. The first file that is not a trace decides the exit code.
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
        output::print(&Printable::new(&out))?;
    }
    if let Some(error) = unreadable {
        return Err(error.into());
    }
    Ok(if errors == 0 { Code::Done } else { Code::SomeFailed })
}
