//! [`MachineLoad`]: use of the processors by other programs while a request ran.

use record::Reason;
/// The machine's processor time so far, all cores, in clock ticks of the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MachineLoad {
    /// Busy time.
    pub busy: u64,
    /// All time.
    pub total: u64,
    /// Time that the hypervisor gave to other guests.
    pub steal: u64,
    /// Ticks per second.
    pub ticks_per_second: u64,
}

/// The fewest ticks, all cores together: with fewer a share would be mostly rounding.
const FEWEST_TICKS: u64 = 20;

impl MachineLoad {
    /// Shares since `before`: of other processes, and of the hypervisor; 0 to 1 of all cores.
    ///
    /// ```text
    /// others = (busy - own CPU time) / total      steal = stolen / total
    /// ```
    ///
    /// # Errors
    /// When fewer ticks than that have passed.
    #[allow(clippy::cast_precision_loss, reason = "ticks stay far below 2^53")]
    pub fn shares_since(&self, before: &Self, own_cpu_seconds: f64) -> Result<(f64, f64), Reason> {
        let total = self.total.saturating_sub(before.total);
        if total < FEWEST_TICKS {
            return Err(reason!(
                "the request was too short for the kernel's {} clock ticks per second",
                self.ticks_per_second
            ));
        }
        let busy = self.busy.saturating_sub(before.busy) as f64;
        let steal = self.steal.saturating_sub(before.steal) as f64;
        let own = own_cpu_seconds * self.ticks_per_second as f64;
        let total = total as f64;
        Ok((((busy - own) / total).clamp(0.0, 1.0), (steal / total).clamp(0.0, 1.0)))
    }

    /// The first line of `/proc/stat`: user nice system idle iowait irq softirq steal guest guest_nice, in ticks.
    /// Guest time is part of user time already.
    #[cfg(any(target_os = "linux", test))]
    pub(super) fn parse(text: &str, ticks_per_second: u64) -> Option<Self> {
        let mut fields = text.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace().map(str::parse::<u64>);
        let mut field = || fields.next().and_then(Result::ok);
        let (user, nice, system, idle) = (field()?, field()?, field()?, field()?);
        let (iowait, irq, softirq, steal) =
            (field().unwrap_or(0), field().unwrap_or(0), field().unwrap_or(0), field().unwrap_or(0));
        let busy = user + nice + system + irq + softirq;
        Some(Self { busy, total: busy + idle + iowait + steal, steal, ticks_per_second })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &str = "cpu  4705 150 1120 16250 520 30 45 80 0 0\ncpu0 2352 75 560 8125 260 15 22 40 0 0\n";

    #[test]
    fn a_recorded_proc_stat() {
        let load = MachineLoad::parse(RECORDED, 100).unwrap();
        assert_eq!(load, MachineLoad { busy: 6050, total: 22900, steal: 80, ticks_per_second: 100 });
        assert_eq!(MachineLoad::parse("intr 5\n", 100), None);
        assert_eq!(MachineLoad::parse("", 100), None);
    }

    #[test]
    fn shares_exclude_this_process() {
        let before = MachineLoad { busy: 1000, total: 4000, steal: 0, ticks_per_second: 100 };
        let after = MachineLoad { busy: 1300, total: 4400, steal: 20, ticks_per_second: 100 };
        // 3 s of 4 s busy, 2 s of them by this process.
        let (others, steal) = after.shares_since(&before, 2.0).unwrap();
        assert!((others - 0.25).abs() < 1e-9 && (steal - 0.05).abs() < 1e-9);
        // Rounding to ticks may make this process look busier than the machine.
        assert!(after.shares_since(&before, 9.0).unwrap().0.abs() < 1e-9);
        let soon = MachineLoad { total: 4005, ..before };
        assert!(soon.shares_since(&before, 0.0).unwrap_err().as_str().contains("too short"));
    }
}
