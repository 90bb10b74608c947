//! The interface between engines and those who measure them: traits, requests, options, and what an engine says of itself.
//!
//! An [`Engine`] loads a checkpoint into a [`Session`]; a session answers requests at its own pace and tells an [`Observer`] when
//! a phase begins and ends. A white-box session also offers its [`Steps`], so that the caller can walk a request phase by phase.
//! This crate computes nothing and depends on no backend, so that records, analysis and reports build without one.

mod error;
mod identity;
mod observer;
mod options;
mod remote;
mod request;
mod traits;

pub use error::EngineError;
pub use identity::{Caps, Identity, OpTimes, PhaseSplit};
pub use observer::{Flow, Observer, Phase, Piece, Silent};
pub use options::{FlashAttention, KvType, LoadOptions};
pub use remote::{Ahead, CacheDefence, CacheHit, Given, Remote, Reported};
pub use request::{FinishReason, Prompt, Request, Usage};
pub use traits::{DeviceMemory, Engine, KvBytes, Server, Session, Steps};
