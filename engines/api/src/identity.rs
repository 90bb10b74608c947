//! The identity and the capabilities of an engine, as data.

use serde::{Deserialize, Serialize};

use crate::{Device, WeightUse};

/// Identifies one engine and the device that it computes on. The version is required: results of unknown versions cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Registry name, such as `candle`.
    pub name: String,
    /// The part after the colon of `name:variant`, if any.
    pub variant: Option<String>,
    /// The version of the engine's library.
    pub version: String,
    /// The device that it computes on.
    pub device: Device,
    /// Build features that change its speed, such as `avx512f` or `mkl`.
    pub features: Vec<String>,
    /// How it keeps and multiplies weights. Files of earlier versions do not state it.
    #[serde(default, skip_serializing_if = "WeightUse::is_plain")]
    pub weight_use: WeightUse,
}

impl Identity {
    /// `name` or `name:variant`: the label in user input and in files.
    pub fn label(&self) -> String {
        match &self.variant {
            Some(variant) => format!("{}:{variant}", self.name),
            None => self.name.clone(),
        }
    }
}

/// The capabilities of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Caps {
    /// Whether its sessions have [`Steps`](crate::Steps).
    pub steps: bool,
    /// What the times of its ops measure.
    pub op_times: OpTimes,
    /// Which phases `generate` reports separately.
    pub phases: PhaseSplit,
    /// The environment variables that set its thread count; it reads them once, before its first computation.
    pub thread_variables: &'static [&'static str],
    /// Whether time is virtual: the engine advances the clock instead of computing.
    pub virtual_time: bool,
    /// Whether another process computes: its sessions come from [`Engine::connect`](crate::Engine::connect) and need no checkpoint.
    pub remote: bool,
    /// Whether it computes from the described shape of a model. An engine that reads the model's file itself can run models that are not
    /// described ([`models::Description::Opaque`]).
    pub needs_shape: bool,
}

/// What the time of an op measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpTimes {
    /// The engine marks no ops.
    None,
    /// The time to enqueue the op on the host; the device runs it later.
    HostEnqueue,
    /// The op's run time on the host.
    Host,
    /// The op's run time on the device.
    Device,
}

/// Which phases an engine's `generate` reports separately. A phase that is not separate is part of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseSplit {
    /// Tokenization apart from prefill.
    pub tokenize: bool,
    /// Sampling apart from decode.
    pub sample: bool,
    /// Detokenization apart from decode.
    pub detokenize: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As released versions wrote it.
    #[test]
    fn identities_of_old_files_are_read_and_written_unchanged() {
        for device in ["cpu", "virtual", "server", "cpu or metal", "vulkan"] {
            let json = format!(
                r#"{{"name":"candle","variant":"tensor","version":"0.11.1","device":"{device}","features":["avx2"]}}"#
            );
            let identity: Identity = serde_json::from_str(&json).unwrap();
            assert_eq!(identity.label(), "candle:tensor");
            assert_eq!(serde_json::to_string(&identity).unwrap(), json);
        }
    }
}
