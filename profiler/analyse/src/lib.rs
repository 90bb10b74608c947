//! From a record to findings: summaries, attribution to operations, verdicts, the audit of servers, estimates, warnings; and
//! comparisons of records.
//!
//! Pure functions: they measure nothing, and read neither files nor clocks.

pub mod attribution;
pub mod audit;
pub mod compare;
mod complete;
mod depth_laws;
pub mod drift;
pub mod experts;
mod findings;
pub mod predict;
pub mod served_weights;
pub mod summary;
pub mod verdicts;
pub mod warnings;

pub use complete::complete;
pub use findings::findings;
