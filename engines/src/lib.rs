//! Inference engines behind one trait.
//!
//! An [`Engine`] loads a checkpoint into a [`Session`]; a session answers requests at its own pace and tells an
//! [`Observer`] when a phase begins and ends. A white-box session also offers its [`Steps`], so that the caller can walk
//! a request phase by phase. These interfaces are the crate [`engine_api`]. Engines know nothing of counters, statistics or reports, and never read a clock.
//!
//! One folder per engine, one line in [`registry`], one cargo feature.

mod greedy;
mod text;

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

pub use engine_api::{
    Ahead, CacheDefence, CacheHit, Caps, DeviceMemory, Engine, EngineError, FinishReason, FlashAttention, Flow, Given,
    Identity, KvBytes, KvType, LoadOptions, Observer, OpTimes, Phase, PhaseSplit, Piece, Prompt, Remote, Reported,
    Request, Server, Session, Silent, Steps, Usage,
};
