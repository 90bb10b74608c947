//! MLX in this process: the decoder of all models on mlx-rs, on Apple's GPUs and on MLX's CPU back end.
//!
//! Weights are copied into MLX's memory without rounding (`weight`). MLX computes when a result is requested: a request enqueues
//! the step of the next token before it reads the last one, the single steps wait for each result, and while marks are recorded the
//! decoder waits after every operation, so that an op's time is its own. Nothing here is timed. A session belongs to the thread that
//! made it, as MLX's streams do.

mod attention;
mod decoder;
mod device;
mod next_token;
mod repack;
mod session;
mod settings;
mod weight;

use models::Checkpoint;

use self::session::MlxSession;
use self::settings::Settings;
use crate::kv_cache;
use crate::{
    Caps, Device, Engine, EngineError, FlashAttention, Identity, LoadOptions, OpTimes, PhaseSplit, Session, WeightUse,
};

/// The name in the registry.
pub(crate) const NAME: &str = "mlx";
/// The version of MLX in mlx-rs; a test compares it with the lock file.
const MLX_VERSION: &str = "0.32.2";
/// Default number of prompt tokens per forward pass.
const DEFAULT_BATCH: usize = 512;

/// The engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mlx;

impl Engine for Mlx {
    fn identity_on(&self, device: &Device) -> Identity {
        let features: &[&str] = if cfg!(target_os = "macos") { &["metal", "accelerate"] } else { &[] };
        Identity {
            name: NAME.to_owned(),
            variant: None,
            version: MLX_VERSION.to_owned(),
            device: if device::is_gpu(device) { Device::Metal(0) } else { device.clone() },
            features: features.iter().map(|feature| (*feature).to_owned()).collect(),
            weight_use: WeightUse::default(),
        }
    }

    fn caps(&self) -> Caps {
        Caps {
            steps: true,
            // While marks are recorded the decoder waits for each op: the time on the host is that of the op and of enqueuing it.
            op_times: OpTimes::Host,
            // The token is sampled on the device, in the step that computes its logits.
            phases: PhaseSplit { tokenize: true, sample: false, detokenize: true },
            thread_variables: &[],
            virtual_time: false,
            remote: false,
            needs_shape: true,
        }
    }

    fn check(&self, options: &LoadOptions) -> Result<(), EngineError> {
        device::check(&options.device)?;
        Settings::new(&options.settings)?;
        kv_cache::choose(NAME, options.kv_type, &decoder::KV_TYPES)?;
        if options.flash_attention != FlashAttention::Auto {
            let what = "a choice of attention: MLX fuses it if it has a kernel for the shape";
            return Err(EngineError::unsupported(NAME, what, "leave flash attention at auto"));
        }
        device::check_threads(&options.device, options.threads)
    }

    fn load(&self, checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        self.check(options)?;
        Ok(Box::new(MlxSession::load(checkpoint, options)?))
    }
}

/// [`EngineError::Failed`] of this engine.
fn failed(place: &str, reason: impl Into<String>) -> EngineError {
    EngineError::failed(NAME, place, reason)
}

/// Converts an error of MLX and adds its place.
fn at(place: &'static str) -> impl Fn(mlx_rs::error::Exception) -> EngineError {
    move |error| failed(place, error.what())
}

/// A size in MLX's type.
fn int(size: usize) -> Result<i32, EngineError> {
    i32::try_from(size).map_err(|_| failed("sizes", format!("{size} is too large for an array of MLX")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Advice;

    #[test]
    fn the_version_is_that_of_the_lock_file_and_of_the_recipe() {
        let read = |path: &str| {
            std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).expect("it is in the repository")
        };
        let versions = read("mlx-on-linux/versions");
        let version = |name: &str| {
            let line = versions.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.expect("the recipe names this version").to_owned()
        };
        assert_eq!(version("MLX"), MLX_VERSION);
        let lock = read("../Cargo.lock");
        assert!(
            lock.contains(&format!("name = \"mlx-sys\"\nversion = \"{}\"", version("MLX_SYS"))),
            "mlx-sys moved on"
        );
    }

    #[test]
    fn unsupported_options_are_refused_before_anything_is_loaded() {
        let check = |options: LoadOptions| Mlx.check(&options);
        assert!(check(LoadOptions::default()).is_ok());
        assert!(matches!(
            check(LoadOptions { threads: 2, ..LoadOptions::default() }),
            Err(EngineError::Threads { found: 1, .. })
        ));
        let error = check(LoadOptions { flash_attention: FlashAttention::On, ..LoadOptions::default() }).unwrap_err();
        insta::assert_snapshot!(error.with_advice(), @"engine mlx does not support a choice of attention: MLX fuses it if it has a kernel for the shape; leave flash attention at auto");
        let on = |device: &str| check(LoadOptions { device: device.into(), ..LoadOptions::default() });
        insta::assert_snapshot!(on("cuda:0").unwrap_err().with_advice(), @"engine mlx does not support the device `cuda:0`; use cpu, or metal on macOS");
    }
}
