//! What the test binaries share: where fixtures lie, how a session is loaded with the threads that this process has.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::path::PathBuf;

use engines::{Engine, EngineError, KvType, LoadOptions, Session};
use models::Checkpoint;

pub(crate) fn fixtures() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"))
}

/// Options for exact comparisons: an F32 cache.
pub(crate) fn exact(context: usize) -> LoadOptions {
    LoadOptions { context, kv_type: KvType::F32, ..LoadOptions::default() }
}

/// Loads with as many threads as the engine has here, whatever the machine.
pub(crate) fn load(engine: &dyn Engine, checkpoint: &Checkpoint, options: &LoadOptions) -> Box<dyn Session> {
    match engine.load(checkpoint, options) {
        Err(EngineError::Threads { found, .. }) => engine
            .load(checkpoint, &LoadOptions { threads: found, ..options.clone() })
            .expect("it loads with its own threads"),
        other => other.expect("it loads"),
    }
}

/// Largest difference of two vectors over the largest element of the second.
pub(crate) fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len(), "lengths differ");
    let scale = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    found.iter().zip(expected).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / scale
}
