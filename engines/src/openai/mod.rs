//! Servers that compute in another process, watched through the interface that OpenAI's clients use.
//!
//! A session is an address, found by `--url` or started by `--spawn`. It knows exo, llama-server, llama-cpp-python,
//! mlx_lm.server, ollama, tinygrad and vLLM by what they answer, and each one's way to keep its prefix cache out, to go on
//! past the end of the text and to tell its own times. It sees text arrive and no more: the phases are prefill (from
//! sending to the first text) and decode, and what the server says of itself is kept apart in
//! [`Reported`](crate::Reported).

mod account;
mod ahead;
mod answer;
mod call;
mod chunk;
mod connect;
mod exo;
mod failure;
mod http;
mod nonce;
mod process;
mod ready;
mod session;
mod settings;
mod software;
mod sse;

use models::Checkpoint;

use self::settings::Settings;
use crate::{Caps, Engine, EngineError, FlashAttention, Identity, KvType, LoadOptions, OpTimes, PhaseSplit, Session};

/// The engine's name in the registry.
pub(crate) const NAME: &str = "openai";

/// The engine that asks a server.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAi;

impl Engine for OpenAi {
    /// Its version is that of the client; the server's stands in [`Remote`](crate::Remote).
    fn identity(&self) -> Identity {
        Identity {
            name: NAME.to_owned(),
            variant: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: "server".to_owned(),
            features: Vec::new(),
        }
    }

    fn caps(&self) -> Caps {
        Caps {
            steps: false,
            op_times: OpTimes::None,
            phases: PhaseSplit { tokenize: false, sample: false, detokenize: false },
            thread_variables: &[],
            virtual_time: false,
            remote: true,
        }
    }

    fn check(&self, options: &LoadOptions) -> Result<(), EngineError> {
        connect::check(options, &Settings::new(&options.settings)?)?;
        let refused = [
            ("a device", options.device != "cpu"),
            ("a batch size", options.batch.is_some()),
            ("a type of the KV cache", options.kv_type != KvType::default()),
            ("a switch for flash attention", options.flash_attention != FlashAttention::default()),
        ];
        match refused.iter().find(|(_, is_given)| *is_given) {
            Some((what, _)) => Err(EngineError::Unsupported {
                engine: NAME,
                what: (*what).to_owned(),
                instead: "leave it out and tell the server, in its own command".to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// The server has its own weights: the checkpoint is not read.
    fn load(&self, _checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        self.connect(options)
    }

    fn connect(&self, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        self.check(options)?;
        connect::connect(options, Settings::new(&options.settings)?)
    }
}

/// The nearest name, when it is near enough to be a slip.
fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::jaro_winkler(&wanted.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(score, _)| *score >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
