//! What the numbers were measured on: machine, limits, state, versions, variables.
//!
//! On Linux everything comes from text files below one root ([`Root`]), so that the readers run on recorded trees in
//! tests; on macOS it comes from the system's calls, behind one edge for the same purpose. What cannot be read is `null`, and the `reasons` of the same object say why.
//! Nothing here judges: see [`crate::warnings`].

mod conditions;
mod features;
mod groups;
mod heat;
mod host;
mod limits;
#[cfg(any(test, target_os = "macos"))]
mod macos;
mod memory;
mod noise;
mod power;
mod pressure;
mod processor;
mod root;
mod state;
mod strain;
mod swap;
mod tool;
mod variables;

use serde::{Deserialize, Serialize};

use crate::results::Reasons;

pub use conditions::{Conditions, frequencies};
pub use features::{missing_in_build, present};
pub use groups::{GroupUsage, Groups};
pub use heat::{Heat, Sensor, read as read_heat};
pub use host::{Host, read as read_host};
pub use limits::{Limits, read as read_limits};
pub(crate) use memory::page_bytes;
pub use memory::{Memory, read as read_memory};
pub use noise::{Noise, noise};
pub use power::{Power, read as read_power};
pub use pressure::{Pressure, one as read_stall, read as read_pressure};
pub use processor::{Cache, CoreKind, Processor, read as read_processor, throttle_events_now};
pub use root::Root;
#[cfg(test)]
pub(crate) use root::tree as recorded_tree;
pub use state::{CpuTimes, State, read as read_state};
pub use strain::{Strain, Strained};
pub use swap::swapped_bytes;
pub use tool::{redacted, tool};
pub use variables::{Variables, read as read_variables};

/// The machine and its state when a run began.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// Operating system, kernel, virtualisation.
    pub host: Host,
    /// Processor, caches, frequencies.
    pub processor: Processor,
    /// Memory, huge pages, swap.
    pub memory: Memory,
    /// What a container or control group grants.
    pub limits: Limits,
    /// Where the power comes from.
    pub power: Power,
    /// Load and steal when the run began.
    pub state: State,
    /// Engines that took part, with their versions, in the order of the plan's labels.
    pub engines: Vec<engines::Identity>,
    /// Environment variables that change what is measured.
    pub variables: Variables,
}

impl Environment {
    /// Reads everything; takes about a tenth of a second, because load and steal are watched for that long.
    pub fn capture(engines: &[engines::Identity]) -> Self {
        let machine = machine();
        Self { engines: engines.to_vec(), variables: read_variables(std::env::vars_os()), ..machine }
    }

    /// Reads a Linux machine from the files below a root, without watching it: what recorded trees are read with.
    pub fn read(root: &Root) -> Self {
        Self {
            host: read_host(root),
            processor: read_processor(root),
            memory: read_memory(root),
            limits: read_limits(root),
            power: read_power(root),
            state: read_state(root),
            ..Self::default()
        }
    }
}

#[cfg(target_os = "macos")]
fn machine() -> Environment {
    macos::watched(&crate::meter::macos::Kernel)
}

#[cfg(not(target_os = "macos"))]
fn machine() -> Environment {
    let root = Root::system();
    let mut found = Environment::read(&root);
    state::watch(&root, &mut found.state);
    found
}

/// Takes a value that was found, or notes why it was not.
fn noted<T>(reasons: &mut Reasons, field: &str, found: Result<T, String>) -> Option<T> {
    found.map_err(|reason| reasons.insert(field.to_owned(), reason)).ok()
}
