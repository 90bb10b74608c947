//! Worker processes, seen from the main process: one per engine, model and thread count, so that memory figures are those of one engine
//! and a crash affects only the cases of one worker.
//!
//! [`WorkerHandle`] is one process. `WorkerPool` holds those of a block of the plan.

mod exit_report;
mod handle;
mod process;
mod process_state;
mod worker_folder;
mod worker_pool;

pub use exit_report::ExitReport;
pub use handle::{LostWorker, StartOptions, WorkerHandle};
pub use worker_folder::WorkerFolder;
pub(crate) use worker_pool::{RequestError, WorkerPool};
