//! The devices of MLX.

use mlx_rs::DeviceType;

use super::NAME;
use crate::{Device, EngineError};

/// Refuses a device that this build cannot use. `gpu` is another name of Apple's GPU.
pub(super) fn check(device: &Device) -> Result<(), EngineError> {
    match device {
        Device::Cpu => Ok(()),
        _ if is_gpu(device) => Ok(()),
        _ => Err(EngineError::unsupported(NAME, format!("the device `{device}`"), "use cpu, or metal on macOS")),
    }
}

/// Whether this is Apple's GPU, and this build can use it.
pub(super) fn is_gpu(device: &Device) -> bool {
    let is_named = match device {
        Device::Metal(0) => true,
        Device::Other(name) => name == "gpu",
        _ => false,
    };
    is_named && cfg!(target_os = "macos")
}

/// Refuses a thread count that has no effect: on the CPU, MLX computes the operations of a stream on one thread. On the GPU the number
/// has no meaning.
pub(super) fn check_threads(device: &Device, wanted: usize) -> Result<(), EngineError> {
    if is_gpu(device) || wanted == 1 {
        return Ok(());
    }
    let advice = "request 1 thread: MLX has no setting for it on the CPU".to_owned();
    Err(EngineError::Threads { engine: NAME, found: 1, wanted, advice })
}

/// Makes it the device of all following operations. MLX keeps one default device per process; setting it again is free.
pub(super) fn make_default(device: &Device) {
    let kind = if is_gpu(device) { DeviceType::Gpu } else { DeviceType::Cpu };
    mlx_rs::Device::set_default(&mlx_rs::Device::new(kind, 0));
}
