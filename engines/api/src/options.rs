//! Options of loading a session.

use std::collections::BTreeMap;

use redaction::Sensitive;
use serde::{Deserialize, Serialize};

use crate::{Device, KvTypes};

/// What has to be known before the weights are read.
///
/// Its JSON is for a process of this program alone: it contains the secrets of address, command and settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadOptions {
    /// Number of compute threads.
    pub threads: usize,
    /// Capacity of the KV cache in tokens: prompt, depth and new tokens together.
    pub context: usize,
    /// Element types of the KV cache.
    pub kv_type: KvTypes,
    /// Fused attention.
    pub flash_attention: FlashAttention,
    /// Prompt tokens per forward pass; `None` = the engine's default.
    pub batch: Option<usize>,
    /// The device to compute on.
    pub device: Device,
    /// Settings of this engine only, by key.
    #[serde(with = "redaction::exposed_map")]
    pub settings: BTreeMap<String, Sensitive>,
    /// The address of the server, for an engine that uses one.
    #[serde(default, with = "redaction::exposed_option")]
    pub url: Option<Sensitive>,
    /// The command that starts this server; `{port}` in it is replaced by a free port.
    #[serde(default, with = "redaction::exposed_option")]
    pub spawn: Option<Sensitive>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            threads: 1,
            context: 2048,
            kv_type: KvTypes::default(),
            flash_attention: FlashAttention::default(),
            batch: None,
            device: Device::default(),
            settings: BTreeMap::new(),
            url: None,
            spawn: None,
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
