//! What held a request up that is not the engine's doing: read at its edges, outside of the timing.
//!
//! Three small files for two readings each; the frequency only behind the request, while the processors still run at it.

use super::conditions::frequencies;
use super::{Groups, read_stall};
use crate::root::Root;
use record::{Reason, Reasons, Sample};

/// Reads the same places again and again.
#[derive(Debug)]
pub struct Strain {
    root: Root,
    groups: Result<Groups, Reason>,
}

/// Totals at one moment, in seconds; each with the reason where it is not known.
#[derive(Debug, Clone, PartialEq)]
pub struct Strained {
    throttled: Result<f64, Reason>,
    memory: Result<f64, Reason>,
    io: Result<f64, Reason>,
}

impl Strain {
    /// Finds this process's groups below a root.
    pub fn open(root: Root) -> Self {
        let groups = Groups::find(&root);
        Self { root, groups }
    }

    /// The totals now.
    pub fn now(&self) -> Strained {
        let groups = self.groups.as_ref().map_err(Clone::clone);
        Strained {
            throttled: groups.and_then(|groups| groups.throttled_s(&self.root)),
            memory: read_stall(&self.root, "memory", "some"),
            io: read_stall(&self.root, "io", "some"),
        }
    }

    /// Fills in what a request took since `before`, and how fast the processors ran at its end.
    pub fn fill(&self, before: Strained, sample: &mut Sample) {
        let after = self.now();
        let reasons = &mut sample.reasons;
        sample.throttled_s = difference(reasons, "throttled_s", before.throttled, after.throttled);
        sample.memory_stall_s = difference(reasons, "memory_stall_s", before.memory, after.memory);
        sample.io_stall_s = difference(reasons, "io_stall_s", before.io, after.io);
        let fastest = frequencies(&self.root).map(|all| all.into_iter().max().unwrap_or(0));
        sample.frequency_hz = super::noted(reasons, "frequency_hz", fastest);
    }

    /// Where time is virtual nothing of this machine enters a sample.
    pub fn fill_virtual(sample: &mut Sample, reason: &str) {
        for field in ["throttled_s", "memory_stall_s", "io_stall_s", "frequency_hz"] {
            sample.reasons.insert(field.to_owned(), reason.to_owned());
        }
    }
}

fn difference(
    reasons: &mut Reasons,
    field: &str,
    before: Result<f64, Reason>,
    after: Result<f64, Reason>,
) -> Option<f64> {
    super::noted(reasons, field, before.and_then(|before| Ok((after? - before).max(0.0))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::tree;

    #[test]
    fn what_a_request_took_is_the_difference() {
        let stat = |micros: u64| format!("nr_periods 9\nnr_throttled 1\nthrottled_usec {micros}\n");
        let (cgroup, cpu, memory) = ("/proc/self/cgroup", "/sys/fs/cgroup/a/cpu.stat", "/proc/pressure/memory");
        let tree = tree(&[
            (cgroup, "0::/a\n"),
            (cpu, &stat(1000)),
            (memory, "some avg10=0.00 total=500000\n"),
            ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1200000\n"),
            ("/sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "3900000\n"),
        ]);
        let strain = Strain::open(Root::recorded(tree.path()));
        let before = strain.now();
        std::fs::write(tree.path().join("sys/fs/cgroup/a/cpu.stat"), stat(251_000)).unwrap();
        std::fs::write(tree.path().join("proc/pressure/memory"), "some avg10=0.00 total=1500000\n").unwrap();
        let mut sample = Sample::default();
        strain.fill(before, &mut sample);
        assert!((sample.throttled_s.unwrap() - 0.25).abs() < 1e-9);
        assert!((sample.memory_stall_s.unwrap() - 1.0).abs() < 1e-9);
        assert_eq!((sample.io_stall_s, sample.frequency_hz), (None, Some(3_900_000_000)));
        assert!(sample.reasons["io_stall_s"].contains("/proc/pressure/io"));
    }
}
