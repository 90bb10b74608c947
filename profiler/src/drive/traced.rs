//! The traced pass: the engine's own pace with its op marks recorded.

use engines::{EngineError, Request, Session, Usage};
use traces::record::{self, Batch};

use super::edges::Stopwatch;

/// Runs a request with op marks and takes what was recorded; up to `per_thread` of them on each thread are kept.
///
/// # Errors
/// When the engine fails.
pub fn trace(
    session: &mut dyn Session,
    request: &Request,
    per_thread: usize,
    watch: &mut Stopwatch<'_>,
) -> Result<(Usage, Batch), EngineError> {
    record::start(record::Config { per_thread });
    record::prepare_thread();
    // What an earlier request left behind is not this one's.
    record::drain();
    let result = session.generate(request, watch);
    record::stop();
    let batch = record::drain();
    Ok((result?, batch))
}
