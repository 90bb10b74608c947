//! How a session is to be loaded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a session needs to know before its weights are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadOptions {
    /// Threads that compute.
    pub threads: usize,
    /// Tokens that the KV cache must hold: prompt, depth and new tokens together.
    pub context: usize,
    /// Element type of the KV cache.
    pub kv_type: KvType,
    /// Fused attention.
    pub flash_attention: FlashAttention,
    /// Prompt tokens per forward pass; `None` = the engine's default.
    pub batch: Option<usize>,
    /// The device, such as `cpu`, `cuda:0`, `metal`.
    pub device: String,
    /// Settings of this engine only: `--set ENGINE.KEY=VALUE` without the engine's name.
    pub settings: BTreeMap<String, String>,
    /// Where a server answers, for an engine that asks one.
    #[serde(default)]
    pub url: Option<String>,
    /// The command that starts this server; `{port}` in it stands for a free port.
    #[serde(default)]
    pub spawn: Option<String>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            threads: 1,
            context: 2048,
            kv_type: KvType::default(),
            flash_attention: FlashAttention::default(),
            batch: None,
            device: "cpu".to_owned(),
            settings: BTreeMap::new(),
            url: None,
            spawn: None,
        }
    }
}

/// Element type of the KV cache.
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
    pub const fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    /// The name on the command line and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::F32 => "f32",
        }
    }
}

/// Whether attention runs as one fused operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlashAttention {
    /// The engine decides.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}
