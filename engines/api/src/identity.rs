//! Who an engine is and what it can do, as data.

use serde::{Deserialize, Serialize};

/// Names one engine as it runs here. An engine without a version cannot be compared and is refused by the registry's test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Registry name, such as `candle`.
    pub name: String,
    /// The part after the colon of `name:variant`, if any.
    pub variant: Option<String>,
    /// The version of the engine's library.
    pub version: String,
    /// The device it computes on, such as `cpu`.
    pub device: String,
    /// Build features that change its speed, such as `avx512f` or `mkl`.
    pub features: Vec<String>,
}

impl Identity {
    /// `name` or `name:variant`: what the user types and what the run's files hold.
    pub fn label(&self) -> String {
        match &self.variant {
            Some(variant) => format!("{}:{variant}", self.name),
            None => self.name.clone(),
        }
    }
}

/// What an engine can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Caps {
    /// Whether its sessions lend [`Steps`](crate::Steps).
    pub steps: bool,
    /// What the times of its ops mean.
    pub op_times: OpTimes,
    /// Which phases `generate` tells apart.
    pub phases: PhaseSplit,
    /// The environment variables that carry its thread count; they are read once, before its first computation.
    pub thread_variables: &'static [&'static str],
    /// Whether time is virtual: the engine advances the clock instead of computing.
    pub virtual_time: bool,
    /// Whether another process computes: its sessions come from [`Engine::connect`](crate::Engine::connect) and need no checkpoint.
    pub remote: bool,
}

/// What the time of an op means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpTimes {
    /// The engine marks no ops.
    None,
    /// The time to enqueue the op on the host; the device works later.
    HostEnqueue,
    /// The op's own run time on the host.
    Host,
    /// The op's own run time on the device.
    Device,
}

/// Which phases an engine's `generate` tells apart; a phase that it cannot tell merges into the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseSplit {
    /// Tokenization apart from prefill.
    pub tokenize: bool,
    /// Sampling apart from decode.
    pub sample: bool,
    /// Detokenization apart from decode.
    pub detokenize: bool,
}
