//! What a model is: registry, architecture, checkpoint readers, tokenizer, chat template, cost model, fetching, synthetic
//! weights, weights in another type.

mod arch;
mod checkpoint;
mod disk;
mod dtype;
mod error;
mod mixture;
mod spec;
mod tokenizer;
mod units;

pub mod chat;
pub mod cost;
pub mod digest;
pub mod fetch;
pub mod narrow;
pub mod quantise;
pub mod registry;
pub mod synth;
pub mod widen;

pub use checkpoint::{Checkpoint, Format, TensorInfo, TensorView, gguf};
pub use dtype::DType;
pub use error::{Error, Fault};
pub use spec::{Arch, Rope, RopeLayout, RopeScaling, Spec};
pub use tokenizer::{DecodeStream, EncodeOptions, SpecialIds, TokenKind, Tokenizer, TokenizerData};
pub use units::{Bytes, Flops, Params};
