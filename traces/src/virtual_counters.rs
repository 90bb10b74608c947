//! The counters of a machine with a virtual clock: processor time, page faults, bytes from storage, allocations.
//!
//! An engine with a virtual clock computes nothing, so the system's counters do not describe it. Such an engine adds to these
//! counters whenever it advances the clock, and the instruments read them instead of the system's. They belong to the
//! thread, like its clock, and only grow: the value of an interval is the difference of two readings.

use std::cell::Cell;

use crate::{Nanos, clock};

thread_local! {
    static COUNTERS: Cell<VirtualCounters> = const { Cell::new(VirtualCounters::ZERO) };
    static HARDWARE_COUNTERS: Cell<usize> = const { Cell::new(0) };
}

/// The counters of a virtual machine since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VirtualCounters {
    /// Processor time of all processors, idle time included.
    pub capacity: Nanos,
    /// Processor time of this process.
    pub cpu: Nanos,
    /// Processor time of other processes.
    pub other_processes_cpu: Nanos,
    /// Processor time that the hypervisor gave to other guests.
    pub stolen: Nanos,
    /// Page faults that were served from memory.
    pub minor_faults: u64,
    /// Page faults that read from storage.
    pub major_faults: u64,
    /// Bytes read from storage.
    pub read_bytes: u64,
    /// Context switches because a thread waited.
    pub voluntary_switches: u64,
    /// Context switches because the scheduler chose another thread.
    pub involuntary_switches: u64,
    /// Allocations.
    pub allocations: u64,
    /// Bytes allocated.
    pub allocated_bytes: u64,
    /// Processor cycles.
    pub cycles: u64,
    /// Instructions.
    pub instructions: u64,
    /// Accesses to the last-level cache.
    pub cache_references: u64,
    /// Misses of the last-level cache.
    pub cache_misses: u64,
}

impl VirtualCounters {
    /// All counters are zero.
    pub const ZERO: Self = Self {
        capacity: Nanos::ZERO,
        cpu: Nanos::ZERO,
        other_processes_cpu: Nanos::ZERO,
        stolen: Nanos::ZERO,
        minor_faults: 0,
        major_faults: 0,
        read_bytes: 0,
        voluntary_switches: 0,
        involuntary_switches: 0,
        allocations: 0,
        allocated_bytes: 0,
        cycles: 0,
        instructions: 0,
        cache_references: 0,
        cache_misses: 0,
    };

    fn plus(self, more: Self) -> Self {
        Self {
            capacity: self.capacity + more.capacity,
            cpu: self.cpu + more.cpu,
            other_processes_cpu: self.other_processes_cpu + more.other_processes_cpu,
            stolen: self.stolen + more.stolen,
            minor_faults: self.minor_faults + more.minor_faults,
            major_faults: self.major_faults + more.major_faults,
            read_bytes: self.read_bytes + more.read_bytes,
            voluntary_switches: self.voluntary_switches + more.voluntary_switches,
            involuntary_switches: self.involuntary_switches + more.involuntary_switches,
            allocations: self.allocations + more.allocations,
            allocated_bytes: self.allocated_bytes + more.allocated_bytes,
            cycles: self.cycles + more.cycles,
            instructions: self.instructions + more.instructions,
            cache_references: self.cache_references + more.cache_references,
            cache_misses: self.cache_misses + more.cache_misses,
        }
    }
}

/// Adds to the counters of this thread; does nothing on a real clock.
pub fn add(added: VirtualCounters) {
    if clock::is_virtual() {
        COUNTERS.set(COUNTERS.get().plus(added));
    }
}

/// The number of hardware events that the virtual machine of this thread can count at once; 0, the default, means that it has
/// no hardware counters.
pub fn hardware_counters() -> usize {
    if clock::is_virtual() { HARDWARE_COUNTERS.get() } else { 0 }
}

/// Sets the number of hardware events that can be counted at once.
pub fn set_hardware_counters(registers: usize) {
    HARDWARE_COUNTERS.set(registers);
}

/// The counters of this thread; `None` on a real clock, where the system's counters apply.
pub fn read() -> Option<VirtualCounters> {
    clock::is_virtual().then(|| COUNTERS.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;

    #[test]
    fn counters_exist_on_a_virtual_clock_and_only_grow() {
        add(VirtualCounters { minor_faults: 5, ..VirtualCounters::ZERO });
        assert_eq!(read(), None, "a real clock has no such counters");
        let clock = VirtualClock::install();
        assert_eq!(read(), Some(VirtualCounters::ZERO));
        add(VirtualCounters { minor_faults: 5, cpu: Nanos(7), ..VirtualCounters::ZERO });
        add(VirtualCounters { minor_faults: 1, read_bytes: 9, ..VirtualCounters::ZERO });
        assert_eq!(
            read(),
            Some(VirtualCounters { minor_faults: 6, cpu: Nanos(7), read_bytes: 9, ..VirtualCounters::ZERO })
        );
        drop(clock);
        assert_eq!(read(), None);
    }
}
