//! The traced pass: the engine's own pace with its op marks recorded.

use engines::{EngineError, Request, Session, Usage};
use traces::record::{self, Kind};

use super::edges::Stopwatch;
use super::ops::OpMark;

/// The ops of a traced request.
#[derive(Debug)]
pub struct Traced {
    /// What the request used.
    pub usage: Usage,
    /// Its ops in order of time.
    pub ops: Vec<OpMark>,
    /// Marks that were lost.
    pub dropped: u64,
}

/// Runs a request with op marks; up to `per_thread` of them on each thread are kept.
///
/// # Errors
/// When the engine fails.
pub fn trace(session: &mut dyn Session, request: &Request, per_thread: usize, watch: &mut Stopwatch<'_>) -> Result<Traced, EngineError> {
    record::start(record::Config { per_thread });
    record::prepare_thread();
    // What an earlier request left behind is not this one's.
    record::drain();
    let result = session.generate(request, watch);
    record::stop();
    let batch = record::drain();
    let usage = result?;
    Ok(Traced { usage, ops: batch.of(Kind::Op).map(OpMark::of).collect(), dropped: batch.dropped })
}
