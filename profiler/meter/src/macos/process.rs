//! Other processes, from `proc_pid_rusage`, `proc_pidinfo` and `proc_listpids`.
//!
//! The kernel reports them to the user of the process and to root. It does not separate voluntary from involuntary switches, nor
//! anonymous memory from files: resident memory that is not in the footprint is counted as files. Of the faults of waited children
//! it keeps only pageins.

use super::rusage::{Field, Rusage, Timebase};
use super::system::{Answer, Question, System};
use crate::process_snapshot::{FIGURES, ProcessMemory, ProcessSnapshot, walk_tree};

/// Bytes of `struct proc_taskallinfo` (bsd/sys/proc_info.h), and where its fields of 32 bits lie.
pub(super) const BYTES: usize = 232;
pub(super) const PARENT: usize = 16;
pub(super) const FAULTS: usize = 188;
pub(super) const PAGEINS: usize = 192;
pub(super) const THREADS: usize = 220;
/// Space for 1024 children of one process, 32 bits each.
const CHILDREN_BYTES: usize = 4 * 1024;

/// The processes of a system.
#[derive(Debug)]
pub(crate) struct Processes {
    system: Box<dyn System>,
}

impl Processes {
    /// The processes of this Mac.
    #[cfg(target_os = "macos")]
    pub(crate) fn system() -> Self {
        Self::on(Box::new(super::Kernel))
    }

    /// The processes of recorded answers.
    fn on(system: Box<dyn System>) -> Self {
        Self { system }
    }

    /// The processes of these ids and their descendants.
    pub(crate) fn tree(&self, roots: &[u32]) -> Vec<ProcessSnapshot> {
        walk_tree(roots, |pid| self.snapshot(pid), |pid| self.children(pid))
    }

    /// The process that listens on a port: not supported on macOS.
    #[cfg(target_os = "macos")]
    #[allow(clippy::unused_self, reason = "all platforms have the same methods")]
    pub(crate) fn listener(&self, port: u16) -> Result<u32, record::Reason> {
        Err(reason!(
            "the process that listens on port {port} cannot be looked up on macOS: name it with {} (`lsof -ti :{port} -sTCP:LISTEN` prints it)",
            record::Setting::Pid
        ))
    }

    /// Proportional set size: not reported by macOS.
    #[cfg(target_os = "macos")]
    #[allow(clippy::unused_self, reason = "all platforms have the same methods")]
    pub(crate) fn proportional(&self, pid: u32) -> Result<u64, record::Reason> {
        Err(reason!("macOS does not report the shared memory of process {pid} by process"))
    }

    /// One process; `None` where it does not exist or this user may not see it.
    pub(crate) fn snapshot(&self, pid: u32) -> Option<ProcessSnapshot> {
        let (usage, _) = Rusage::first(&*self.system, pid).ok()?;
        let task: Answer<BYTES> = Answer::to(&*self.system, Question::Process(pid)).ok()?;
        let timebase = Timebase::read(&*self.system).ok()?;
        let nanos = |field| Some(timebase.micros(usage.field(field)?).saturating_mul(1000));
        let count = |offset| task.u32(offset).map(u64::from);
        let pageins = count(PAGEINS)?;
        let (child_user, child_system) = (nanos(Field::ChildUserTime)?, nanos(Field::ChildSystemTime)?);
        let child_pageins = usage.field(Field::ChildPageins)?;
        let total: [u64; FIGURES] = [
            nanos(Field::UserTime)?.saturating_add(child_user),
            nanos(Field::SystemTime)?.saturating_add(child_system),
            count(FAULTS)?.saturating_sub(pageins),
            pageins.saturating_add(child_pageins),
            usage.field(Field::BytesRead)?,
            usage.field(Field::BytesWritten)?,
        ];
        let resident = usage.field(Field::ResidentSize)?;
        let anonymous = usage.field(Field::Footprint)?.min(resident);
        Some(ProcessSnapshot {
            pid,
            parent: task.u32(PARENT)?,
            started: usage.field(Field::Started)?,
            threads: count(THREADS)?,
            total,
            reaped: [child_user, child_system, 0, child_pageins, 0, 0],
            switches: None,
            memory: ProcessMemory { resident, anonymous, file: resident - anonymous, shared: 0, peak: resident },
            no_storage: None,
        })
    }

    /// The kernel has no peak of another process's resident memory: the peak is the largest size that was read.
    #[allow(clippy::unused_self, reason = "all platforms have the same methods")]
    pub(crate) fn reset_peak(&self, _: u32) {}

    fn children(&self, pid: u32) -> Vec<u32> {
        let answer: Result<Answer<CHILDREN_BYTES>, _> = Answer::to(&*self.system, Question::Children(pid));
        answer.map_or_else(
            |_| Vec::new(),
            |answer| {
                (0..answer.bytes().len() / 4).filter_map(|index| answer.u32(4 * index)).filter(|&pid| pid > 0).collect()
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorded::{Recorded, rusage, v4};
    use super::super::system::Refusal;
    use super::*;

    fn task(parent: u32, faults: u32, pageins: u32, threads: u32) -> Vec<u8> {
        let mut bytes = vec![0; BYTES];
        for (offset, value) in [(PARENT, parent), (FAULTS, faults), (PAGEINS, pageins), (THREADS, threads)] {
            bytes[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        }
        bytes
    }

    /// A server, 7, with a child, 8, whose answers are of version 4; 9 belongs to another user.
    fn recorded() -> Recorded {
        let server = rusage(&[
            (Field::UserTime, 24_000_000),
            (Field::ChildUserTime, 12_000_000),
            (Field::Started, 5),
            (Field::ResidentSize, 900),
            (Field::Footprint, 300),
            (Field::BytesRead, 40),
            (Field::ChildPageins, 2),
        ]);
        let child = v4(&[(Field::SystemTime, 2_400_000), (Field::ResidentSize, 100), (Field::Footprint, 150)]);
        Recorded::default()
            .with(Question::Timebase, [125_u32, 3].map(u32::to_ne_bytes).concat())
            .with(Question::Rusage { pid: 7, version: 6 }, server)
            .with(Question::Rusage { pid: 8, version: 4 }, child)
            .refusing(Question::Rusage { pid: 9, version: 6 }, Refusal::Errno(1))
            .refusing(Question::Rusage { pid: 9, version: 4 }, Refusal::Errno(1))
            .with(Question::Process(7), task(1, 50, 10, 4))
            .with(Question::Process(8), task(7, 3, 0, 1))
            .with(Question::Children(7), [8_u32, 9, 0].map(u32::to_ne_bytes).concat())
    }

    #[test]
    fn a_process_tree_is_read_from_its_first_process() {
        let tree = Processes::on(Box::new(recorded())).tree(&[7, 8]);
        assert_eq!(tree.iter().map(|member| (member.pid, member.parent)).collect::<Vec<_>>(), [(7, 1), (8, 7)]);
        let server = &tree[0];
        assert_eq!(server.total, [1_500_000_000, 0, 40, 12, 40, 0]);
        assert_eq!(server.reaped, [500_000_000, 0, 0, 2, 0, 0]);
        assert_eq!((server.started, server.threads, server.switches.clone()), (5, 4, None));
        assert_eq!((server.memory.resident, server.memory.anonymous, server.memory.file), (900, 300, 600));
        let child = &tree[1];
        assert_eq!(child.total[1], 100_000_000);
        assert_eq!((child.memory.anonymous, child.memory.file), (100, 0), "compressed memory is not resident");
    }

    #[test]
    fn absent_and_hidden_processes_are_left_out() {
        let processes = Processes::on(Box::new(recorded()));
        assert!(processes.snapshot(9).is_none() && processes.snapshot(12).is_none());
        assert!(processes.tree(&[9, 12]).is_empty());
        let before = processes.snapshot(7).unwrap();
        processes.reset_peak(7);
        assert_eq!(processes.snapshot(7).unwrap(), before, "there is no peak to reset");
    }
}
