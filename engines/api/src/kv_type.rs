//! Element types of the KV cache: of keys and of values, and as a record names them.

use std::fmt;

use models::{CacheTypes, DType};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Element type of the keys or of the values in a KV cache: the types that llama.cpp has. An engine refuses those that it does not
/// support.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[allow(non_camel_case_types, reason = "the usual names of the types")]
pub enum KvType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    #[default]
    F16,
    /// The upper halves of 32-bit floats.
    BF16,
    /// Blocks of 32: 8 bits and a scale.
    Q8_0,
    /// Blocks of 32: 4 bits and a scale.
    Q4_0,
    /// Blocks of 32: 4 bits, a scale and a minimum.
    Q4_1,
    /// Blocks of 32: indices of 4 bits in a table, and a scale.
    IQ4_NL,
    /// Blocks of 32: 5 bits and a scale.
    Q5_0,
    /// Blocks of 32: 5 bits, a scale and a minimum.
    Q5_1,
}

/// Every type, its name in options and files, and the same type among those of tensors. The order is that of llama.cpp's help.
const TYPES: [(KvType, &str, DType); 9] = [
    (KvType::F32, "f32", DType::F32),
    (KvType::F16, "f16", DType::F16),
    (KvType::BF16, "bf16", DType::BF16),
    (KvType::Q8_0, "q8_0", DType::Q8_0),
    (KvType::Q4_0, "q4_0", DType::Q4_0),
    (KvType::Q4_1, "q4_1", DType::Q4_1),
    (KvType::IQ4_NL, "iq4_nl", DType::IQ4_NL),
    (KvType::Q5_0, "q5_0", DType::Q5_0),
    (KvType::Q5_1, "q5_1", DType::Q5_1),
];

impl KvType {
    /// Every type.
    pub fn all() -> impl Iterator<Item = Self> {
        TYPES.iter().map(|(kv_type, ..)| *kv_type)
    }

    const fn row(self) -> &'static (Self, &'static str, DType) {
        // The table is in the order of the enum, which a test checks.
        &TYPES[self as usize]
    }

    /// The name in options and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().1
    }

    /// The same type among those of tensors.
    #[must_use]
    pub const fn dtype(self) -> DType {
        self.row().2
    }

    /// Whether its elements are in blocks with a common scale.
    #[must_use]
    pub const fn is_quantised(self) -> bool {
        self.dtype().block_elems() > 1
    }
}

impl std::str::FromStr for KvType {
    type Err = UnknownKvType;

    /// In upper or lower case.
    fn from_str(name: &str) -> Result<Self, UnknownKvType> {
        let known = Self::all().find(|known| known.name().eq_ignore_ascii_case(name.trim()));
        known.ok_or_else(|| UnknownKvType { text: name.to_owned() })
    }
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Element types of a KV cache.
///
/// As text (and JSON) one name, `q8_0`, or two where they differ, `q8_0 keys, f16 values`; `q8_0,f16` is read, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KvTypes {
    /// Of the keys.
    pub keys: KvType,
    /// Of the values.
    pub values: KvType,
}

impl KvTypes {
    /// The same types among those of tensors, for sizes.
    #[must_use]
    pub const fn cache_types(self) -> CacheTypes {
        CacheTypes { keys: self.keys.dtype(), values: self.values.dtype() }
    }

    /// The type of keys and values; `None` if they differ.
    #[must_use]
    pub fn one(self) -> Option<KvType> {
        (self.keys == self.values).then_some(self.keys)
    }
}

impl From<KvType> for KvTypes {
    fn from(both: KvType) -> Self {
        Self { keys: both, values: both }
    }
}

impl From<KvTypes> for CacheTypes {
    fn from(types: KvTypes) -> Self {
        types.cache_types()
    }
}

impl fmt::Display for KvTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.one() {
            Some(both) => f.write_str(both.name()),
            None => write!(f, "{} keys, {} values", self.keys, self.values),
        }
    }
}

/// A text that names no types of a KV cache.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no type of a KV cache; the types are {}", names())]
pub struct UnknownKvType {
    text: String,
}

/// The names of all types.
fn names() -> String {
    KvType::all().map(KvType::name).collect::<Vec<_>>().join(", ")
}

impl std::str::FromStr for KvTypes {
    type Err = UnknownKvType;

    fn from_str(text: &str) -> Result<Self, UnknownKvType> {
        let unknown = |_| UnknownKvType { text: text.to_owned() };
        match text.split_once(',') {
            None => text.parse().map(|both: KvType| both.into()),
            Some((keys, values)) => Ok(Self {
                keys: keys.trim().trim_end_matches(" keys").parse().map_err(unknown)?,
                values: values.trim().trim_end_matches(" values").parse().map_err(unknown)?,
            }),
        }
    }
}

impl Serialize for KvTypes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KvTypes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Element types of a KV cache as a record names them, records of other tools included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordedKvTypes {
    /// Types that are known here.
    Known(KvTypes),
    /// A name that is not known here, or several of them.
    Other(String),
}

/// Types of a KV cache whose size is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the size of a KV cache of type `{0}` is not known")]
pub struct UnknownKvSize(RecordedKvTypes);

impl RecordedKvTypes {
    /// The types, for sizes.
    ///
    /// # Errors
    /// When they are not known here.
    pub fn known(&self) -> Result<KvTypes, UnknownKvSize> {
        match self {
            Self::Known(types) => Ok(*types),
            Self::Other(_) => Err(UnknownKvSize(self.clone())),
        }
    }
}

impl Default for RecordedKvTypes {
    fn default() -> Self {
        Self::Known(KvTypes::default())
    }
}

impl fmt::Display for RecordedKvTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(types) => types.fmt(f),
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl From<&str> for RecordedKvTypes {
    fn from(name: &str) -> Self {
        name.parse().map_or_else(|_| Self::Other(name.to_owned()), Self::Known)
    }
}

impl From<KvTypes> for RecordedKvTypes {
    fn from(types: KvTypes) -> Self {
        Self::Known(types)
    }
}

impl From<KvType> for RecordedKvTypes {
    fn from(both: KvType) -> Self {
        Self::Known(both.into())
    }
}

impl Serialize for RecordedKvTypes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RecordedKvTypes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|name| Self::from(name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_types_and_names_are_those_of_tensors() {
        for (at, kv_type) in KvType::all().enumerate() {
            assert_eq!(kv_type as usize, at);
            assert_eq!(kv_type.name(), kv_type.dtype().name().to_lowercase());
        }
        let quantised: Vec<&str> = KvType::all().filter(|kv| kv.is_quantised()).map(KvType::name).collect();
        assert_eq!(quantised, ["q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"]);
    }

    #[test]
    fn all_pairs_are_read_back_as_themselves() {
        for keys in KvType::all() {
            for values in KvType::all() {
                let types = KvTypes { keys, values };
                let json = serde_json::to_string(&types).unwrap();
                assert_eq!(serde_json::from_str::<KvTypes>(&json).unwrap(), types, "{json}");
                assert_eq!(format!("{keys},{values}").parse(), Ok(types));
                let recorded = RecordedKvTypes::from(types);
                assert_eq!(serde_json::to_string(&recorded).unwrap(), json);
                assert_eq!(serde_json::from_str::<RecordedKvTypes>(&json).unwrap(), recorded);
                assert_eq!(recorded.known(), Ok(types));
            }
        }
        assert_eq!("Q8_0".parse(), Ok(KvTypes::from(KvType::Q8_0)));
        assert_eq!("q8_0, F16".parse::<KvTypes>().unwrap().to_string(), "q8_0 keys, f16 values");
    }

    #[test]
    fn other_texts_are_kept_in_records_and_refused_in_options() {
        for text in ["turbo3", "f16 or q8_0", "q8_0,", ",f16", "f16,f16,f16", ""] {
            let recorded = RecordedKvTypes::from(text);
            assert_eq!(recorded, RecordedKvTypes::Other(text.to_owned()));
            assert_eq!(recorded.to_string(), text);
            let error = recorded.known().unwrap_err().to_string();
            assert_eq!(error, format!("the size of a KV cache of type `{text}` is not known"));
        }
        assert_eq!(
            "turbo3".parse::<KvTypes>().unwrap_err().to_string(),
            "`turbo3` is no type of a KV cache; the types are f32, f16, bf16, q8_0, q4_0, q4_1, iq4_nl, q5_0, q5_1"
        );
        assert!(serde_json::from_str::<KvTypes>("\"turbo3\"").is_err());
    }

    #[test]
    fn keys_and_values_have_the_bytes_of_their_types() {
        let types: KvTypes = "q8_0,q4_0".parse().unwrap();
        // 64 elements are two blocks of 34 and of 18 bytes.
        assert_eq!(types.cache_types().row_bytes(64).get(), 2 * (34 + 18));
        assert_eq!(KvTypes::from(KvType::F16).cache_types().row_bytes(64).get(), 2 * 64 * 2);
    }
}
