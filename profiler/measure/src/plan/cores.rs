//! The number of physical cores that this process may use: the default number of threads.
//!
//! Two hardware threads of one core share its vector units, so more threads than cores rarely compute faster.

use std::collections::BTreeSet;

/// Physical cores among the processors of the affinity mask, at most the quota of the control group; at least 1.
/// `quota` is in processors' worth of time.
pub fn physical_cores(quota: Option<f64>) -> usize {
    let allowed = allowed();
    let cores = count(&allowed, |cpu| {
        std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")).ok()
    });
    limited(cores.unwrap_or_else(fallback), quota)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a quota is a small positive number")]
fn limited(cores: usize, quota: Option<f64>) -> usize {
    let granted = quota.map_or(cores, |quota| quota.floor().max(1.0) as usize);
    cores.min(granted).max(1)
}

/// Cores of these processors: processors with the same siblings are one core.
fn count(cpus: &[usize], siblings: impl Fn(usize) -> Option<String>) -> Option<usize> {
    let cores: Option<BTreeSet<String>> =
        cpus.iter().map(|&cpu| siblings(cpu).map(|text| text.trim().to_owned())).collect();
    cores.map(|cores| cores.len()).filter(|&count| count > 0)
}

fn fallback() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Processors that this process may run on.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "sched_getaffinity has no safe wrapper in std")]
fn allowed() -> Vec<usize> {
    /// Bits of the mask.
    const BITS: usize = 8192;
    let mut mask = [0_u64; BITS / 64];
    // SAFETY: the mask is valid for its size in bytes and lives through the call; 0 means this thread.
    let code = unsafe { libc::sched_getaffinity(0, size_of_val(&mask), mask.as_mut_ptr().cast()) };
    if code < 0 {
        return Vec::new();
    }
    (0..BITS).filter(|cpu| mask.get(cpu / 64).is_some_and(|word| word >> (cpu % 64) & 1 == 1)).collect()
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> Vec<usize> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_are_one_core() {
        let pairs = |cpu: usize| Some(format!("{},{}\n", cpu % 2, cpu % 2 + 2));
        assert_eq!(count(&[0, 1, 2, 3], pairs), Some(2));
        assert_eq!(count(&[0, 2], pairs), Some(1), "a mask of two threads of one core");
        assert_eq!(count(&[0, 1], |_| None), None);
        assert_eq!(count(&[], pairs), None);
    }

    #[test]
    fn a_quota_limits() {
        assert_eq!(limited(8, Some(2.5)), 2);
        assert_eq!(limited(8, Some(0.5)), 1);
        assert_eq!(limited(2, Some(16.0)), 2);
        assert!(physical_cores(None) >= 1);
    }
}
