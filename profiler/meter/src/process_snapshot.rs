//! [`ProcessSnapshot`]: the figures of one process at one moment, as every platform reads them, and the walk over a tree of
//! processes.

use std::collections::{BTreeSet, VecDeque};

use record::Reason;

/// CPU time in user mode and in the kernel (ns), minor and major faults, bytes read and written.
pub(crate) const FIGURES: usize = 6;

/// What one process of the family shows at one moment: the shape that every platform fills.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProcessSnapshot {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// When it began, in a unit of the system: tells apart two processes with one number.
    pub(crate) started: u64,
    pub(crate) threads: u64,
    /// Totals of the process and of the children that it has waited for, in the order of [`FIGURES`].
    pub(crate) total: [u64; FIGURES],
    /// Of that, the children's. Where the system mixes them up: the total itself.
    pub(crate) reaped: [u64; FIGURES],
    /// Switches of each living thread: its number, voluntary, involuntary. `None` where the system does not tell.
    pub(crate) switches: Option<Vec<(u32, u64, u64)>>,
    pub(crate) memory: ProcessMemory,
    /// Why the bytes from and to storage are not known.
    pub(crate) no_storage: Option<Reason>,
}

/// The processes of these numbers and their children, each once; those that do not exist (any more) are left out. A walk from the first
/// number reads each parent before its children: the account relies on it.
pub(crate) fn walk_tree(
    roots: &[u32],
    member: impl Fn(u32) -> Option<ProcessSnapshot>,
    children: impl Fn(u32) -> Vec<u32>,
) -> Vec<ProcessSnapshot> {
    let mut seen = BTreeSet::new();
    let mut family = Vec::new();
    for &first in roots {
        let mut waiting = VecDeque::from([first]);
        while let Some(pid) = waiting.pop_front() {
            if !seen.insert(pid) {
                continue;
            }
            let Some(member) = member(pid) else { continue };
            waiting.extend(children(pid));
            family.push(member);
        }
    }
    family
}

/// Memory of a family at one moment, in bytes. A page that several of its processes share is counted in each.
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
    /// The highest resident memory: of one process the system's own mark, of several the highest sum that was read.
    pub peak: u64,
}
