//! The system calls of macOS, each in a safe function.

#![allow(unsafe_code, reason = "Mach and libproc have no safe wrappers")]

use std::mem::size_of;

use super::info::{Accounting, RusageInfoV6, Timebase};

/// `RUSAGE_INFO_V6`: not in libc.
const RUSAGE_INFO_V6: libc::c_int = 6;
/// `HOST_CPU_LOAD_INFO` and the number of its 32-bit words: user, system, idle, nice.
const HOST_CPU_LOAD_INFO: libc::c_int = 3;
const HOST_CPU_LOAD_WORDS: u32 = 4;

/// This process's accounting, and whether the fields after version 4 are real.
pub(super) fn rusage() -> Option<(RusageInfoV6, bool)> {
    for (flavor, v6) in [(RUSAGE_INFO_V6, true), (libc::RUSAGE_INFO_V4, false)] {
        let mut info = RusageInfoV6::default();
        // SAFETY: getpid touches no memory.
        let pid = unsafe { libc::getpid() };
        // SAFETY: the struct has room for version 6, of which version 4 is a prefix, and lives through the call.
        let code = unsafe { libc::proc_pid_rusage(pid, flavor, (&raw mut info).cast()) };
        if code == 0 {
            return Some((info, v6));
        }
    }
    None
}

/// How long a Mach tick is.
pub(super) fn timebase() -> Timebase {
    let mut info = mach2::mach_time::mach_timebase_info { numer: 0, denom: 0 };
    // SAFETY: the struct is valid and lives through the call.
    let code = unsafe { mach2::mach_time::mach_timebase_info(&raw mut info) };
    if code == 0 && info.denom != 0 {
        Timebase { numerator: u64::from(info.numer), denominator: u64::from(info.denom) }
    } else {
        Timebase { numerator: 1, denominator: 1 }
    }
}

/// Faults and switches.
pub(super) fn accounting() -> Accounting {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is valid for a whole `rusage`, which the call fills.
    let code = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    if code != 0 {
        return Accounting::default();
    }
    // SAFETY: all-zero bytes are a valid `rusage`, and the call has succeeded.
    let usage = unsafe { usage.assume_init() };
    Accounting {
        minor_faults: usage.ru_minflt as u64,
        major_faults: usage.ru_majflt as u64,
        voluntary: usage.ru_nvcsw as u64,
        involuntary: usage.ru_nivcsw as u64,
    }
}

/// Resident, of that backed by files, and the footprint; in bytes.
pub(super) fn memory() -> Option<(u64, u64, u64)> {
    let mut info = std::mem::MaybeUninit::<mach2::task_info::task_vm_info>::zeroed();
    let mut words = u32::try_from(size_of::<mach2::task_info::task_vm_info>() / size_of::<u32>()).ok()?;
    // SAFETY: mach_task_self reads a global that is set before main.
    let task = unsafe { mach2::traps::mach_task_self() };
    // SAFETY: the struct and its size in words belong together and live through the call.
    let code = unsafe {
        mach2::task::task_info(task, mach2::task_info::TASK_VM_INFO, info.as_mut_ptr().cast(), &raw mut words)
    };
    if code != 0 {
        return None;
    }
    // SAFETY: all-zero bytes are a valid `task_vm_info`, and the call has succeeded.
    let info = unsafe { info.assume_init() };
    // The struct is packed: copy, take no references.
    let (resident, external, footprint) = (info.resident_size, info.external, info.phys_footprint);
    Some((resident as u64, external as u64, footprint as u64))
}

/// Processor ticks of the machine: user, system, idle, nice.
pub(super) fn processor_ticks() -> Option<[u64; 4]> {
    let mut ticks = [0_i32; HOST_CPU_LOAD_WORDS as usize];
    let mut words = HOST_CPU_LOAD_WORDS;
    // SAFETY: mach_host_self takes no arguments and returns a port.
    let host = unsafe { mach2::mach_init::mach_host_self() };
    // SAFETY: the array has as many words as `words` says and lives through the call.
    let code = unsafe { libc::host_statistics64(host, HOST_CPU_LOAD_INFO, ticks.as_mut_ptr(), &raw mut words) };
    (code == 0).then(|| ticks.map(|value| u64::from(value as u32)))
}
