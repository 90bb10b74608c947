//! The traced pass: the engine's own pace with its op marks recorded and its allocations counted.

use engines::{EngineError, Request, Session, Usage};
use traces::record::{self, Batch};

use super::allocations::{AllocationEdges, Allocations};
use super::edges::Stopwatch;
use crate::heap::Counting;

/// What a traced request gave.
#[derive(Debug)]
pub struct Traced {
    /// The engine's account.
    pub usage: Usage,
    /// What was recorded.
    pub batch: Batch,
    /// What was allocated, or why that is not known.
    pub allocations: Result<Allocations, String>,
}

/// Runs a request with op marks and takes what was recorded; up to `per_thread` of them on each thread are kept. Its allocations are
/// counted unless a reason is given why not.
///
/// # Errors
/// When the engine fails.
pub fn trace(
    session: &mut dyn Session,
    request: &Request,
    per_thread: usize,
    uncounted: Option<&str>,
    watch: &mut Stopwatch<'_>,
) -> Result<Traced, EngineError> {
    record::start(record::Config { per_thread });
    record::prepare_thread();
    // What an earlier request left behind is not this one's.
    record::drain();
    let counting = uncounted.map_or_else(|| Counting::start(0), Err);
    let (result, allocations) = match counting {
        Ok(counting) => {
            let mut edges = AllocationEdges::new(watch, counting);
            let result = session.generate(request, &mut edges);
            (result, Ok(edges.finish()))
        }
        Err(reason) => (session.generate(request, watch), Err(reason.to_owned())),
    };
    record::stop();
    let batch = record::drain();
    Ok(Traced { usage: result?, batch, allocations })
}
