//! What a model is: registry, architectures, checkpoint readers, tokenizer, chat template, cost model, fetching, synthetic weights,
//! quantising.
//!
//! Modules use those above them in this list, never those below:
//!
//! ```text
//! units, dtype, op_kind, spec            sizes, element types, names of operations, the shape of a model
//! error, progress, filesystem            errors, progress reports, files and folders
//! digest, tensor, tensor_types, blocks   SHA-256 of files, tensors, which tensor gets which type, (de)quantising blocks
//! container                              GGUF and JSON files, without knowledge of architectures
//! arch                                   which metadata and tensors each architecture has
//! checkpoint                             weights on disk: one GGUF file or a folder of safetensors
//! tokenizer, chat, cost, registry        what follows from a checkpoint or a shape
//! synth, quantise, fetch                 writing synthetic and quantised files, downloading
//! ```

mod arch;
mod checkpoint;
mod container;
mod dtype;
mod error;
mod filesystem;
mod op_kind;
mod progress;
mod spec;
mod substitution;
mod tensor;
mod tensor_types;
mod tokenizer;
mod units;

pub mod blocks;
pub mod chat;
pub mod cost;
pub mod digest;
pub mod fetch;
pub mod quantise;
pub mod registry;
pub mod synth;

pub use checkpoint::{Checkpoint, Description, Format, Outline, TemplateSource};
pub use container::gguf;
pub use dtype::DType;
pub use error::{Cause, CauseOrAdvice, Error, Mismatch, NotModelled};
pub use filesystem::cache_home;
pub use progress::{Progress, Quiet};
pub use spec::{
    Activation, Arch, Attention, CLAMP_ALPHA, CLAMP_LIMIT, CacheTypes, DeltaLayout, ExpertGroups, Experts, FeedForward,
    Gated, GatedDeltaNet, Gating, LatentAttention, Layer, Mixer, NormPlacement, Rope, RopeLayout, RopeScaling, Scores,
    SharedExpert, ShortConvolution, Spec, Temperature,
};
pub use substitution::Substitution;
pub use tensor::{TensorInfo, TensorView};
pub use tokenizer::{DecodeStream, EncodeOptions, SpecialIds, TokenKind, Tokenizer, TokenizerData, TokenizerFamily};
pub use units::{Bytes, Flops, Params};
