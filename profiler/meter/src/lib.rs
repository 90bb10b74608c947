//! Instruments: counters, memory, energy, the page cache, processes, and the machine's conditions.
//!
//! A value that a platform lacks is a [`record::Reason`] that says why and what to do, never a zero. Each platform is one
//! folder behind the name `platform`; the arithmetic is shared. Counters are never reset: what a phase used is the difference
//! of two readings (an inherited perf counter keeps the counts of ended threads through a reset).
//!
//! ```text
//! counters  memory  load  root  process_snapshot     types and arithmetic, no system calls
//!     └─ perf  energy                                perf events and energy counters, behind replaceable system interfaces
//!          └─ linux or macos (`platform`)            system calls and files of one system
//!               └─ meter  memory_sampler  process  environment
//! ```

#[macro_use]
mod reason;

mod counters;
mod energy;
pub mod environment;
pub mod heap;
mod load;
mod memory;
mod memory_sampler;
mod meter;
mod numa;
#[cfg_attr(not(target_os = "linux"), allow(dead_code, unused_imports, reason = "only Linux opens perf events"))]
mod perf;
pub mod process;
mod process_snapshot;
pub mod root;
mod virtual_machine;

#[cfg(target_os = "linux")]
#[path = "linux/mod.rs"]
mod platform;
// Tests on every system run it on recorded answers.
#[cfg(any(test, target_os = "macos"))]
pub(crate) mod macos;
#[cfg(target_os = "macos")]
use macos as platform;
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
compile_error!("only Linux and macOS are supported; add a folder next to meter/src/linux for this system");

pub use counters::{
    COUNTERS, CacheAccess, CacheEvent, CacheName, Counter, CounterReading, CounterValue, EnergyDomain, HardwareEvent,
    MAX_COUNTERS, MacosFigure, ProcessUsage, Reading, SoftwareEvent, Source, Systems, Tally, counter_by_name,
    counter_names, default_counters, registered_counter, split_counter_names,
};
pub use energy::{Energy, EnergySpan};
pub use load::MachineLoad;
pub use memory::{Memory, MemoryPoint};
pub use memory_sampler::{MemorySampler, MemorySamples};
pub use meter::{Meter, huge_pages, machine_load};
pub use numa::numa_placement;
#[cfg(all(any(test, feature = "call-counts"), target_os = "linux"))]
pub use platform::calls;
pub use platform::page_cache;
pub use root::Root;
pub use virtual_machine::VIRTUAL;
