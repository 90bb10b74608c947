//! Loops that do one thing as fast as the processor can, on the thread that calls them. None of them reads the clock.
//!
//! They are built for the processor of the build (`target-cpu=native`); in a build that is not optimised they are slow.

pub(super) mod dot;
pub(super) mod fault;
pub(super) mod fma;
pub(super) mod read;
