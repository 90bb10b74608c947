//! The default engine: one decoder of our own on candle-core, for all models of the registry.
//!
//! On the CPU the weights stay in the mapped file and the arithmetic is that of `cpu`; on other devices, and as the
//! variant `tensor` on the CPU too, it runs as candle's tensor operations. Nothing here is timed.

mod cpu;
mod decoder;
mod kernels;
mod session;
mod settings;
mod tensor;

use models::Checkpoint;

use self::cpu::Cpu;
use self::decoder::Decoder;
use self::session::{CandleSession, guarded};
use self::settings::Settings;
use self::tensor::OnDevice;
use crate::text::Text;
use crate::{Caps, Engine, EngineError, FlashAttention, Identity, LoadOptions, OpTimes, PhaseSplit, Session};

/// The name in the registry.
pub(crate) const NAME: &str = "candle";
/// The version of candle-core that this is built on; a test holds it to the lock file.
const CANDLE_VERSION: &str = "0.11.1";
/// Prompt tokens per forward pass, unless asked otherwise.
const DEFAULT_BATCH: usize = 512;
/// What candle reads its thread count from, once per process.
const THREAD_VARIABLES: [&str; 2] = crate::threads::VARIABLES;

/// Which kernels compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    /// Those of the device: on the CPU our own, elsewhere candle's tensor operations.
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
    fn identity(&self) -> Identity {
        Identity {
            name: NAME.to_owned(),
            variant: (self.variant == Variant::Tensor).then(|| "tensor".to_owned()),
            version: CANDLE_VERSION.to_owned(),
            device: "cpu".to_owned(),
            features: features(),
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
        }
    }

    fn check(&self, options: &LoadOptions) -> Result<(), EngineError> {
        let place = tensor::Place::parse(&options.device)?;
        Settings::new(&options.settings)?;
        check_attention(options, place == tensor::Place::Cpu && self.variant == Variant::Native)
    }

    fn load(&self, checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        self.check(options)?;
        let settings = Settings::new(&options.settings)?;
        settings.check_layers(checkpoint.spec().layers)?;
        check_threads(options.threads)?;
        let device = tensor::Place::parse(&options.device)?.open()?;
        let is_fused = device.is_cpu() && self.variant == Variant::Native;
        let batch = options.batch.unwrap_or(DEFAULT_BATCH).clamp(1, options.context.max(1));
        let text = Text::new(NAME, checkpoint);
        let spec = checkpoint.spec();
        let context = options.context;
        guarded("load", || {
            if is_fused {
                let decoder = Decoder::load(Cpu::new(spec, options, batch), checkpoint, batch, settings.extra_mlp)?;
                return Ok(Box::new(CandleSession::new(decoder, text, context)) as Box<dyn Session>);
            }
            let kernels = OnDevice::new(spec, options, batch, device)?;
            let decoder = Decoder::load(kernels, checkpoint, batch, settings.extra_mlp)?;
            Ok(Box::new(CandleSession::new(decoder, text, context)) as Box<dyn Session>)
        })
    }
}

/// Refuses attention that the kernels do not have.
fn check_attention(options: &LoadOptions, is_fused: bool) -> Result<(), EngineError> {
    let refused = match (options.flash_attention, is_fused) {
        (FlashAttention::Off, true) => Some(("attention that is not fused on the CPU", "candle:tensor")),
        (FlashAttention::On, false) => Some(("fused attention by tensor operations", "candle on the CPU")),
        _ => None,
    };
    if let Some((what, other)) = refused {
        let instead = format!("leave --flash-attn at auto, or take {other}");
        return Err(EngineError::Unsupported { engine: NAME, what: what.to_owned(), instead });
    }
    Ok(())
}

/// Refuses a number of threads that this process does not have: candle counts them once.
fn check_threads(wanted: usize) -> Result<(), EngineError> {
    let found = cpu::threads();
    if found == wanted {
        return Ok(());
    }
    Err(EngineError::Threads { engine: NAME, found, wanted, variable: THREAD_VARIABLES[0] })
}

/// The engine failed at a place.
pub(crate) fn failed(place: &str, reason: impl Into<String>) -> EngineError {
    EngineError::Failed { engine: NAME, place: place.to_owned(), reason: reason.into() }
}

/// What the build allows the kernels to use.
fn features() -> Vec<String> {
    let all = [
        ("avx2", cfg!(target_feature = "avx2")),
        ("fma", cfg!(target_feature = "fma")),
        ("f16c", cfg!(target_feature = "f16c")),
        ("avx512f", cfg!(target_feature = "avx512f")),
        ("avx512vnni", cfg!(target_feature = "avx512vnni")),
        ("neon", cfg!(target_feature = "neon")),
        ("dotprod", cfg!(target_feature = "dotprod")),
        ("cuda", cfg!(feature = "cuda")),
        ("metal", cfg!(target_os = "macos")),
        ("accelerate", cfg!(target_os = "macos")),
        ("mkl", cfg!(feature = "mkl")),
    ];
    all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn threads_that_this_process_does_not_have_are_refused() {
        let wanted = cpu::threads() + 1;
        assert!(matches!(check_threads(wanted), Err(EngineError::Threads { wanted: told, .. }) if told == wanted));
    }

    #[test]
    fn unknown_settings_and_devices_are_refused_before_anything_is_loaded() {
        let engine = Candle::default();
        let settings = [("bogus".to_owned(), "1".to_owned())].into();
        let options = LoadOptions { settings, ..LoadOptions::default() };
        assert!(engine.check(&options).unwrap_err().to_string().contains("`bogus`"));
        let on = |device: &str| engine.check(&LoadOptions { device: device.to_owned(), ..LoadOptions::default() });
        assert!(on("cpu").is_ok());
        insta::assert_snapshot!(on("tpu").unwrap_err(), @"engine candle does not support the device `tpu`; give cpu, cuda:N or metal:N");
        insta::assert_snapshot!(on("cuda:x").unwrap_err(), @"engine candle does not support the device `cuda:x`; give cpu, cuda:N or metal:N with a number N");
    }
}
