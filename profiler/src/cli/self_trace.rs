//! `--self-trace FILE`: this program's own work, through `tracing-chrome`.
//!
//! For fetching, loading and reporting it is good enough; measurements do not go through it (the crate `traces` says
//! why). The file is complete when the recording is dropped: then its ids are put right too, since `tracing-chrome` calls
//! every process 1 and counts threads from 0, which viewers take for one thread.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};
use tracing_chrome::{ChromeLayerBuilder, FlushGuard};
use tracing_subscriber::layer::SubscriberExt;

use super::output;

/// Records until it is dropped.
pub(super) struct Recording {
    path: PathBuf,
    guard: Option<FlushGuard>,
}

/// Records every `tracing` span of this process until the recording is dropped.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn start(path: &Path) -> anyhow::Result<Recording> {
    let file = File::create(path).map_err(record::Error::file(path, "write"))?;
    let (layer, guard) = ChromeLayerBuilder::new().writer(file).include_args(true).include_locations(false).build();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))
        .context("--self-trace cannot record: another recorder is set")?;
    Ok(Recording { path: path.to_owned(), guard: Some(guard) })
}

impl Drop for Recording {
    fn drop(&mut self) {
        drop(self.guard.take());
        // What it recorded is there all the same.
        if let Err(error) = put_right(&self.path) {
            output::complain(&format!("warning: {}: cannot put its thread ids right: {error}\n", self.path.display()));
        }
    }
}

fn put_right(path: &Path) -> anyhow::Result<()> {
    let records: Vec<Value> = serde_json::from_slice(&std::fs::read(path)?)?;
    let lines: Vec<String> = with_ids(records, std::process::id()).iter().map(Value::to_string).collect();
    Ok(std::fs::write(path, format!("[\n{}\n]\n", lines.join("\n,")))?)
}

/// The records with this process's id, the first thread as its main one, the others counted from there; and its name.
fn with_ids(mut records: Vec<Value>, pid: u32) -> Vec<Value> {
    for record in &mut records {
        let Some(fields) = record.as_object_mut() else { continue };
        let thread = fields.get("tid").and_then(Value::as_u64).unwrap_or_default();
        fields.insert("pid".to_owned(), pid.into());
        fields.insert("tid".to_owned(), (u64::from(pid) + thread).into());
    }
    let name = json!({"ph": "M", "pid": pid, "tid": pid, "name": "process_name", "args": {"name": "inferometer"}});
    records.insert(0, name);
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_have_ids_that_viewers_tell_apart() {
        let record = |tid: u64| json!({"ph": "B", "pid": 1, "name": "run", "tid": tid, "ts": 1.0});
        let fixed = with_ids(vec![record(0), record(2)], 70);
        let ids: Vec<_> = fixed.iter().map(|record| (record["pid"].as_u64(), record["tid"].as_u64())).collect();
        assert_eq!(ids, [(Some(70), Some(70)), (Some(70), Some(70)), (Some(70), Some(72))]);
        assert_eq!(fixed[1]["ts"], 1.0);
    }
}
