//! Commands to a prober, and its replies. A prober is a worker that opens no engine and measures limits of the machine.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use record::environment::Cache;
use record::recorded::with_reasons;
use record::{Reasons, Recorded, Spread, ThreadCeilings};

/// What a prober measures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProberCommand {
    /// Every limit that depends on the number of threads, with all threads of the process.
    Threads {
        /// The machine's caches.
        caches: Vec<Cache>,
        /// Bytes to read from memory.
        bytes: u64,
    },
    /// The limits that do not depend on the number of threads.
    Machine {
        /// Where a file is written and read again.
        folder: PathBuf,
    },
    /// Memory and computation for about a tenth of a second.
    Short {
        /// The number of threads, at most that of the process.
        threads: usize,
        /// Bytes to read from memory.
        bytes: u64,
    },
}

/// What a prober measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProberReply {
    /// The limits of a number of threads.
    Threads(ThreadCeilings),
    /// Limits of the whole machine.
    Machine(MachineCeilings),
    /// The figures of a short probe.
    Short(ShortProbe),
}

with_reasons! {
    /// Limits that do not depend on threads: the fields of [`Ceilings`](record::Ceilings) of these names.
    pub struct MachineCeilings {
        /// Bytes per second from storage.
        pub file_read_cold: Recorded<Spread>,
        /// Bytes per second from the page cache.
        pub file_read_warm: Recorded<Spread>,
        /// Seconds per page.
        pub page_fault_s: Recorded<Spread>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

with_reasons! {
    /// A short probe: the fields of [`CeilingProbe`](record::CeilingProbe) of these names.
    pub struct ShortProbe {
        /// Bytes per second.
        pub memory_read: Recorded<f64>,
        /// Operations per second.
        pub compute: Recorded<f64>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}
