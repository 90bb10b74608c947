//! Servers that compute in another process, through the HTTP interface of OpenAI's clients.
//!
//! A session is a connection to a running server, or to one that it starts. Servers are identified by their responses
//! (module `software`); each has its own options to bypass its prefix cache, to ignore the end of the text and to report its times. Only the arrival of text is observed: the phases are prefill (from sending the request
//! to the first text) and decode. What the server reports itself is in [`ServerReport`](crate::ServerReport).

mod address;
mod answers;
mod completion_chunk;
mod connect;
mod delta;
mod error;
mod exo;
mod finish;
mod http;
mod http_date;
mod load;
mod nonce;
mod preprocessing;
mod readiness;
mod refused_fields;
mod response;
mod server_process;
mod server_report;
mod server_request;
mod session;
mod settings;
mod software;
mod sse;
mod tinygrad_log;

use models::Checkpoint;

use self::settings::Settings;
use crate::{
    Caps, Device, Engine, EngineError, FlashAttention, Identity, KvTypes, LoadOptions, OpTimes, PhaseSplit, Session,
};

/// The engine's name in the registry.
pub(crate) const NAME: &str = "openai";

/// The engine that uses a server.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAi;

impl Engine for OpenAi {
    /// The version is that of the client; the server's is in [`ServerInfo`](crate::ServerInfo).
    fn identity_on(&self, _device: &Device) -> Identity {
        Identity {
            name: NAME.to_owned(),
            variant: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: Device::Server,
            features: Vec::new(),
            weight_use: crate::WeightUse::default(),
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
            needs_shape: false,
        }
    }

    fn check(&self, options: &LoadOptions) -> Result<(), EngineError> {
        connect::check(options, &Settings::new(&options.settings)?)?;
        let refused = [
            ("a device", options.device != Device::default()),
            ("a batch size", options.batch.is_some()),
            ("a type of the KV cache", options.kv_type != KvTypes::default()),
            ("a switch for flash attention", options.flash_attention != FlashAttention::default()),
        ];
        match refused.iter().find(|(_, is_given)| *is_given) {
            Some((what, _)) => {
                Err(EngineError::unsupported(NAME, *what, "leave it out, and set it in the server's own command"))
            }
            None => Ok(()),
        }
    }

    /// The server has its own weights: the checkpoint is not read.
    fn load(&self, _checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        self.connect(options, &mut |_| {})
    }

    fn connect(&self, options: &LoadOptions, notify: &mut dyn FnMut(&str)) -> Result<Box<dyn Session>, EngineError> {
        self.check(options)?;
        connect::connect(options, Settings::new(&options.settings)?, notify)
    }
}
