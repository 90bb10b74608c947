//! Element types of the KV cache: those that engines here support, and those that a record may name.

use std::fmt;

use models::DType;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Element type of the KV cache of an engine here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvType {
    /// 16-bit floats: 2 bytes an element.
    #[default]
    F16,
    /// 32-bit floats: 4 bytes an element.
    F32,
}

impl KvType {
    /// Bytes of one element.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    /// The name in options and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::F32 => "f32",
        }
    }

    /// The same type among those of tensors.
    #[must_use]
    pub const fn dtype(self) -> DType {
        match self {
            Self::F16 => DType::F16,
            Self::F32 => DType::F32,
        }
    }
}

/// Element type of a KV cache as a record names it, records of other tools included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordedKvType {
    /// `f32`
    F32,
    /// `f16`
    F16,
    /// `bf16`
    BF16,
    /// `q8_0`
    Q8_0,
    /// `q4_0`
    Q4_0,
    /// `q4_1`
    Q4_1,
    /// `q5_0`
    Q5_0,
    /// `q5_1`
    Q5_1,
    /// `iq4_nl`
    IQ4NL,
    /// A name that is not known here, or several of them.
    Other(String),
}

/// A type of the KV cache that no engine here supports, or whose size is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedKvType {
    /// Engines here have no such cache.
    #[error("no engine here supports a KV cache of type `{0}`; supported are f16 and f32")]
    Engine(RecordedKvType),
    /// No tensor type has this name, so that its size is not known.
    #[error("the size of a KV cache of type `{0}` is not known")]
    Size(RecordedKvType),
}

impl RecordedKvType {
    /// Every known type.
    pub const NAMED: [Self; 9] =
        [Self::F32, Self::F16, Self::BF16, Self::Q8_0, Self::Q4_0, Self::Q4_1, Self::Q5_0, Self::Q5_1, Self::IQ4NL];

    /// The name in files.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q5_0 => "q5_0",
            Self::Q5_1 => "q5_1",
            Self::IQ4NL => "iq4_nl",
            Self::Other(name) => name,
        }
    }

    /// The same type among those of tensors, for sizes.
    ///
    /// # Errors
    /// When tensors have no such type here.
    pub fn dtype(&self) -> Result<DType, UnsupportedKvType> {
        match self {
            Self::F32 => Ok(DType::F32),
            Self::F16 => Ok(DType::F16),
            Self::BF16 => Ok(DType::BF16),
            Self::Q8_0 => Ok(DType::Q8_0),
            Self::Q4_0 => Ok(DType::Q4_0),
            Self::Q4_1 => Ok(DType::Q4_1),
            Self::Q5_0 => Ok(DType::Q5_0),
            Self::Q5_1 => Ok(DType::Q5_1),
            Self::IQ4NL | Self::Other(_) => Err(UnsupportedKvType::Size(self.clone())),
        }
    }
}

impl Default for RecordedKvType {
    fn default() -> Self {
        KvType::default().into()
    }
}

impl fmt::Display for RecordedKvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<&str> for RecordedKvType {
    fn from(name: &str) -> Self {
        let lower = name.to_lowercase();
        Self::NAMED.into_iter().find(|known| known.name() == lower).unwrap_or_else(|| Self::Other(name.to_owned()))
    }
}

impl From<KvType> for RecordedKvType {
    fn from(kv_type: KvType) -> Self {
        match kv_type {
            KvType::F16 => Self::F16,
            KvType::F32 => Self::F32,
        }
    }
}

impl TryFrom<&RecordedKvType> for KvType {
    type Error = UnsupportedKvType;

    fn try_from(recorded: &RecordedKvType) -> Result<Self, UnsupportedKvType> {
        match recorded {
            RecordedKvType::F16 => Ok(Self::F16),
            RecordedKvType::F32 => Ok(Self::F32),
            other => Err(UnsupportedKvType::Engine(other.clone())),
        }
    }
}

impl Serialize for RecordedKvType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for RecordedKvType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|name| Self::from(name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_a_record_is_read_back_as_itself() {
        let other = RecordedKvType::Other("f16 keys, q8_0 values".to_owned());
        for kv_type in RecordedKvType::NAMED.into_iter().chain([other]) {
            let json = serde_json::to_string(&kv_type).unwrap();
            assert_eq!(json, format!("{:?}", kv_type.name()));
            assert_eq!(serde_json::from_str::<RecordedKvType>(&json).unwrap(), kv_type);
        }
        assert_eq!(RecordedKvType::from("Q8_0"), RecordedKvType::Q8_0);
        assert_ne!(RecordedKvType::from("q8_0"), RecordedKvType::F16, "a quantised cache is not a float one");
    }

    #[test]
    fn engines_take_f16_and_f32_and_nothing_else() {
        for kv_type in [KvType::F16, KvType::F32] {
            let recorded = RecordedKvType::from(kv_type);
            assert_eq!((recorded.name(), recorded.dtype()), (kv_type.name(), Ok(kv_type.dtype())));
            assert_eq!(KvType::try_from(&recorded), Ok(kv_type));
        }
        let refused = |name: &str| KvType::try_from(&RecordedKvType::from(name)).unwrap_err().to_string();
        assert_eq!(refused("q8_0"), "no engine here supports a KV cache of type `q8_0`; supported are f16 and f32");
        assert!(refused("turbo3").contains("`turbo3`"));
        assert!(serde_json::from_str::<KvType>("\"q8_0\"").is_err(), "options take no other type");
    }

    #[test]
    fn a_size_that_is_not_known_is_an_error() {
        assert_eq!(RecordedKvType::Q8_0.dtype(), Ok(DType::Q8_0));
        let error = RecordedKvType::from("iq4_nl").dtype().unwrap_err();
        assert_eq!(error.to_string(), "the size of a KV cache of type `iq4_nl` is not known");
    }
}
