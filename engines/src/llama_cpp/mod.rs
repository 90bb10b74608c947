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

use models::{Checkpoint, Description, Format, Mixer, Spec};

use self::session::LlamaSession;
use self::settings::Settings;
use self::vocabulary::LlamaVocabulary;
use crate::{
    Caps, Device, Engine, EngineError, FlashAttention, Identity, KvTypes, LoadOptions, OpTimes, PhaseSplit, Session,
    Vocabulary,
};

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
            weight_use: raw::weight_use(),
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

    /// Their graphs take the rows of the outputs after the last block.
    fn whole_last_blocks(&self) -> &'static [&'static str] {
        &["gemma4", "gpt-oss", "qwen35", "qwen35moe"]
    }

    fn check(&self, options: &LoadOptions) -> Result<(), EngineError> {
        if options.device != Device::Cpu {
            return Err(unsupported(format!("the device `{}`", options.device), "use cpu: this build has no other"));
        }
        let settings = Settings::parse(&options.settings)?;
        settings.check_build(build_info::has_openmp())?;
        raw::check_priority(settings.priority)?;
        let values = options.kv_type.values;
        if values.is_quantised() && options.flash_attention == FlashAttention::Off {
            let what = format!("values of type {values} in the KV cache without fused attention");
            return Err(unsupported(what, "leave fused attention at auto, or take f16, bf16 or f32 for the values"));
        }
        Ok(())
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
        if let Some(spec) = described(checkpoint) {
            check_window(checkpoint, spec, options.context)?;
            check_blocks(spec, options.kv_type)?;
        }
        let settings = Settings::parse(&options.settings)?;
        settings.check_threads(options.threads, build_info::has_openmp())?;
        let batch = options.batch.unwrap_or(DEFAULT_BATCH).clamp(1, options.context.max(1));
        Ok(Box::new(LlamaSession::load(checkpoint, options, &settings, batch)?))
    }
}

/// The shape of the model, if the description holds for what llama.cpp computes with the tensors of this file.
fn described(checkpoint: &Checkpoint) -> Option<&Spec> {
    match (checkpoint.description(), checkpoint.otherwise_stored()) {
        (Description::Described(spec), None) => Some(spec),
        _ => None,
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

/// llama.cpp reads a cache head by head, so that a block must not reach from one head into the next. Without fused attention it ends the
/// process instead of reporting it.
fn check_blocks(spec: &Spec, types: KvTypes) -> Result<(), EngineError> {
    let of_keys_and_values = [("keys", types.keys), ("values", types.values)];
    let width = |mixer: &Mixer| match mixer {
        Mixer::Attention(attention) => Some(attention.head_dim),
        Mixer::LatentAttention(attention) => Some(attention.cache_width()),
        Mixer::ShortConvolution(_) | Mixer::GatedDeltaNet(_) => None,
    };
    let widths = spec.layers.iter().enumerate().filter_map(|(at, layer)| Some((at, width(&layer.mixer)?)));
    for (layer, width) in widths {
        let split = of_keys_and_values.iter().find(|(_, of)| !width.is_multiple_of(of.dtype().block_elems()));
        if let Some((what, of)) = split {
            let what = format!("{what} of type {of} in the KV cache with heads of width {width} (layer {layer})");
            let advice = format!("take f16, bf16 or f32: the width is no multiple of {}", of.dtype().block_elems());
            return Err(unsupported(what, &advice));
        }
    }
    Ok(())
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
        insta::assert_snapshot!(error.with_advice(), @"engine llama-cpp does not support the setting `mmpa`; its settings: load_mode=auto|none|mmap|mlock|mmap+mlock|dio, mmap=on|off, direct_io=on|off, lazy_mode=on|auto|off, repack=on|off, n_batch=TOKENS, threads_batch=THREADS, cpu_mask=0xBITS, cpu_strict=on|off, poll=0...100, prio=-1|0|1|2|3, numa=distribute|isolate|numactl, embeddings=on|off");
    }

    #[test]
    fn quantised_values_need_fused_attention() {
        let with = |types: &str, flash_attention| {
            let kv_type = types.parse().unwrap();
            LlamaCpp.check(&LoadOptions { kv_type, flash_attention, ..LoadOptions::default() })
        };
        insta::assert_snapshot!(with("q4_0", FlashAttention::Off).unwrap_err().with_advice(), @"engine llama-cpp does not support values of type q4_0 in the KV cache without fused attention; leave fused attention at auto, or take f16, bf16 or f32 for the values");
        assert!(with("q4_0,f16", FlashAttention::Off).is_ok() && with("q4_0", FlashAttention::Auto).is_ok());
    }
}
