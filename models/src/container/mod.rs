//! The files that a checkpoint consists of, without knowledge of architectures: mapping them, identifying their format, reading
//! GGUF headers and JSON documents.

mod file_format;
mod weights_file;

pub mod gguf;
pub(crate) mod json;

pub(crate) use file_format::{FileFormat, OtherFormat, by_name, identify};
pub(crate) use weights_file::map;
