//! The machine's state at the start of a run: load, steal, use of the processors.

use record::environment::State;
use traces::{Nanos, clock};

use crate::root::Root;
use record::{Reason, Reasons, Recorded};

/// How long load and steal are sampled.
pub(super) const SAMPLING: Nanos = Nanos::from_millis(100);

/// Why the shares of a recorded machine are absent.
pub(super) const NOT_SAMPLED: &str = "not sampled";

/// Processor time by kind, in the kernel's ticks, all processors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// Everything, idle included.
    pub total: u64,
    /// Idle and waiting for I/O.
    pub idle: u64,
    /// Taken by the hypervisor.
    pub steal: u64,
}

impl CpuTimes {
    /// The first line of `/proc/stat`: user nice system idle iowait irq softirq steal guest guest_nice. Guest time is
    /// part of user time already.
    ///
    /// # Errors
    /// When the line has another form.
    pub fn parse(stat: &str) -> Result<Self, Reason> {
        let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu "));
        let ticks: Vec<u64> = line.unwrap_or_default().split_whitespace().map_while(|tick| tick.parse().ok()).collect();
        if ticks.len() < 8 {
            return Err(Reason::new("/proc/stat: expected eight numbers after \"cpu\""));
        }
        Ok(Self { total: ticks[..8].iter().sum(), idle: ticks[3] + ticks[4], steal: ticks[7] })
    }

    /// Share of the time since `before` that the hypervisor took; `None` where no tick has passed.
    pub fn steal_share(self, before: Self) -> Option<f64> {
        share(self.steal.saturating_sub(before.steal), self.total.saturating_sub(before.total))
    }

    /// Share of the time since `before` that was neither idle nor taken by the hypervisor.
    pub fn busy_share(self, before: Self) -> Option<f64> {
        let unused = (self.idle + self.steal).saturating_sub(before.idle + before.steal);
        let total = self.total.saturating_sub(before.total);
        share(total.saturating_sub(unused), total)
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Reads `/proc/loadavg`, `/proc/uptime` and `/proc/stat`.
pub fn read(root: &Root) -> State {
    let load = root.text("/proc/loadavg");
    let average = |index: usize| {
        load.clone().and_then(|text| word(&text, index).ok_or_else(|| reason!("/proc/loadavg: found \"{text}\"")))
    };
    let uptime = root
        .text("/proc/uptime")
        .and_then(|text| word(&text, 0).ok_or_else(|| reason!("/proc/uptime: found \"{text}\"")));
    let times = root.text("/proc/stat").and_then(|text| CpuTimes::parse(&text));
    let steal = times.and_then(|times| {
        times.steal_share(CpuTimes::default()).ok_or_else(|| Reason::new("/proc/stat: no time has passed"))
    });
    State {
        load_1m: average(0).into(),
        load_15m: average(2).into(),
        uptime_s: uptime.into(),
        steal_since_boot: steal.into(),
        steal_now: Recorded::absent(NOT_SAMPLED),
        busy_now: Recorded::absent(NOT_SAMPLED),
        thermal_pressure: None,
        scheduling_class: None,
        notes: Reasons::new(),
    }
}

/// Samples the processors for a tenth of a second.
#[cfg_attr(target_os = "macos", allow(dead_code, reason = "macOS has its own calls"))]
pub(super) fn sample(root: &Root, state: &mut State) {
    let times = || root.text("/proc/stat").and_then(|text| CpuTimes::parse(&text));
    let sampled = times().and_then(|before| {
        clock::sleep(SAMPLING);
        Ok((before, times()?))
    });
    let short = || Reason::new("no tick passed during the sampling");
    let steal = sampled.clone().and_then(|(before, after)| after.steal_share(before).ok_or_else(short));
    let busy = sampled.and_then(|(before, after)| after.busy_share(before).ok_or_else(short));
    state.steal_now = steal.into();
    state.busy_now = busy.into();
}

fn word(text: &str, index: usize) -> Option<f64> {
    text.split_whitespace().nth(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_from_differences() {
        let before = CpuTimes::parse("cpu  100 0 0 100 0 0 0 0 0 0\ncpu0 1").unwrap();
        let after = CpuTimes::parse("cpu  140 0 10 140 0 0 0 10 0 0\n").unwrap();
        assert_eq!(after.steal_share(before), Some(0.1));
        assert_eq!(after.busy_share(before), Some(0.5));
        assert_eq!(before.steal_share(before), None);
    }

    #[test]
    fn a_short_line_is_refused() {
        assert!(CpuTimes::parse("cpu  1 2 3").is_err());
        assert!(CpuTimes::parse("").is_err());
    }
}
