//! What follows from a record: summaries, attribution to operations, verdicts, the audit of servers, warnings, comparisons and
//! predictions. Pure functions: nothing is measured here, no clock is read.

pub mod attribution;
pub mod audit;
pub mod compare;
pub mod drift;
pub mod predict;
pub mod summary;
pub mod verdicts;
pub mod warnings;

use std::path::Path;

use record::{Error, RunFile};

/// Reads a run folder. Where samples were found that `run.json` lacks, the summaries are computed again.
///
/// # Errors
/// As [`record::open`].
pub fn open(path: &Path) -> Result<RunFile, Error> {
    let record::Opened { mut file, samples_added } = record::open(path)?;
    if samples_added {
        file.summaries = summary::summarise(&file.cases, file.plan.seed);
    }
    Ok(file)
}

/// Fills in everything that follows from the measurements of a run.
pub fn derive(file: &mut RunFile) {
    file.summaries = summary::summarise(&file.cases, file.plan.seed);
    file.probes = file.cases.iter().filter(|case| !case.samples.is_empty()).map(summary::probe).collect();
    for case in &mut file.cases {
        case.series = summary::series(case);
    }
    attribution::place(file);
    audit::place(file);
    verdicts::judge(file);
    predict::what_if(file);
    file.warnings = warnings::texts(file);
}
