//! The binary from outside: on the mock engine, whose clock is virtual, to the last byte; on candle for invariants only.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod candle;
mod ceilings;
mod command_line;
mod errors;
mod failures;
mod run;
mod support;
mod traces;
mod verdicts;
