//! The default engine: the decoder of this project on candle-core, for all models of the registry.
//!
//! On the CPU the weights stay in the mapped file and the kernels are those of `cpu`. On other devices, and on the CPU in the
//! variant `tensor`, candle's tensor operations compute. Nothing here is timed.

mod attention;
mod cpu;
mod decoder;
mod feed_forward;
mod gated_delta_net;
mod kernels;
mod latent_attention;
mod layer_inputs;
mod mixer;
mod recurrent;
mod routing;
mod session;
mod settings;
mod short_convolution;
mod source;
mod stream;
mod tensor;

use models::Checkpoint;

use self::cpu::{Cpu, Level};
use self::decoder::Decoder;
use self::session::{CandleSession, catch_panic};
use self::settings::Settings;
use self::tensor::OnDevice;
use crate::kv_cache;
use crate::text::Text;
use crate::{
    Caps, Device, Engine, EngineError, FlashAttention, Identity, LoadOptions, OpTimes, PhaseSplit, Session, WeightUse,
};

/// The name in the registry.
pub(crate) const NAME: &str = "candle";
/// The version of candle-core; a test compares it with the lock file.
const CANDLE_VERSION: &str = "0.11.1";
/// Default number of prompt tokens per forward pass.
const DEFAULT_BATCH: usize = 512;
/// The variables from which candle reads its thread count, once per process.
const THREAD_VARIABLES: [&str; 2] = crate::threads::VARIABLES;

/// Which kernels compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    /// On the CPU the fused kernels of this crate, on other devices candle's tensor operations.
    #[default]
    Native,
    /// Candle's tensor operations everywhere.
    Tensor,
}

/// The engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Candle {
    /// Which kernels compute.
    pub variant: Variant,
}

impl Candle {
    /// Threads that candle computes with in this process.
    #[must_use]
    pub fn threads() -> usize {
        cpu::threads()
    }
}

impl Engine for Candle {
    fn identity_on(&self, device: &Device) -> Identity {
        Identity {
            name: NAME.to_owned(),
            variant: (self.variant == Variant::Tensor).then(|| "tensor".to_owned()),
            version: CANDLE_VERSION.to_owned(),
            device: device.clone(),
            features: self.features(),
            weight_use: WeightUse::default(),
        }
    }

    fn caps(&self) -> Caps {
        Caps {
            steps: true,
            op_times: OpTimes::Host,
            phases: PhaseSplit { tokenize: true, sample: true, detokenize: true },
            thread_variables: &THREAD_VARIABLES,
            virtual_time: false,
            remote: false,
            needs_shape: true,
        }
    }

    fn check(&self, options: &LoadOptions) -> Result<(), EngineError> {
        tensor::check_device(&options.device)?;
        Settings::new(&options.settings)?;
        let is_fused = options.device == Device::Cpu && self.variant == Variant::Native;
        match is_fused {
            true => kv_cache::choose(NAME, options.kv_type, &cpu::KV_TYPES).map(drop)?,
            false => kv_cache::choose(NAME, options.kv_type, &tensor::KV_TYPES).map(drop)?,
        }
        check_attention(options, is_fused)
    }

    fn load(&self, checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        self.check(options)?;
        let settings = Settings::new(&options.settings)?;
        settings.check_layers(checkpoint.spec()?.layers.len())?;
        check_threads(options.threads)?;
        let device = tensor::open_device(&options.device)?;
        let is_fused = device.is_cpu() && self.variant == Variant::Native;
        let batch = options.batch.unwrap_or(DEFAULT_BATCH).clamp(1, options.context.max(1));
        let text = Text::new(NAME, checkpoint);
        let context = options.context;
        let extra = settings.extra_mlp;
        catch_panic("load", || {
            if is_fused {
                let level = settings.instructions.unwrap_or_else(Level::detect);
                let kernels = Cpu::new(options, batch, kv_cache::choose(NAME, options.kv_type, &cpu::KV_TYPES)?, level);
                let decoder = Decoder::load(kernels, checkpoint, options, batch, extra)?;
                return Ok(Box::new(CandleSession::new(decoder, text, context)) as Box<dyn Session>);
            }
            let kv_type = kv_cache::choose(NAME, options.kv_type, &tensor::KV_TYPES)?;
            let kernels = OnDevice::new(options, batch, device, kv_type);
            let decoder = Decoder::load(kernels, checkpoint, options, batch, extra)?;
            Ok(Box::new(CandleSession::new(decoder, text, context)) as Box<dyn Session>)
        })
    }
}

/// Refuses a kind of attention that the kernels do not implement.
fn check_attention(options: &LoadOptions, is_fused: bool) -> Result<(), EngineError> {
    let refused = match (options.flash_attention, is_fused) {
        (FlashAttention::Off, true) => Some(("attention that is not fused on the CPU", "candle:tensor")),
        (FlashAttention::On, false) => Some(("fused attention with tensor operations", "candle on the CPU")),
        (FlashAttention::Auto, _) | (FlashAttention::On, true) | (FlashAttention::Off, false) => None,
    };
    if let Some((what, other)) = refused {
        return Err(EngineError::unsupported(NAME, what, format!("leave flash attention at auto, or use {other}")));
    }
    Ok(())
}

/// Refuses a thread count that this process does not have: candle sets it once.
fn check_threads(wanted: usize) -> Result<(), EngineError> {
    let found = cpu::threads();
    if found == wanted {
        return Ok(());
    }
    let advice = format!("set {}={wanted} before the process starts; it is read once", THREAD_VARIABLES[0]);
    Err(EngineError::Threads { engine: NAME, found, wanted, advice })
}

/// [`EngineError::Failed`] of this engine.
pub(crate) fn failed(place: &str, reason: impl Into<String>) -> EngineError {
    EngineError::failed(NAME, place, reason)
}

impl Candle {
    /// What the kernels use: instructions of this processor, for candle's kernels those of the build, and libraries.
    fn features(self) -> Vec<String> {
        let of_build = [
            ("avx2", cfg!(target_feature = "avx2")),
            ("fma", cfg!(target_feature = "fma")),
            ("f16c", cfg!(target_feature = "f16c")),
            ("avx512f", cfg!(target_feature = "avx512f")),
            ("avx512vnni", cfg!(target_feature = "avx512vnni")),
            ("neon", cfg!(target_feature = "neon")),
            ("dotprod", cfg!(target_feature = "dotprod")),
        ];
        let libraries = [
            ("cuda", cfg!(feature = "cuda")),
            ("metal", cfg!(target_os = "macos")),
            ("accelerate", cfg!(target_os = "macos")),
            ("mkl", cfg!(feature = "mkl")),
        ];
        let names = |all: &[(&'static str, bool)]| all.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
        let instructions: Vec<&str> = match self.variant {
            Variant::Native => Level::detect().features().to_vec(),
            Variant::Tensor => names(&of_build),
        };
        let libraries: Vec<&str> = names(&libraries);
        instructions.into_iter().chain(libraries).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Advice;

    #[test]
    fn the_version_is_that_of_the_lock_file() {
        let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");
        let lock = std::fs::read_to_string(lock).expect("the workspace has a lock file");
        assert!(
            lock.contains(&format!("name = \"candle-core\"\nversion = \"{CANDLE_VERSION}\"")),
            "candle-core moved on"
        );
    }

    #[test]
    fn a_thread_count_that_this_process_does_not_have_is_refused() {
        let wanted = cpu::threads() + 1;
        assert!(
            matches!(check_threads(wanted), Err(EngineError::Threads { wanted: reported, .. }) if reported == wanted)
        );
    }

    #[test]
    fn the_identity_names_the_device_that_computes() {
        let engine = Candle::default();
        assert_eq!(engine.identity().device, Device::Cpu);
        for device in [Device::Cpu, Device::Cuda(0), Device::Cuda(1), Device::Metal(0)] {
            assert_eq!(engine.identity_on(&device).device, device);
        }
    }

    #[test]
    fn unknown_settings_and_devices_are_refused_before_anything_is_loaded() {
        let engine = Candle::default();
        let settings = [("bogus".to_owned(), redaction::Sensitive::setting("bogus", "1"))].into();
        let options = LoadOptions { settings, ..LoadOptions::default() };
        assert!(engine.check(&options).unwrap_err().to_string().contains("`bogus`"));
        let on = |device: &str| engine.check(&LoadOptions { device: device.into(), ..LoadOptions::default() });
        assert!(on("cpu").is_ok());
        insta::assert_snapshot!(on("tpu").unwrap_err().with_advice(), @"engine candle does not support the device `tpu`; use cpu, cuda:N or metal:N");
        insta::assert_snapshot!(on("cuda:x").unwrap_err().with_advice(), @"engine candle does not support the device `cuda:x`; use cpu, cuda:N or metal:N");
    }
}
