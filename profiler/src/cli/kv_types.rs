//! The types of the KV cache, as the commands that have a cache take them.

use ::engines::{KvType, KvTypes};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

/// The types of the KV cache.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct KvTypeFlags {
    /// Element type of the KV cache, for keys and values; an engine refuses those that it does not have (candle: f16, f32, q8_0; llama-cpp: all)
    #[arg(long, value_name = "T", default_value_t = KvType::default(), value_parser = kv_types())]
    kv_type: KvType,
    /// Element type of the keys alone, llama-bench's -ctk [default: that of --kv-type]
    #[arg(long, value_name = "T", value_parser = kv_types(), hide_possible_values = true)]
    kv_type_k: Option<KvType>,
    /// Element type of the values alone, llama-bench's -ctv [default: that of --kv-type]
    #[arg(long, value_name = "T", value_parser = kv_types(), hide_possible_values = true)]
    kv_type_v: Option<KvType>,
}

impl KvTypeFlags {
    /// The types of keys and values.
    pub(super) fn types(self) -> KvTypes {
        KvTypes { keys: self.kv_type_k.unwrap_or(self.kv_type), values: self.kv_type_v.unwrap_or(self.kv_type) }
    }
}

/// The names of all types.
fn kv_types() -> impl TypedValueParser<Value = KvType> {
    PossibleValuesParser::new(KvType::all().map(KvType::name)).try_map(|name| name.parse::<KvType>())
}
