//! `getrusage`: CPU time, faults and context switches of the whole process. It needs no permission; perf's software events miss
//! those in the kernel where `exclude_kernel` must be set.

use crate::counters::ProcessUsage;

/// The result of `getrusage`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Accounting {
    user_us: u64,
    system_us: u64,
    minor_faults: u64,
    major_faults: u64,
    voluntary: u64,
    involuntary: u64,
    read_blocks: u64,
}

/// Linux counts block input in units of 512 bytes, whatever the device's blocks are (getrusage(2)).
const BLOCK: u64 = 512;

impl Accounting {
    /// One figure; CPU times in microseconds.
    pub(super) fn field(&self, field: ProcessUsage) -> u64 {
        match field {
            ProcessUsage::CpuUser => self.user_us,
            ProcessUsage::CpuSystem => self.system_us,
            ProcessUsage::MinorFaults => self.minor_faults,
            ProcessUsage::MajorFaults => self.major_faults,
            ProcessUsage::VoluntarySwitches => self.voluntary,
            ProcessUsage::InvoluntarySwitches => self.involuntary,
            ProcessUsage::ReadBytes => self.read_blocks * BLOCK,
            ProcessUsage::Resident => 0,
        }
    }

    /// CPU time, user and system.
    #[allow(clippy::cast_precision_loss, reason = "microseconds of CPU time stay far below 2^53")]
    pub(super) fn cpu_seconds(&self) -> f64 {
        (self.user_us + self.system_us) as f64 / 1e6
    }
}

/// All threads of this process; `None` where the call fails.
pub(super) fn read() -> Option<Accounting> {
    #[cfg(any(test, feature = "call-counts"))]
    super::calls::count("getrusage");
    of(libc::RUSAGE_SELF)
}

/// The calling thread alone.
pub(super) fn of_thread() -> Option<Accounting> {
    of(libc::RUSAGE_THREAD)
}

#[allow(unsafe_code, reason = "getrusage has no safe wrapper in std")]
fn of(who: libc::c_int) -> Option<Accounting> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is valid for a whole `rusage`, which the call fills.
    let status = unsafe { libc::getrusage(who, usage.as_mut_ptr()) };
    if status != 0 {
        return None;
    }
    // SAFETY: all-zero bytes are a valid `rusage`, and the call has succeeded.
    let usage = unsafe { usage.assume_init() };
    // None of these is negative.
    let micros = |time: libc::timeval| (time.tv_sec as u64).wrapping_mul(1_000_000).wrapping_add(time.tv_usec as u64);
    Some(Accounting {
        user_us: micros(usage.ru_utime),
        system_us: micros(usage.ru_stime),
        minor_faults: usage.ru_minflt as u64,
        major_faults: usage.ru_majflt as u64,
        voluntary: usage.ru_nvcsw as u64,
        involuntary: usage.ru_nivcsw as u64,
        read_blocks: usage.ru_inblock as u64,
    })
}

/// Processor time of the calling thread so far, in microseconds.
pub(super) fn thread_us() -> Option<u64> {
    of_thread().map(|accounting| accounting.user_us + accounting.system_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_grows_with_work() {
        let before = read().unwrap();
        let mut sum = 0_u64;
        while read().unwrap().cpu_seconds() < before.cpu_seconds() + 0.002 {
            sum = sum.wrapping_mul(31).wrapping_add(7);
        }
        assert!(
            read().unwrap().field(ProcessUsage::CpuUser) + read().unwrap().field(ProcessUsage::CpuSystem) > 0,
            "{sum}"
        );
    }
}
