//! The run file itself.

use record::{Printable, RunFile};

/// `run.json` as it is on disk. Summaries are recomputed where samples were added.
pub(super) fn json(file: &RunFile) -> Printable {
    // Only maps with other keys than strings could fail, and a run file has none.
    Printable::json(file).unwrap_or_default()
}
