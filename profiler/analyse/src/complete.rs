//! A record as it was found on disk, with findings.

use record::{Opened, RunFile};

use crate::findings::findings;
use crate::summary::with_summaries;

/// The file of a record. One that was made from the journal of a run gets all findings, another one its summaries where they are older than
/// its samples.
#[must_use]
pub fn complete(opened: Opened) -> RunFile {
    if !opened.without_findings {
        return with_summaries(opened);
    }
    let mut file = opened.file;
    let findings = findings(&file);
    file.set_findings(findings);
    file
}
