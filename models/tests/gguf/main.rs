//! The reader of GGUF files against files built here, byte by byte: sound ones, hostile ones, mutated ones.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod allocations;
mod hostile;
mod models;
mod mutated;
mod writer;
