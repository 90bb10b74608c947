//! Tests of the binary. Runs on the mock engine, with its virtual clock, are compared byte by byte. Runs on candle are checked for
//! invariants only.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod aliases;
mod candle;
mod ceilings;
mod command_line;
mod compare;
mod counters;
mod errors;
mod examination;
mod experts;
mod failures;
#[cfg(target_os = "linux")]
mod linux_counters;
#[path = "../../profiler/tests/nulls/mod.rs"]
mod nulls;
mod quantize;
mod run;
mod secrets;
#[allow(clippy::expect_used, reason = "a test that cannot go on fails")]
#[path = "../../engines/tests/server/mod.rs"]
mod server;
mod servers;
mod support;
mod traces;
mod verdicts;
