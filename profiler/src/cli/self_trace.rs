//! `--self-trace FILE`: this program's own work, through `tracing-chrome`.
//!
//! For fetching, loading and reporting it is good enough; measurements do not go through it (the crate `traces` says
//! why). The file is complete when the guard is dropped.

use std::fs::File;
use std::path::Path;

use anyhow::Context;
use tracing_chrome::{ChromeLayerBuilder, FlushGuard};
use tracing_subscriber::layer::SubscriberExt;

/// Records every `tracing` span of this process until the guard is dropped.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn start(path: &Path) -> anyhow::Result<FlushGuard> {
    let file = File::create(path).map_err(profiler::Error::file(path, "write"))?;
    let (layer, guard) = ChromeLayerBuilder::new().writer(file).include_args(true).include_locations(false).build();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))
        .context("--self-trace cannot record: another recorder is set")?;
    Ok(guard)
}
