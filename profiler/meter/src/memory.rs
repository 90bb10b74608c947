//! Memory figures of this process: the types that every platform fills.

use serde::{Deserialize, Serialize};
use traces::Nanos;

/// Memory of this process at one moment, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident: anonymous + file.
    pub resident: u64,
    /// Anonymous: heap and stacks.
    pub anonymous: u64,
    /// Backed by files, such as a mapped checkpoint, and shared memory.
    pub file: u64,
    /// The highest resident memory since the last reset.
    pub peak: u64,
    /// The footprint (macOS only): memory without clean file pages.
    pub footprint: Option<u64>,
    /// Compressed memory, before compression (macOS only): not resident, but part of the footprint.
    pub compressed: Option<u64>,
    /// The highest footprint since the last reset, where the kernel's peak can be reset (macOS only).
    pub footprint_peak: Option<u64>,
}

/// Memory at one moment of a timeline, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPoint {
    /// When.
    pub at: Nanos,
    /// Resident.
    pub resident: u64,
    /// Anonymous.
    pub anonymous: u64,
    /// Backed by files, and shared.
    pub file: u64,
}
