//! The environment of a measurement: machine, limits, state, versions, variables.
//!
//! On Linux everything comes from text files below one [`Root`], on macOS from system calls behind one interface, so tests run on
//! recorded trees and recorded answers. A figure that cannot be read carries the reason. `analyse` judges the figures.

mod conditions;
mod control_groups;
mod heat;
mod host;
#[cfg(any(test, target_os = "macos"))]
mod macos;
mod memory;
mod noise;
mod power;
mod pressure;
mod pressure_reader;
mod processor;
mod state;
mod variables;

use record::Environment;

use crate::root::Root;

pub use conditions::{conditions_now, frequencies, read_conditions};
pub use control_groups::{ControlGroups, read_limits};
pub use heat::read as read_heat;
pub use host::read as read_host;
pub use memory::{page_bytes, read as read_memory, swapped_bytes};
pub use noise::{Noise, noise};
pub use power::read as read_power;
pub use pressure::{one as read_stall, read as read_pressure};
pub use pressure_reader::{PressureReader, PressureTotals, RequestPressure};
pub use processor::{read as read_processor, throttle_events_now};
pub use state::{CpuTimes, read as read_state};
pub use variables::read as read_variables;

/// Reads the machine and its state. It takes about a tenth of a second, during which load and steal are sampled.
pub fn capture(engines: &[engine_api::Identity]) -> Environment {
    Environment { engines: engines.to_vec(), variables: read_variables(std::env::vars_os()), ..machine() }
}

/// Reads a Linux machine from the files below a root, without sampling load and steal: for recorded trees.
pub fn read(root: &Root) -> Environment {
    Environment {
        host: read_host(root),
        processor: read_processor(root),
        memory: read_memory(root),
        limits: read_limits(root),
        power: read_power(root),
        state: read_state(root),
        ..Environment::default()
    }
}

#[cfg(target_os = "macos")]
fn machine() -> Environment {
    macos::sampled(&crate::macos::Kernel)
}

#[cfg(not(target_os = "macos"))]
fn machine() -> Environment {
    let root = Root::system();
    let mut found = read(&root);
    state::sample(&root, &mut found.state);
    found
}
