//! What a layer keeps of the tokens before: element types of keys and values.

use crate::dtype::DType;
use crate::units::Bytes;

/// Element types of a KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheTypes {
    /// Of the keys.
    pub keys: DType,
    /// Of the values.
    pub values: DType,
}

impl CacheTypes {
    /// Bytes of one position in one layer: `row(width)` of the keys and of the values, where `width` is that of all key heads together.
    #[must_use]
    pub fn row_bytes(self, width: usize) -> Bytes {
        self.keys.row_bytes(width) + self.values.row_bytes(width)
    }
}

impl From<DType> for CacheTypes {
    /// The same type for both.
    fn from(both: DType) -> Self {
        Self { keys: both, values: both }
    }
}
