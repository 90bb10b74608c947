//! The interface between engines and their callers: traits, requests, options, and what an engine reports about itself.
//!
//! An [`Engine`] loads a checkpoint into a [`Session`]. A session runs requests at its own pace and notifies an [`Observer`] at the
//! start and the end of each phase. A white-box session also has [`Steps`], so that the caller can run a request phase by phase.
//! This crate computes nothing and depends on no backend, so that records, analysis and reports build without one.

mod device;
mod error;
mod experts;
mod identity;
mod kv_type;
mod observer;
mod options;
mod reason;
mod request;
mod server;
mod server_load;
mod traits;
mod weight_use;

pub use device::Device;
pub use error::{Advice, EngineError};
pub use experts::{EXPERTS_USED, record_experts};
pub use identity::{Caps, Identity, OpTimes, PhaseSplit};
pub use kv_type::{KvType, KvTypes, RecordedKvTypes, UnknownKvSize, UnknownKvType};
pub use observer::{Flow, NullObserver, Observer, Phase, Piece};
pub use options::{FlashAttention, LoadOptions};
pub use reason::Reason;
pub use request::{FinishReason, Prompt, Request, Usage};
pub use server::{
    CacheBypass, CacheHit, PreprocessingOutput, PreprocessingStep, ServerInfo, ServerReport, StreamFacts,
};
pub use server_load::{LoadFigure, LoggedRequest, ServerLoad, SingleRequest};
pub use traits::{DeviceMemory, EncodedText, Engine, KvBytes, Server, Session, Steps, Vocabulary, VocabularyFacts};
pub use weight_use::{Copies, WeightUse};
