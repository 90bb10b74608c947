//! llama.cpp in this process, through its C interface, built for the processor of this machine as its users build it.
//!
//! llama.cpp itself maps (or reads, or repacks) the weights; tokenizer, KV cache, kernels and threads are its own. Times of ops come
//! from ggml's evaluation callback, which splits the graph at every op: their shares are meaningful, but their sum exceeds the time
//! of the whole graph. All `unsafe` code of this engine is in `raw`.

mod build_info;
mod ops;
mod raw;
mod session;
mod settings;
mod text_decoder;
mod vocabulary;
mod work;

use models::{Checkpoint, Description, Format, Spec};

use self::session::LlamaSession;
use self::settings::Settings;
use self::vocabulary::LlamaVocabulary;
use crate::{Caps, Device, Engine, EngineError, Identity, LoadOptions, OpTimes, PhaseSplit, Session, Vocabulary};

/// The name in the registry.
pub(crate) const NAME: &str = "llama-cpp";
/// Default number of prompt tokens per forward pass: llama-bench's `-ub`.
const DEFAULT_BATCH: usize = 512;

/// The engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct LlamaCpp;

impl Engine for LlamaCpp {
    fn identity_on(&self, _device: &Device) -> Identity {
        Identity {
            name: NAME.to_owned(),
            variant: None,
            version: build_info::version(),
            device: Device::Cpu,
            features: build_info::features(),
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
            needs_shape: false,
        }
    }

    fn prunes_last_block(&self) -> bool {
        true
    }

    fn check(&self, options: &LoadOptions) -> Result<(), EngineError> {
        if options.device != Device::Cpu {
            return Err(unsupported(format!("the device `{}`", options.device), "use cpu: this build has no other"));
        }
        Settings::parse(&options.settings).map(drop)
    }

    fn vocabulary(&self, checkpoint: &Checkpoint) -> Result<Option<Box<dyn Vocabulary>>, EngineError> {
        if checkpoint.format() != Format::Gguf {
            return Ok(None);
        }
        Ok(Some(Box::new(LlamaVocabulary::load(checkpoint.path())?)))
    }

    fn load(&self, checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        self.check(options)?;
        if checkpoint.format() != Format::Gguf {
            return Err(unsupported(
                format!("{}, which is not a GGUF file", checkpoint.path().display()),
                "use a .gguf file, or the engine candle",
            ));
        }
        if let Description::Described(spec) = checkpoint.description() {
            check_window(checkpoint, spec, options.context)?;
        }
        let settings = Settings::parse(&options.settings)?;
        let batch = options.batch.unwrap_or(DEFAULT_BATCH).clamp(1, options.context.max(1));
        Ok(Box::new(LlamaSession::load(checkpoint, options, &settings, batch)?))
    }
}

/// llama.cpp knows no window of these architectures; that of Mistral 7B comes from the registry.
fn check_window(checkpoint: &Checkpoint, spec: &Spec, context: usize) -> Result<(), EngineError> {
    let architecture = checkpoint.metadata().map(|metadata| metadata.text("general.architecture")).transpose()?;
    let ignores_window = matches!(architecture.flatten(), Some("llama" | "qwen2" | "qwen3"));
    match spec.smallest_window().filter(|window| ignores_window && context > *window) {
        None => Ok(()),
        Some(window) => Err(unsupported(
            format!("a context of {context} beyond this model's sliding window of {window}"),
            "keep the context within the window: llama.cpp attends to all positions",
        )),
    }
}

fn unsupported(what: String, advice: &str) -> EngineError {
    EngineError::unsupported(NAME, what, advice)
}

/// [`EngineError::Failed`] of this engine.
fn failed(place: &str, reason: impl Into<String>) -> EngineError {
    EngineError::failed(NAME, place, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Advice;

    #[test]
    fn unknown_settings_and_devices_are_refused_before_anything_is_loaded() {
        let on = |device: &str| LlamaCpp.check(&LoadOptions { device: device.into(), ..LoadOptions::default() });
        assert!(on("cpu").is_ok());
        insta::assert_snapshot!(on("metal").unwrap_err().with_advice(), @"engine llama-cpp does not support the device `metal`; use cpu: this build has no other");
        let settings = [("mmpa".to_owned(), redaction::Sensitive::setting("mmpa", "on"))].into();
        let error = LlamaCpp.check(&LoadOptions { settings, ..LoadOptions::default() }).unwrap_err();
        insta::assert_snapshot!(error.with_advice(), @"engine llama-cpp does not support the setting `mmpa`; its settings: load_mode=none|mmap|mlock|mmap+mlock|dio, mmap=on|off, repack=on|off, n_batch=N, threads_batch=N, cpu_mask=0x..., cpu_strict=on|off");
    }
}
