//! The memory of a session: what follows from the shape of a model, and what a run shows besides.

use engine_api::{KvTypes, WeightUse};
use models::cost;
use models::{Bytes, Spec};
use record::{Case, RunFile};

/// The share of a machine's memory above which the system begins to drop pages of files.
const SHORT: f64 = 0.9;
/// The share of the file whose pages are in memory where none were dropped.
const WHOLE: f64 = 0.95;

/// The memory of a session besides its weights, as far as it follows from the shape.
pub(super) struct MemoryNeed<'a> {
    pub(super) spec: &'a Spec,
    pub(super) kv: KvTypes,
    /// Positions of the cache that are in use at the end.
    pub(super) positions: usize,
    /// Tokens per pass.
    pub(super) batch: usize,
}

impl MemoryNeed<'_> {
    /// KV cache in use, activations and logits ([`cost::estimate_memory`]).
    pub(super) fn parts(&self) -> cost::MemoryEstimate {
        cost::estimate_memory(self.spec, Bytes(0), self.positions, self.kv, self.batch)
    }

    /// KV cache in use + activations + logits, in bytes.
    pub(super) fn bytes(&self) -> f64 {
        self.parts().total().as_f64()
    }
}

/// Peak memory besides the file, the parts that follow from the shape, and the copies:
///
/// ```text
/// peak - file - need - copies      without the copies where they are more than what is left: the run made none
/// ```
///
/// Unit: bytes. `None` where memory was short and pages of the file were dropped: the peak is then less than what is needed.
pub(super) fn overhead(file: &RunFile, case: &Case, (peak, need, copies): (u64, f64, f64)) -> Option<f64> {
    let (peak, file_bytes) = (peak as f64, case.memory.file_bytes.value()? as f64);
    let machine = file.environment.memory.total_bytes.value().map_or(f64::INFINITY, |bytes| bytes as f64);
    let mapped = case.memory.file_backed_bytes.value().map_or(f64::INFINITY, |bytes| bytes as f64);
    if peak > SHORT * machine && mapped < WHOLE * file_bytes {
        return None;
    }
    let rest = peak - file_bytes - need;
    Some(if rest >= copies { rest - copies } else { rest })
}

/// How the engine of a case kept its weights, as far as the run states it; `otherwise` for runs of earlier versions.
pub(super) fn weight_use(file: &RunFile, engine: &str, otherwise: &WeightUse) -> WeightUse {
    let stated = file.identity(engine).map(|identity| identity.weight_use.clone()).filter(|stated| !stated.is_plain());
    let name = engine.split(':').next().unwrap_or(engine);
    let own = file.plan.settings.iter().filter(|(of, ..)| of == engine || of == name);
    stated.unwrap_or_else(|| otherwise.clone()).under(own.map(|(_, key, value)| (key.as_str(), value.as_str())))
}
