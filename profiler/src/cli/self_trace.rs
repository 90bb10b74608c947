//! `--self-trace FILE`: a trace of this program's own work, with `tracing-chrome`.
//!
//! The arguments of spans contain references to models: the completed file has no secrets. It covers fetching, loading and reporting. Measurements use the crate `traces` instead (ARCHITECTURE.md says why).
//! Dropping the recording completes the file and corrects its ids: `tracing-chrome` numbers every process 1 and threads
//! from 0, and viewers merge threads 0 and 1.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};
use tracing_chrome::{ChromeLayerBuilder, FlushGuard};
use tracing_subscriber::layer::SubscriberExt;

use super::output;

/// A recording, until it is dropped.
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
        // The recorded spans are kept in any case.
        if let Err(error) = correct_ids(&self.path) {
            output::complain(&format!("warning: {}: cannot correct its thread ids: {error}\n", self.path.display()));
        }
    }
}

fn correct_ids(path: &Path) -> anyhow::Result<()> {
    let records: Vec<Value> = serde_json::from_slice(&std::fs::read(path)?)?;
    let lines: Vec<String> = with_ids(records, std::process::id()).iter().map(Value::to_string).collect();
    let text = format!("[\n{}\n]\n", lines.join("\n,"));
    Ok(std::fs::write(path, redaction::without_known(&text).as_bytes())?)
}

/// The records with the id of this process, thread ids counted from it, and a record with the process name.
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
    fn threads_have_different_ids() {
        let record = |tid: u64| json!({"ph": "B", "pid": 1, "name": "run", "tid": tid, "ts": 1.0});
        let fixed = with_ids(vec![record(0), record(2)], 70);
        let ids: Vec<_> = fixed.iter().map(|record| (record["pid"].as_u64(), record["tid"].as_u64())).collect();
        assert_eq!(ids, [(Some(70), Some(70)), (Some(70), Some(70)), (Some(70), Some(72))]);
        assert_eq!(fixed[1]["ts"], 1.0);
    }
}
