//! The worker process: serves the commands of the main process.
//!
//! [`serve()`] reads commands from the socket. An `OpenEngine` holds the engine, its session and the instruments.
//! `request` measures one request in one of the [`passes`], with readings around it. `examine` computes token probabilities. `prober`
//! measures limits of the machine.

mod examine;
mod logits;
mod memory_timeline;
mod open_engine;
mod open_session;
pub mod passes;
mod preprocessing;
mod prober;
mod readings;
mod request;
mod request_trace;
mod serve;
mod server_processes;

pub use serve::serve;
