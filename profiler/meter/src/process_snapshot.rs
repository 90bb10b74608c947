//! [`ProcessSnapshot`]: the figures of one process at one moment, as every platform reads them, and the walk over a tree of
//! processes.

use std::collections::{BTreeSet, VecDeque};

use record::Reason;

/// CPU time in user mode and in the kernel (ns), minor and major faults, bytes read and written.
pub(crate) const FIGURES: usize = 6;

/// The figures of one process at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProcessSnapshot {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// Start time in a unit of the system: it distinguishes processes with the same id.
    pub(crate) started: u64,
    pub(crate) threads: u64,
    /// Totals of the process and of the children that it has waited for, in the order of [`FIGURES`].
    pub(crate) total: [u64; FIGURES],
    /// The children's part of `total`; `total` itself where the system does not separate them.
    pub(crate) reaped: [u64; FIGURES],
    /// Switches of each living thread: its id, voluntary, involuntary. `None` where the system does not report them.
    pub(crate) switches: Option<Vec<(u32, u64, u64)>>,
    pub(crate) memory: ProcessMemory,
    /// Why the bytes read from and written to storage are unknown.
    pub(crate) no_storage: Option<Reason>,
}

/// The processes of these ids and their descendants, each once; those that do not exist (any more) are left out. Each parent
/// comes before its children, as the totals of a process tree require.
pub(crate) fn walk_tree(
    roots: &[u32],
    member: impl Fn(u32) -> Option<ProcessSnapshot>,
    children: impl Fn(u32) -> Vec<u32>,
) -> Vec<ProcessSnapshot> {
    let mut seen = BTreeSet::new();
    let mut tree = Vec::new();
    for &first in roots {
        let mut waiting = VecDeque::from([first]);
        while let Some(pid) = waiting.pop_front() {
            if !seen.insert(pid) {
                continue;
            }
            let Some(member) = member(pid) else { continue };
            waiting.extend(children(pid));
            tree.push(member);
        }
    }
    tree
}

/// Memory of a process tree at one moment, in bytes. A page that several processes share is counted in each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessMemory {
    /// Resident: anonymous + files + shared.
    pub resident: u64,
    /// Heap and stacks.
    pub anonymous: u64,
    /// Mapped files.
    pub file: u64,
    /// Shared memory without a file.
    pub shared: u64,
    /// The highest resident memory: the system's own peak for one process, the highest sum that was read for several.
    pub peak: u64,
}
