//! Loops that do one thing as fast as the processor can, on the thread that calls them. None of them reads the clock.
//!
//! They are built for the processor of the build (`target-cpu=native`); in a build that is not optimised they are slow.

pub(super) mod dot;
pub(super) mod fault;
pub(super) mod fma;
pub(super) mod read;

/// What the compute part of a probe runs: the 8-bit dot product, or multiply-adds where the build has none.
pub const COMPUTE: &str = if dot::EXISTS { "dot_i8" } else { "fma_f32" };
