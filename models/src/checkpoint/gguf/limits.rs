//! What a GGUF header may ask for. Real files stay far below; a hostile one is refused before anything is allocated for it.

/// Bytes of a key. llama.cpp's longest is under 64.
pub(crate) const KEY: u64 = 1 << 10;
/// Bytes of a text value. Chat templates reach some 30 kB.
pub(crate) const STRING: u64 = 1 << 20;
/// Bytes in memory of all arrays together. The largest vocabularies (262,144 tokens, 500,000 merges) take 20 MB.
pub(crate) const ARRAYS: u64 = 64 << 20;
/// Elements of an array of texts.
pub(crate) const STRINGS: u64 = 1 << 21;
/// Bytes of a tensor name, less one: ggml keeps 64 with the closing zero.
pub(crate) const TENSOR_NAME: u64 = 63;
/// Dimensions of a tensor in ggml.
pub(crate) const DIMS: u32 = 4;
/// Alignment in bytes where the file does not set its own.
pub(crate) const DEFAULT_ALIGNMENT: u32 = 32;
/// The largest alignment in bytes; larger than any page in use for files.
pub(crate) const ALIGNMENT: u32 = 1 << 20;
/// Bytes of the smallest metadata entry: length and one byte of key, type, one byte of value.
pub(crate) const ENTRY: u64 = 8 + 1 + 4 + 1;
/// Bytes of the smallest tensor entry: length and one byte of name, number of dimensions, one dimension, type, offset.
pub(crate) const TENSOR: u64 = 8 + 1 + 4 + 8 + 4 + 8;
