//! Measures: plans the cases of a run, prepares models and prompts, runs each case in a worker process, and writes what was
//! measured as a record.
//!
//! ```text
//! main process      run ─┬─► ceilings ─► pool ─► protocol ─┬─► plan
//!                        └─► prepare ──────────────────────┘
//! worker process    worker ─► protocol ─► plan
//! ```
//! An arrow points from a module to one that it uses. [`plan`] is plain data. [`prepare`] makes a plan from options. [`run`]
//! measures it: its worker pool ([`pool`]) starts one process per engine, model and thread count, and sends it requests over
//! [`protocol`]. [`worker`] is the code of those processes. [`ceilings`] measures what the machine can do at most, with worker
//! processes that open no engine. What follows from a record is computed by the crate `analyse`; this crate does not use it.

pub mod ceilings;
pub mod interrupt;
pub mod plan;
pub mod pool;
pub mod prepare;
pub mod protocol;
pub mod run;
pub mod timestamp;
pub mod worker;
mod working_set;
