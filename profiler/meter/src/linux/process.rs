//! Other processes, from `/proc`.

use record::Reason;
use std::collections::BTreeMap;

use super::proc_files::ticks_per_second;
use crate::process_snapshot::{FIGURES, ProcessMemory, ProcessSnapshot, walk_tree};
use crate::root::{FileError, Root};

/// The processes of a machine, or of a recorded tree.
#[derive(Debug)]
pub(crate) struct Processes {
    root: Root,
}

/// Fields of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    parent: u32,
    /// Faults and ticks: of the process, and of the children that it has waited for.
    minor: (u64, u64),
    major: (u64, u64),
    user: (u64, u64),
    system: (u64, u64),
    threads: u64,
    started: u64,
}

impl Processes {
    pub(crate) fn system() -> Self {
        Self { root: Root::system() }
    }

    /// Processes of a recorded tree.
    #[cfg(test)]
    pub(crate) fn recorded(root: Root) -> Self {
        Self { root }
    }

    /// The processes of these ids and their descendants.
    pub(crate) fn tree(&self, roots: &[u32]) -> Vec<ProcessSnapshot> {
        let by_parent = if self.lists_children(roots) { None } else { Some(self.by_parent()) };
        let children = |pid| match &by_parent {
            Some(all) => all.get(&pid).cloned().unwrap_or_default(),
            None => self.children(pid),
        };
        walk_tree(roots, |pid| self.snapshot(pid), children)
    }

    /// One process; `None` where it does not exist or this user may not see it.
    pub(crate) fn snapshot(&self, pid: u32) -> Option<ProcessSnapshot> {
        let stat = parse_stat(&self.root.text(&format!("/proc/{pid}/stat")).ok()?)?;
        let nanos = |ticks: u64| ticks * (1_000_000_000 / ticks_per_second().max(1));
        let (read, written, no_storage) = match self.storage(pid) {
            Ok((read, written)) => (read, written, None),
            // A process that ended and was not waited for has no such file any more, but keeps its other figures.
            Err(_) if stat.has_ended() => (0, 0, None),
            Err(reason) => (0, 0, Some(reason)),
        };
        let both = |(own, reaped): (u64, u64)| own + reaped;
        let total: [u64; FIGURES] =
            [nanos(both(stat.user)), nanos(both(stat.system)), both(stat.minor), both(stat.major), read, written];
        // The kernel adds the bytes of waited children to the process's own.
        let reaped = [nanos(stat.user.1), nanos(stat.system.1), stat.minor.1, stat.major.1, read, written];
        Some(ProcessSnapshot {
            pid,
            parent: stat.parent,
            started: stat.started,
            threads: stat.threads,
            total,
            reaped,
            switches: Some(self.switches(pid)),
            memory: self.root.text(&format!("/proc/{pid}/status")).map(|text| memory(&text)).unwrap_or_default(),
            no_storage,
        })
    }

    /// The process that listens on a port.
    pub(crate) fn listener(&self, port: u16) -> Result<u32, Reason> {
        super::listener::listener(&self.root, port)
    }

    /// Resets the kernel's peak of resident memory, where this user may.
    pub(crate) fn reset_peak(&self, pid: u32) {
        // Without permission the peak is that since the start of the process, which is not too low.
        let _ = self.root.write(&format!("/proc/{pid}/clear_refs"), "5");
    }

    /// Proportional set size in bytes: each page divided by the number of processes that map it. 0 for a process that has ended.
    pub(crate) fn proportional(&self, pid: u32) -> Result<u64, Reason> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let has_ended = || {
            let stat = self.root.text(&format!("/proc/{pid}/stat")).ok();
            stat.and_then(|text| parse_stat(&text)).is_none_or(|stat| stat.has_ended())
        };
        match self.root.read(&path) {
            Ok(text) => match number(&text, "Pss:") {
                Some(kilobytes) => Ok(kilobytes * 1024),
                // A process that has ended has no mappings: the file is empty.
                None if has_ended() => Ok(0),
                None => Err(reason!("{path}: has no Pss")),
            },
            Err(_) if has_ended() => Ok(0),
            Err(error @ FileError::Denied(_)) => {
                Err(reason!("{error}: the process belongs to another user; measure as that user or as root"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Bytes read from storage and written to it.
    fn storage(&self, pid: u32) -> Result<(u64, u64), Reason> {
        let path = format!("/proc/{pid}/io");
        let text = self.root.read(&path).map_err(|error| match error {
            FileError::Denied(_) => {
                reason!("{error}: the process belongs to another user; measure as that user or as root")
            }
            error => error.into(),
        })?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        field("read_bytes:").zip(field("write_bytes:")).ok_or_else(|| reason!("{path}: has no read_bytes"))
    }

    fn switches(&self, pid: u32) -> Vec<(u32, u64, u64)> {
        let threads = self.root.names(&format!("/proc/{pid}/task")).unwrap_or_default();
        let one = |thread: &String| {
            let text = self.root.text(&format!("/proc/{pid}/task/{thread}/status")).ok()?;
            Some((
                thread.parse().ok()?,
                number(&text, "voluntary_ctxt_switches:")?,
                number(&text, "nonvoluntary_ctxt_switches:")?,
            ))
        };
        threads.iter().filter_map(one).collect()
    }

    /// Whether the kernel lists the children of a process (`CONFIG_PROC_CHILDREN`).
    fn lists_children(&self, roots: &[u32]) -> bool {
        roots.iter().any(|pid| self.root.has(&format!("/proc/{pid}/task/{pid}/children")))
    }

    /// The children of every thread of a process.
    fn children(&self, pid: u32) -> Vec<u32> {
        let threads = self.root.names(&format!("/proc/{pid}/task")).unwrap_or_default();
        let lists =
            threads.iter().filter_map(|thread| self.root.text(&format!("/proc/{pid}/task/{thread}/children")).ok());
        lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
    }

    /// Every process of the machine by its parent, for kernels that do not list children.
    fn by_parent(&self) -> BTreeMap<u32, Vec<u32>> {
        let mut found: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for pid in self.root.names("/proc").unwrap_or_default().iter().filter_map(|name| name.parse::<u32>().ok()) {
            let stat = self.root.text(&format!("/proc/{pid}/stat")).ok().and_then(|text| parse_stat(&text));
            if let Some(stat) = stat {
                found.entry(stat.parent).or_default().push(pid);
            }
        }
        found
    }
}

impl Stat {
    /// It has ended, and its parent has not waited for it.
    fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// `pid (name) state ppid ...`: the name may hold anything, so count from its end (proc_pid_stat(5)).
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        state: *fields.first()?.as_bytes().first()?,
        parent: fields.get(1)?.parse().ok()?,
        minor: (number(7)?, number(8)?),
        major: (number(9)?, number(10)?),
        user: (number(11)?, number(13)?),
        system: (number(12)?, number(14)?),
        threads: number(17)?,
        started: number(19)?,
    })
}

/// Zero for an ended process: the kernel writes no such lines then.
fn memory(status: &str) -> ProcessMemory {
    let bytes = |name: &str| number(status, name).unwrap_or(0) * 1024;
    let (anonymous, file, shared) = (bytes("RssAnon:"), bytes("RssFile:"), bytes("RssShmem:"));
    ProcessMemory { resident: anonymous + file + shared, anonymous, file, shared, peak: bytes("VmHWM:") }
}

/// The number after a name at the start of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse().ok())
}
