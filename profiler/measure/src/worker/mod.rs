//! Worker processes: one per engine, model and thread count, so that memory figures are clean and a crash costs one row.
//!
//! A worker is the same binary with a hidden subcommand ([`serve()`]). It talks JSON lines over a Unix socket
//! ([`ToWorker`], [`FromWorker`]), tells its phase through a byte in shared memory ([`Beacon`]) and writes its own words to a log file.
//! [`Worker`] is the main process's side: it starts one, asks it, stops it while another measures, and explains its death.

mod beacon;
mod channel;
mod death;
mod engine_env;
mod examine;
mod family;
mod handle;
mod logits;
mod measure;
mod moments;
mod part;
mod process;
mod protocol;
mod serve;
mod state;

pub use beacon::Beacon;
pub use channel::Channel;
pub use death::Death;
pub use engine_env::thread_environment;
pub use examine::{Examine, Examined};
pub use handle::{Fallen, Home, Order, Worker};
pub use protocol::{
    Ask, Failure, FromWorker, Input, Load, Loaded, Measured, MemoryEdge, Open, Opened, PartFile, ToWorker, TraceTo,
};
pub use serve::serve;
