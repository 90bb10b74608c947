//! Messages between the main process and its worker processes.
//!
//! A worker is the same binary with a hidden subcommand. The two processes exchange JSON lines over a Unix socket ([`Channel`]):
//! the main process sends [`ToWorker`], the worker answers each message with one [`FromWorker`]. In addition they share a few bytes
//! of memory ([`SharedStatus`]): the current phase, which is still readable after the worker was killed, and the request to stop.

mod answer;
mod channel;
mod messages;
mod preprocessing;
mod probe;
mod shared_status;

pub use answer::Answer;
pub use channel::{Channel, Received, readable};
pub use messages::{
    Examine, Examined, FirstRequest, FromWorker, Load, Loaded, Measured, MemoryReading, Open, Opened, RequestSpec,
    ToWorker, TracePart, TraceTargets,
};
pub use preprocessing::{PreprocessingTimes, ServerPrompt, ServerStep};
pub use probe::{MachineCeilings, ProberCommand, ProberReply, ShortProbe};
pub use record::{Allocations, MemoryTimeline, PassFigures, SteppedFigures, TracedFigures};
pub use shared_status::SharedStatus;
