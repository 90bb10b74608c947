//! Counters: the registry, the names that are accepted on the command line, and readings with the differences between them.
//!
//! Nothing here reads the machine: the platforms, `perf` and `energy` fill a [`Reading`].

mod intervals;
mod names;
mod reading;
mod registry;
mod requested;

pub(crate) use names::split_sysfs_event;
pub use names::{counter_by_name, counter_names, split_counter_names};
pub use reading::{CounterReading, CounterValue, MAX_COUNTERS, Reading, Tally};
pub use registry::{
    COUNTERS, CacheAccess, CacheEvent, CacheName, Counter, EnergyDomain, HardwareEvent, MacosFigure, ProcessUsage,
    SoftwareEvent, Source, Systems, default_counters, registered_counter,
};
pub(crate) use requested::RequestedCounters;
