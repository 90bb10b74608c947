//! llama.cpp in this process, through its C interface, built with the processor's own instructions as its users build it.
//!
//! The weights are mapped (or read, or repacked) by llama.cpp itself; tokenizer, KV cache, kernels and threads are its own.
//! Times of ops come from ggml's evaluation callback, which splits the graph at every op: their shares mean something, their
//! sum is more than what the same work takes in one piece. All `unsafe` of this engine stands in `raw`.

mod about;
mod ops;
mod raw;
mod session;
mod settings;
mod utf8;

use models::{Checkpoint, Format};

use self::session::LlamaSession;
use self::settings::Settings;
use crate::{Caps, Engine, EngineError, Identity, LoadOptions, OpTimes, PhaseSplit, Session};

/// The name in the registry.
pub(crate) const NAME: &str = "llama-cpp";
/// Prompt tokens per forward pass, unless asked otherwise: llama-bench's `-ub`.
const DEFAULT_BATCH: usize = 512;

/// The engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct LlamaCpp;

impl Engine for LlamaCpp {
    fn identity(&self) -> Identity {
        Identity {
            name: NAME.to_owned(),
            variant: None,
            version: about::version(),
            device: "cpu".to_owned(),
            features: about::features(),
        }
    }

    fn caps(&self) -> Caps {
        Caps {
            steps: true,
            op_times: OpTimes::Host,
            phases: PhaseSplit { tokenize: true, sample: true, detokenize: true },
            thread_variables: &[],
            virtual_time: false,
            remote: false,
        }
    }

    fn prunes_last_block(&self) -> bool {
        true
    }

    fn check(&self, options: &LoadOptions) -> Result<(), EngineError> {
        if options.device != "cpu" {
            return Err(unsupported(format!("the device `{}`", options.device), "give cpu: this build has no other"));
        }
        Settings::parse(&options.settings).map(drop)
    }

    fn load(&self, checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        self.check(options)?;
        if checkpoint.format() != Format::Gguf {
            return Err(unsupported(
                format!("{}, which is no GGUF file", checkpoint.path().display()),
                "give a .gguf file, or take the engine candle",
            ));
        }
        let spec = checkpoint.spec();
        if let Some(window) = spec.window.filter(|window| options.context > *window) {
            return Err(unsupported(
                format!("a context of {} beyond this model's sliding window of {window}", options.context),
                "it would compute something else there: keep the context within the window",
            ));
        }
        let settings = Settings::parse(&options.settings)?;
        let batch = options.batch.unwrap_or(DEFAULT_BATCH).clamp(1, options.context.max(1));
        Ok(Box::new(LlamaSession::load(checkpoint, options, &settings, batch)?))
    }
}

fn unsupported(what: String, instead: &str) -> EngineError {
    EngineError::Unsupported { engine: NAME, what, instead: instead.to_owned() }
}

/// The engine failed at a place.
fn failed(place: &str, reason: impl Into<String>) -> EngineError {
    EngineError::Failed { engine: NAME, place: place.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_does_not_have_is_refused_before_anything_is_loaded() {
        let on = |device: &str| LlamaCpp.check(&LoadOptions { device: device.to_owned(), ..LoadOptions::default() });
        assert!(on("cpu").is_ok());
        insta::assert_snapshot!(on("metal").unwrap_err(), @"engine llama-cpp does not support the device `metal`; give cpu: this build has no other");
        let settings = [("mmpa".to_owned(), "on".to_owned())].into();
        let error = LlamaCpp.check(&LoadOptions { settings, ..LoadOptions::default() }).unwrap_err();
        insta::assert_snapshot!(error, @"engine llama-cpp does not support the setting `mmpa`; its settings: mmap=on|off, repack=on|off");
    }
}
