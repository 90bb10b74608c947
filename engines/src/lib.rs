//! Inference engines behind one trait.
//!
//! The traits and their data types are the crate [`engine_api`], which this one re-exports. An [`Engine`] loads a checkpoint into a
//! [`Session`]; a session runs requests and notifies an [`Observer`] at the start and the end of each phase. Engines depend on no
//! counters, statistics or reports, and never read a clock.
//!
//! Each engine is one folder, one line in [`registry`] and one cargo feature.

mod greedy;
#[cfg(any(feature = "candle", feature = "mlx", target_os = "macos"))]
mod kv_cache;
mod suggest;
mod text;
mod worker_pool;

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
    Advice, CacheBypass, CacheHit, Caps, Copies, Device, DeviceMemory, EncodedText, Engine, EngineError, FinishReason,
    FlashAttention, Flow, Identity, KvBytes, KvType, KvTypes, LoadFigure, LoadOptions, LoggedRequest, NullObserver,
    Observer, OpTimes, Phase, PhaseSplit, Piece, PreprocessingOutput, PreprocessingStep, Prompt, Reason,
    RecordedKvTypes, Request, Server, ServerInfo, ServerLoad, ServerReport, Session, Steps, StreamFacts, UnknownKvSize,
    UnknownKvType, Usage, Vocabulary, VocabularyFacts, WeightUse,
};
