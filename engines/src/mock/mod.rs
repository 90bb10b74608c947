//! A simulated engine: times come from a small machine model on a virtual clock, tokens from a hash of the context. Callers of
//! an engine can be tested with exact results, failures included.
//!
//! It takes the shape, the weight types and the tokenizer from a real checkpoint, and reads no weights.

mod limits;
mod machine;
mod session;
mod settings;

use models::Checkpoint;

pub use self::limits::{Limits, limits};
use self::session::MockSession;
use self::settings::Settings;
use crate::{Caps, Device, Engine, EngineError, Identity, LoadOptions, OpTimes, PhaseSplit, Session, WeightUse};

/// The name in the registry.
pub const NAME: &str = "mock";

/// The engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mock;

impl Engine for Mock {
    fn identity_on(&self, _device: &Device) -> Identity {
        Identity {
            name: NAME.to_owned(),
            variant: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: Device::Virtual,
            features: Vec::new(),
            weight_use: WeightUse::default(),
        }
    }

    fn caps(&self) -> Caps {
        Caps {
            steps: true,
            op_times: OpTimes::Host,
            phases: PhaseSplit { tokenize: true, sample: true, detokenize: true },
            thread_variables: &[],
            virtual_time: true,
            remote: false,
            needs_shape: true,
        }
    }

    fn check(&self, options: &LoadOptions) -> Result<(), EngineError> {
        Settings::new(&options.settings).map(|_| ())
    }

    fn load(&self, checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(MockSession::new(checkpoint, options, Settings::new(&options.settings)?)?))
    }
}
