//! MLX in this process: the decoder of all models on mlx-rs, on Apple's GPUs and on MLX's CPU back end.
//!
//! Weights are copied into MLX's own memory in a form that holds the same numbers (`weight`). MLX computes when a result
//! is asked for: `pipeline` asks for the next token's before it reads the last one's, the steps wait for each result, and
//! while marks are recorded the decoder waits after every operation, so that an op's time is its own. Nothing here is
//! timed. A session belongs to the thread that made it, as MLX's streams do.

mod attention;
mod choice;
mod decoder;
mod device;
mod pipeline;
mod repack;
mod session;
mod settings;
mod weight;
mod widen;

use models::Checkpoint;

use self::device::Place;
use self::session::MlxSession;
use self::settings::Settings;
use crate::{Caps, Engine, EngineError, FlashAttention, Identity, LoadOptions, OpTimes, PhaseSplit, Session};

/// The name in the registry.
pub(crate) const NAME: &str = "mlx";
/// The version of MLX that mlx-rs is built on; a test holds it to the lock file.
const MLX_VERSION: &str = "0.32.2";
/// Prompt tokens per forward pass, unless asked otherwise.
const DEFAULT_BATCH: usize = 512;

/// The engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mlx;

impl Engine for Mlx {
    fn identity(&self) -> Identity {
        let features: &[&str] = if cfg!(target_os = "macos") { &["metal", "accelerate"] } else { &[] };
        Identity {
            name: NAME.to_owned(),
            variant: None,
            version: MLX_VERSION.to_owned(),
            device: if cfg!(target_os = "macos") { "cpu or metal" } else { "cpu" }.to_owned(),
            features: features.iter().map(|feature| (*feature).to_owned()).collect(),
        }
    }

    fn caps(&self) -> Caps {
        Caps {
            steps: true,
            // The caller waits for each op while marks are recorded, so the time on the host is the op's own, and what it
            // takes to hand it over and to learn of its end.
            op_times: OpTimes::Host,
            // The token is chosen on the device, in the step that makes its logits.
            phases: PhaseSplit { tokenize: true, sample: false, detokenize: true },
            thread_variables: &[],
            virtual_time: false,
            remote: false,
        }
    }

    fn check(&self, options: &LoadOptions) -> Result<(), EngineError> {
        let place = Place::parse(&options.device)?;
        Settings::new(&options.settings)?;
        if options.flash_attention != FlashAttention::Auto {
            let what = "a choice of attention: MLX fuses it where it has a kernel for the shape".to_owned();
            let instead = "leave --flash-attn at auto".to_owned();
            return Err(EngineError::Unsupported { engine: NAME, what, instead });
        }
        place.check_threads(options.threads)
    }

    fn load(&self, checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        self.check(options)?;
        Ok(Box::new(MlxSession::load(checkpoint, options)?))
    }
}

/// The engine failed at a place.
fn failed(place: &str, reason: impl Into<String>) -> EngineError {
    EngineError::Failed { engine: NAME, place: place.to_owned(), reason: reason.into() }
}

/// What MLX said, with its place.
fn at(place: &'static str) -> impl Fn(mlx_rs::error::Exception) -> EngineError {
    move |error| failed(place, error.what())
}

/// A size as MLX counts.
fn int(size: usize) -> Result<i32, EngineError> {
    i32::try_from(size).map_err(|_| failed("sizes", format!("{size} is more than an array of MLX can hold")))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_cannot_be_kept_is_refused_before_anything_is_loaded() {
        let check = |options: LoadOptions| Mlx.check(&options);
        assert!(check(LoadOptions::default()).is_ok());
        assert!(matches!(
            check(LoadOptions { threads: 2, ..LoadOptions::default() }),
            Err(EngineError::Threads { found: 1, .. })
        ));
        let error = check(LoadOptions { flash_attention: FlashAttention::On, ..LoadOptions::default() }).unwrap_err();
        insta::assert_snapshot!(error, @"engine mlx does not support a choice of attention: MLX fuses it where it has a kernel for the shape; leave --flash-attn at auto");
        let on = |device: &str| check(LoadOptions { device: device.to_owned(), ..LoadOptions::default() });
        insta::assert_snapshot!(on("cuda:0").unwrap_err(), @"engine mlx does not support the device `cuda:0`; give cpu, or metal on macOS");
    }
}
