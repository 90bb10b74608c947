//! [`PressureReader`]: delays of a request that the engine does not cause (throttling, memory and I/O stalls). It is read at the
//! edges of a request, outside of the timing.
//!
//! Each reading takes three small files. The frequency is read only after the request, while the processors still run at it.

use super::conditions::frequencies;
use super::{ControlGroups, read_stall};
use crate::root::Root;
use record::{Reason, Reasons, Sample};

/// Reads throttling and stall times of this process's control groups and of the machine.
#[derive(Debug)]
pub struct PressureReader {
    root: Root,
    groups: Result<ControlGroups, Reason>,
}

/// Totals at one moment, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct PressureTotals {
    throttled: Result<f64, Reason>,
    memory: Result<f64, Reason>,
    io: Result<f64, Reason>,
}

impl PressureReader {
    /// Finds this process's groups below a root.
    pub fn open(root: Root) -> Self {
        let groups = ControlGroups::find(&root);
        Self { root, groups }
    }

    /// The present totals.
    pub fn totals(&self) -> PressureTotals {
        let groups = self.groups.as_ref().map_err(Clone::clone);
        PressureTotals {
            throttled: groups.and_then(|groups| groups.throttled_s(&self.root)),
            memory: read_stall(&self.root, "memory", "some"),
            io: read_stall(&self.root, "io", "some"),
        }
    }

    /// Fills in the differences since `before`, and the highest processor frequency now.
    pub fn fill(&self, before: PressureTotals, sample: &mut Sample) {
        let after = self.totals();
        let reasons = &mut sample.reasons;
        sample.throttled_s = difference(reasons, "throttled_s", before.throttled, after.throttled);
        sample.memory_stall_s = difference(reasons, "memory_stall_s", before.memory, after.memory);
        sample.io_stall_s = difference(reasons, "io_stall_s", before.io, after.io);
        let fastest = frequencies(&self.root)
            .and_then(|all| all.into_iter().max().ok_or_else(|| Reason::new("no processor reports its frequency")));
        sample.frequency_hz = super::noted(reasons, "frequency_hz", fastest);
    }

    /// Notes `reason` for every field: with virtual time nothing of this machine enters a sample.
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
    fn figures_of_a_request_are_differences() {
        let stat = |micros: u64| format!("nr_periods 9\nnr_throttled 1\nthrottled_usec {micros}\n");
        let (cgroup, cpu, memory) = ("/proc/self/cgroup", "/sys/fs/cgroup/a/cpu.stat", "/proc/pressure/memory");
        let tree = tree(&[
            (cgroup, "0::/a\n"),
            (cpu, &stat(1000)),
            (memory, "some avg10=0.00 total=500000\n"),
            ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1200000\n"),
            ("/sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "3900000\n"),
        ]);
        let reader = PressureReader::open(Root::recorded(tree.path()));
        let before = reader.totals();
        std::fs::write(tree.path().join("sys/fs/cgroup/a/cpu.stat"), stat(251_000)).unwrap();
        std::fs::write(tree.path().join("proc/pressure/memory"), "some avg10=0.00 total=1500000\n").unwrap();
        let mut sample = Sample::default();
        reader.fill(before, &mut sample);
        assert!((sample.throttled_s.unwrap() - 0.25).abs() < 1e-9);
        assert!((sample.memory_stall_s.unwrap() - 1.0).abs() < 1e-9);
        assert_eq!((sample.io_stall_s, sample.frequency_hz), (None, Some(3_900_000_000)));
        assert!(sample.reasons["io_stall_s"].contains("/proc/pressure/io"));
    }
}
