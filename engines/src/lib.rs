//! Inference engines behind one trait.
//!
//! An [`Engine`] loads a checkpoint into a [`Session`]; a session answers requests at its own pace and tells an
//! [`Observer`] when a phase begins and ends. A white-box session also lends its [`Steps`], so that the caller can walk
//! a request phase by phase. Engines know nothing of counters, statistics or reports, and never read a clock.
//!
//! One folder per engine, one line in [`registry`], one cargo feature.

mod error;
mod greedy;
mod identity;
mod observer;
mod options;
mod remote;
mod request;
mod text;
mod traits;

#[cfg(feature = "candle")]
pub mod candle;
#[cfg(feature = "llama-cpp")]
pub mod llama_cpp;
#[cfg(any(feature = "mlx", target_os = "macos"))]
pub mod mlx;
pub mod mock;
#[cfg(feature = "openai")]
pub mod openai;
pub mod registry;
pub mod threads;

pub use error::EngineError;
pub use identity::{Caps, Identity, OpTimes, PhaseSplit};
pub use observer::{Flow, Observer, Phase, Piece, Silent};
pub use options::{FlashAttention, KvType, LoadOptions};
pub use remote::{Ahead, CacheDefence, CacheHit, Given, Remote, Reported};
pub use request::{FinishReason, Prompt, Request, Usage};
pub use traits::{DeviceMemory, Engine, KvBytes, Server, Session, Steps};
