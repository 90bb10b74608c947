//! Measures inference engines: plans the cases of a run, drives each in a worker process, keeps what was measured and
//! reports it.
//!
//! From what was asked to what is printed:
//! [`plan`] -> [`prepare`] -> [`run`] (which drives [`worker`] processes; [`drive`] walks a request, [`meter`] reads the
//! instruments) -> [`results`] -> [`statistics`] -> [`report`]. [`environment`] describes the machine, [`warnings`] what
//! may disturb the numbers. Nothing here prints: the command line lies in the binary.

pub mod attribution;
pub mod audit;
pub mod ceilings;
pub mod compare;
pub mod drive;
pub mod environment;
mod error;
pub mod heap;
pub mod meter;
pub mod plan;
pub mod predict;
pub mod prepare;
pub mod report;
pub mod results;
pub mod run;
pub mod statistics;
pub mod verdicts;
pub mod warnings;
pub mod worker;

pub use error::{Error, ErrorKind};
