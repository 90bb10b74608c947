//! Memory of this process (`task_info(TASK_VM_INFO)`) and of the machine (`host_statistics64(HOST_VM_INFO64)`, swap).
//!
//! The footprint, which Activity Monitor shows, excludes clean file pages: mapped weights are resident but not part of it.
//! Compressed pages are in the footprint but not resident.

use super::rusage::{Field, Rusage};
use super::sysctl;
use super::system::{Answer, Question, System};
use crate::memory::Memory;
use record::Reason;

/// `TASK_VM_INFO` of mach/task_info.h, and the bytes of its structure that are read.
pub(crate) const TASK_VM_INFO: u32 = 22;
pub(crate) const TASK_VM_BYTES: usize = 176;
/// Offsets of its fields; the structure is packed to 32 bits.
pub(crate) const RESIDENT: usize = 16;
pub(crate) const EXTERNAL: usize = 64;
pub(crate) const COMPRESSED: usize = 120;
pub(crate) const FOOTPRINT: usize = 144;

/// `HOST_VM_INFO64` of mach/host_info.h: 38 words of 32 bits, of which the first counts of pages are read.
pub(crate) const HOST_VM_INFO64: u32 = 4;
pub(crate) const HOST_VM_BYTES: usize = 152;
pub(crate) const FREE_PAGES: usize = 0;
pub(crate) const INACTIVE_PAGES: usize = 8;
pub(crate) const COMPRESSOR_PAGES: usize = 128;

/// `HOST_CPU_LOAD_INFO`: ticks of user, system, idle and nice, 32 bits each.
pub(crate) const HOST_CPU_LOAD_INFO: u32 = 3;

/// Memory of this task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskMemory {
    /// In physical memory.
    pub(crate) resident: u64,
    /// Of that, backed by files.
    pub(crate) file: u64,
    /// Compressed memory, in bytes before compression.
    pub(crate) compressed: Option<u64>,
    /// What the kernel charges to the process; reported since macOS 10.9.
    pub(crate) footprint: Option<u64>,
}

impl TaskMemory {
    /// Reads it.
    ///
    /// # Errors
    /// When the call fails or its answer is too short.
    pub(crate) fn read(system: &dyn System) -> Result<Self, Reason> {
        let answer: Answer<TASK_VM_BYTES> = Answer::to(system, Question::Task(TASK_VM_INFO))?;
        let short = || format!("task_info: its answer of {} bytes has no resident memory", answer.bytes().len());
        let resident = answer.u64(RESIDENT).ok_or_else(short)?;
        let file = answer.u64(EXTERNAL).ok_or_else(short)?.min(resident);
        Ok(Self { resident, file, compressed: answer.u64(COMPRESSED), footprint: answer.u64(FOOTPRINT) })
    }

    /// The meter's figures. `peak` is the largest resident memory that was read; `usage` has the kernel's peak of the footprint.
    pub(crate) fn with_peak(self, peak: u64, usage: Option<&Rusage>) -> Memory {
        Memory {
            resident: self.resident,
            anonymous: self.resident - self.file,
            file: self.file,
            peak,
            footprint: self.footprint,
            compressed: self.compressed,
            footprint_peak: usage.and_then(|usage| usage.field(Field::IntervalMaxFootprint)),
        }
    }
}

/// The machine's memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MachineMemory {
    /// Memory that programs can allocate without swapping.
    pub(crate) available: u64,
    /// Memory that the compressor uses.
    pub(crate) compressor: Option<u64>,
}

impl MachineMemory {
    /// Reads it.
    ///
    /// ```text
    /// available = (free + inactive) x page size        free pages include those of read-ahead ("speculative")
    /// ```
    ///
    /// # Errors
    /// When a call fails or its answer is too short.
    pub(crate) fn read(system: &dyn System) -> Result<Self, Reason> {
        let page = sysctl::number(system, "hw.pagesize")?;
        let answer: Answer<HOST_VM_BYTES> = Answer::to(system, Question::Host(HOST_VM_INFO64))?;
        let pages = |offset| answer.u32(offset).map(u64::from);
        let (free, inactive) = pages(FREE_PAGES).zip(pages(INACTIVE_PAGES)).ok_or_else(|| {
            reason!("host_statistics64: its answer of {} bytes has no count of free pages", answer.bytes().len())
        })?;
        Ok(Self {
            available: (free + inactive).saturating_mul(page),
            compressor: pages(COMPRESSOR_PAGES).map(|pages| pages.saturating_mul(page)),
        })
    }
}

/// Swap in bytes: all of it, and what is in use. `struct xsw_usage`: total, available, used.
///
/// # Errors
/// When the call fails or its answer is too short.
pub(crate) fn swap(system: &dyn System) -> Result<(u64, u64), Reason> {
    let answer: Answer<32> = Answer::to(system, Question::Value("vm.swapusage"))?;
    answer
        .u64(0)
        .zip(answer.u64(16))
        .ok_or_else(|| reason!("vm.swapusage: expected 32 bytes, found {}", answer.bytes().len()))
}

/// The machine's processor ticks: busy, all.
///
/// # Errors
/// When the call fails or its answer is too short.
pub(crate) fn processor_ticks(system: &dyn System) -> Result<(u64, u64), Reason> {
    let answer: Answer<16> = Answer::to(system, Question::Host(HOST_CPU_LOAD_INFO))?;
    let ticks = |index: usize| {
        answer.u32(4 * index).map(u64::from).ok_or_else(|| {
            reason!("host_statistics64: expected four counts of ticks, found {} bytes", answer.bytes().len())
        })
    };
    let (user, of_system, idle, nice) = (ticks(0)?, ticks(1)?, ticks(2)?, ticks(3)?);
    let busy = user + of_system + nice;
    Ok((busy, busy + idle))
}

#[cfg(test)]
mod tests {
    use super::super::recorded::{Recorded, structure};
    use super::*;

    #[test]
    fn mapped_weights_are_resident_but_not_in_the_footprint() {
        let words = [(RESIDENT, 500), (EXTERNAL, 400), (COMPRESSED, 30), (FOOTPRINT, 120)];
        let system = Recorded::default().with(Question::Task(TASK_VM_INFO), structure(372, &words));
        let memory = TaskMemory::read(&system).unwrap().with_peak(600, None);
        assert_eq!((memory.resident, memory.anonymous, memory.file, memory.peak), (500, 100, 400, 600));
        assert_eq!((memory.footprint, memory.compressed, memory.footprint_peak), (Some(120), Some(30), None));
    }

    #[test]
    fn an_old_kernel_reports_less() {
        let words = [(RESIDENT, 500), (EXTERNAL, 400)];
        let system = Recorded::default().with(Question::Task(TASK_VM_INFO), structure(80, &words));
        let memory = TaskMemory::read(&system).unwrap();
        assert_eq!((memory.resident, memory.footprint, memory.compressed), (500, None, None));
        let system = Recorded::default().with(Question::Task(TASK_VM_INFO), vec![0; 8]);
        insta::assert_snapshot!(TaskMemory::read(&system).unwrap_err(), @"task_info: its answer of 8 bytes has no resident memory");
        let system = Recorded::default().refusing(Question::Task(TASK_VM_INFO), super::super::system::Refusal::Mach(4));
        insta::assert_snapshot!(TaskMemory::read(&system).unwrap_err(), @"task_info, flavor 22: refused with Mach error 4");
    }

    #[test]
    fn the_machine_counts_pages() {
        let mut bytes = vec![0; HOST_VM_BYTES];
        for (offset, pages) in [(FREE_PAGES, 10_u32), (INACTIVE_PAGES, 5), (COMPRESSOR_PAGES, 2), (4, 99)] {
            bytes[offset..offset + 4].copy_from_slice(&pages.to_ne_bytes());
        }
        let system = Recorded::default().number("hw.pagesize", 16384).with(Question::Host(HOST_VM_INFO64), bytes);
        let memory = MachineMemory::read(&system).unwrap();
        assert_eq!((memory.available, memory.compressor), (15 * 16384, Some(2 * 16384)));
    }

    #[test]
    fn swap_and_ticks() {
        let usage = structure(32, &[(0, 2048), (8, 1500), (16, 548)]);
        let ticks = [5_u32, 3, 90, 2].map(u32::to_ne_bytes).concat();
        let system = Recorded::default()
            .with(Question::Value("vm.swapusage"), usage)
            .with(Question::Host(HOST_CPU_LOAD_INFO), ticks);
        assert_eq!(swap(&system), Ok((2048, 548)));
        assert_eq!(processor_ticks(&system), Ok((10, 100)));
    }
}
