//! What a prober is asked, and what it answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use record::environment::Cache;
use record::{Reasons, Spread, ThreadCeilings};

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// Every limit of all threads of the process.
    Threads {
        /// The machine's caches.
        caches: Vec<Cache>,
        /// Bytes that are read from memory.
        bytes: u64,
    },
    /// What does not depend on threads.
    Machine {
        /// Where a file is written that is read again.
        folder: PathBuf,
    },
    /// Memory and computation for about a tenth of a second.
    Short {
        /// Threads, at most all of the process.
        threads: usize,
        /// Bytes that are read from memory.
        bytes: u64,
    },
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probed {
    /// Every limit.
    Threads(ThreadCeilings),
    /// Limits of the whole machine.
    Machine(MachineWide),
    /// The short probe.
    Short(Short),
}

/// What does not depend on threads: the fields of [`Ceilings`](record::Ceilings) of these names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MachineWide {
    /// Bytes per second from storage.
    pub file_read_cold: Option<Spread>,
    /// Bytes per second from the page cache.
    pub file_read_warm: Option<Spread>,
    /// Seconds per page.
    pub page_fault_s: Option<Spread>,
    /// Why a field is absent.
    pub reasons: Reasons,
}

/// A short probe: the fields of [`CeilingProbe`](record::CeilingProbe) of these names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Short {
    /// Bytes per second.
    pub memory_read: Option<f64>,
    /// Operations per second.
    pub compute: Option<f64>,
    /// Why a field is absent.
    pub reasons: Reasons,
}
