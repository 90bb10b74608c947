//! Measures: plans the cases of a run, prepares models and prompts, drives each case in a worker process, and keeps what was
//! measured as a record.
//!
//! [`plan`] -> [`prepare`] -> [`run`], which sends requests to [`worker`] processes; in a worker [`drive`] walks each request
//! through its phases and reads the instruments of the crate `meter` at the edges. [`ceilings`] measures what the machine can do
//! at most. What follows from a record is computed by the crate `analyse`; this crate does not use it.

pub mod ceilings;
pub mod drive;
pub mod plan;
pub mod prepare;
pub mod run;
pub mod worker;
