//! Loops that run one kind of instruction as fast as possible, on the calling thread. They do not read the clock.
//!
//! They are built for the processor of the build (`target-cpu=native`), and are slow without optimisation.

pub(super) mod dot;
pub(super) mod fault;
pub(super) mod fma;
pub(super) mod read;
