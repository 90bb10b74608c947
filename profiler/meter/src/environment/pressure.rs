//! Pressure stall information: how long tasks waited for processors, memory or storage.

use crate::root::Root;
use record::environment::Pressure;
use record::{Reason, Reasons};

/// Reads `/proc/pressure`.
pub fn read(root: &Root) -> Pressure {
    let total = |resource: &str, kind: &str| one(root, resource, kind).into();
    Pressure {
        cpu_some_s: total("cpu", "some"),
        memory_some_s: total("memory", "some"),
        memory_full_s: total("memory", "full"),
        io_some_s: total("io", "some"),
        io_full_s: total("io", "full"),
        notes: Reasons::new(),
    }
}

/// One total: `some` or `full` of `cpu`, `memory` or `io`.
///
/// # Errors
/// When the kernel does not report it.
pub fn one(root: &Root, resource: &str, kind: &str) -> Result<f64, Reason> {
    let path = format!("/proc/pressure/{resource}");
    let text = root.text(&path).map_err(|reason| {
        reason!("{reason}: the kernel is older than 4.20, or pressure information is off (boot with `psi=1`)")
    })?;
    total(&text, kind).ok_or_else(|| reason!("{path}: has no total of \"{kind}\""))
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=5909142` -> 5.909142 s.
pub(super) fn total(text: &str, kind: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.split(' ').next() == Some(kind))?;
    let micros: u64 = line.split(' ').find_map(|word| word.strip_prefix("total="))?.parse().ok()?;
    Some(micros as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::tree;

    #[test]
    fn totals_are_microseconds() {
        let tree = tree(&[
            ("/proc/pressure/cpu", "some avg10=1.00 avg60=0.00 avg300=0.00 total=2500000\n"),
            ("/proc/pressure/memory", "some avg10=0.00 total=5909142\nfull avg10=0.00 total=1904301\n"),
        ]);
        let found = read(&Root::recorded(tree.path()));
        assert_eq!(found.cpu_some_s.value(), Some(2.5));
        assert_eq!((found.memory_some_s.value(), found.memory_full_s.value()), (Some(5.909_142), Some(1.904_301)));
        assert!(found.reasons()["io_some_s"].contains("psi=1"), "{found:?}");
        assert_eq!(total("full total=x", "full"), None);
    }
}
