//! The run file itself.

use record::RunFile;

/// `run.json` as it is on disk. Summaries are recomputed where samples were added.
pub(super) fn json(file: &RunFile) -> Vec<u8> {
    // Only maps with other keys than strings could fail, and a run file has none.
    let mut bytes = serde_json::to_vec_pretty(file).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
