//! What else passes where time is virtual: processor time, page faults, bytes from storage, allocations.
//!
//! An engine whose clock is virtual computes nothing, so the system's own accounts say nothing about it. It enters here
//! how much of what happened, as it advances the clock, and who measures reads these accounts instead of the system's.
//! They belong to the thread, like its clock, and only grow: what an interval took is the difference of two readings.

use std::cell::Cell;

use crate::{Nanos, clock};

thread_local! {
    static ACCOUNTS: Cell<Ledger> = const { Cell::new(Ledger::EMPTY) };
    static REGISTERS: Cell<usize> = const { Cell::new(0) };
}

/// The accounts of a virtual machine so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Processor time of all processors, used or not.
    pub capacity: Nanos,
    /// Processor time of this process.
    pub cpu: Nanos,
    /// Processor time of other processes.
    pub others: Nanos,
    /// Processor time that the hypervisor gave to other guests.
    pub stolen: Nanos,
    /// Page faults that memory served.
    pub minor_faults: u64,
    /// Page faults that waited for storage.
    pub major_faults: u64,
    /// Bytes from storage.
    pub read_bytes: u64,
    /// Context switches because a thread waited.
    pub voluntary_switches: u64,
    /// Context switches because another thread was due.
    pub involuntary_switches: u64,
    /// Allocations.
    pub allocations: u64,
    /// Bytes allocated.
    pub allocated_bytes: u64,
    /// Cycles of the processors.
    pub cycles: u64,
    /// Instructions.
    pub instructions: u64,
    /// Accesses to the last cache.
    pub cache_references: u64,
    /// Of these, those that missed it.
    pub cache_misses: u64,
}

impl Ledger {
    /// Nothing has happened.
    pub const EMPTY: Self = Self {
        capacity: Nanos::ZERO,
        cpu: Nanos::ZERO,
        others: Nanos::ZERO,
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
            others: self.others + more.others,
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

/// Adds what happened on this thread; nothing where its time is real.
pub fn enter(happened: Ledger) {
    if clock::is_virtual() {
        ACCOUNTS.set(ACCOUNTS.get().plus(happened));
    }
}

/// How many hardware events the virtual machine of this thread counts at once; 0 = it has no such counters, as is the case unless
/// its engine says otherwise.
pub fn registers() -> usize {
    if clock::is_virtual() { REGISTERS.get() } else { 0 }
}

/// The engine says how many.
pub fn set_registers(registers: usize) {
    REGISTERS.set(registers);
}

/// This thread's accounts; `None` where its time is real: then the system's own say it.
pub fn read() -> Option<Ledger> {
    clock::is_virtual().then(|| ACCOUNTS.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;

    #[test]
    fn accounts_belong_to_virtual_time_and_only_grow() {
        enter(Ledger { minor_faults: 5, ..Ledger::EMPTY });
        assert_eq!(read(), None, "in real time nothing is entered");
        let clock = VirtualClock::install();
        assert_eq!(read(), Some(Ledger::EMPTY));
        enter(Ledger { minor_faults: 5, cpu: Nanos(7), ..Ledger::EMPTY });
        enter(Ledger { minor_faults: 1, read_bytes: 9, ..Ledger::EMPTY });
        assert_eq!(read(), Some(Ledger { minor_faults: 6, cpu: Nanos(7), read_bytes: 9, ..Ledger::EMPTY }));
        drop(clock);
        assert_eq!(read(), None);
    }
}
