//! The reader of GGUF files with generated files: valid, invalid and mutated.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod allocations;
mod invalid;
mod models;
mod mutated;
mod writer;
