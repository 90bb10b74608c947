//! [`PressureReader`]: delays of a request that the engine does not cause (throttling, memory and I/O stalls). It is read at the
//! edges of a request, outside of the timing.
//!
//! Each reading takes three small files. The frequency is read only after the request, while the processors still run at it.

use super::conditions::frequencies;
use super::{ControlGroups, read_stall};
use crate::root::Root;
use record::{Reason, Recorded};

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

/// What the machine did during a request; the fields are those of [`record::Sample`].
#[derive(Debug, Clone, PartialEq)]
pub struct RequestPressure {
    /// For how long the control groups were stopped.
    pub throttled_s: Recorded<f64>,
    /// For how long some task waited for memory.
    pub memory_stall_s: Recorded<f64>,
    /// For how long some task waited for storage.
    pub io_stall_s: Recorded<f64>,
    /// Frequency of the fastest processor at its end.
    pub frequency_hz: Recorded<u64>,
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

    /// The differences since `before`, and the highest processor frequency now.
    pub fn since(&self, before: PressureTotals) -> RequestPressure {
        let after = self.totals();
        let fastest = frequencies(&self.root)
            .and_then(|all| all.into_iter().max().ok_or_else(|| Reason::new("no processor reports its frequency")));
        RequestPressure {
            throttled_s: difference(before.throttled, after.throttled),
            memory_stall_s: difference(before.memory, after.memory),
            io_stall_s: difference(before.io, after.io),
            frequency_hz: fastest.into(),
        }
    }
}

impl RequestPressure {
    /// Without any figure.
    pub fn absent(reason: &Reason) -> Self {
        let absent = || Recorded::Absent(reason.clone());
        Self {
            throttled_s: absent(),
            memory_stall_s: absent(),
            io_stall_s: absent(),
            frequency_hz: Recorded::Absent(reason.clone()),
        }
    }
}

fn difference(before: Result<f64, Reason>, after: Result<f64, Reason>) -> Recorded<f64> {
    before.and_then(|before| Ok((after? - before).max(0.0))).into()
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
        let found = reader.since(before);
        assert!((found.throttled_s.value().unwrap() - 0.25).abs() < 1e-9);
        assert!((found.memory_stall_s.value().unwrap() - 1.0).abs() < 1e-9);
        assert_eq!(found.frequency_hz.value(), Some(3_900_000_000));
        assert!(found.io_stall_s.reason().unwrap().as_str().contains("/proc/pressure/io"));
    }
}
