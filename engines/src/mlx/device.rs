//! Where MLX computes.

use mlx_rs::{Device, DeviceType};

use super::NAME;
use crate::EngineError;

/// What `--device` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// MLX's CPU back end.
    Cpu,
    /// Apple's GPU.
    Metal,
}

impl Place {
    /// Reads the name; one that this build cannot open is refused.
    pub(super) fn parse(name: &str) -> Result<Self, EngineError> {
        match name {
            "cpu" => Ok(Self::Cpu),
            "metal" | "metal:0" | "gpu" if cfg!(target_os = "macos") => Ok(Self::Metal),
            _ => Err(EngineError::Unsupported {
                engine: NAME,
                what: format!("the device `{name}`"),
                instead: "give cpu, or metal on macOS".to_owned(),
            }),
        }
    }

    /// Refuses a number of threads that would not be kept: on the CPU, MLX computes a stream's operations on one thread,
    /// and has no setting for it. On the GPU the number says nothing.
    pub(super) fn check_threads(self, wanted: usize) -> Result<(), EngineError> {
        if self == Self::Metal || wanted == 1 {
            return Ok(());
        }
        Err(EngineError::Threads {
            engine: NAME,
            found: 1,
            wanted,
            variable: "nothing: MLX has no setting for it on the CPU; give -t 1",
        })
    }

    /// Makes it the device of all that follows on this thread. MLX keeps one for the process; to set it again costs nothing.
    pub(super) fn enter(self) {
        let kind = match self {
            Self::Cpu => DeviceType::Cpu,
            Self::Metal => DeviceType::Gpu,
        };
        Device::set_default(&Device::new(kind, 0));
    }
}
