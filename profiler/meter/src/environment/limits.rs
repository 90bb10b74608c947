//! What a container or control group grants: memory and processor time, v1 and v2.
//!
//! A limit of an outer group binds the inner ones, so the smallest along the path counts.

use super::Groups;
use crate::root::Root;
use record::environment::Limits;

/// A v1 limit at or above this is the kernel's "none" (the largest multiple of a page in an i64).
const NO_LIMIT_V1: u64 = 1 << 62;

/// Reads `/proc/self/cgroup` and the groups below `/sys/fs/cgroup`.
pub fn read(root: &Root) -> Limits {
    let mut limits = Limits::default();
    let groups = match Groups::find(root) {
        Ok(groups) => groups,
        Err(why) => {
            for field in ["version", "memory_bytes", "cpus"] {
                limits.reasons.insert(field.to_owned(), why.to_string());
            }
            return limits;
        }
    };
    limits.version = Some(groups.version);

    let mut memory: Vec<u64> = Vec::new();
    let mut cpus: Vec<f64> = Vec::new();
    for folder in groups.unified {
        memory.extend(root.number::<u64>(&format!("{folder}/memory.max")));
        cpus.extend(root.text(&format!("{folder}/cpu.max")).ok().and_then(|text| quota_v2(&text)));
    }
    for folder in groups.memory {
        memory.extend(
            root.number::<u64>(&format!("{folder}/memory.limit_in_bytes")).ok().filter(|&bytes| bytes < NO_LIMIT_V1),
        );
    }
    for folder in groups.cpu {
        let quota = root.number::<i64>(&format!("{folder}/cpu.cfs_quota_us"));
        let period = root.number::<i64>(&format!("{folder}/cpu.cfs_period_us"));
        if let (Ok(quota @ 1..), Ok(period @ 1..)) = (quota, period) {
            cpus.push(quota as f64 / period as f64);
        }
    }
    limits.memory_bytes = memory.into_iter().min();
    limits.cpus = cpus.into_iter().min_by(f64::total_cmp);
    for (field, absent) in [("memory_bytes", limits.memory_bytes.is_none()), ("cpus", limits.cpus.is_none())] {
        if absent {
            limits.reasons.insert(field.to_owned(), "no limit is set".to_owned());
        }
    }
    limits
}

/// `150000 100000` -> 1.5; `max 100000` -> no limit.
fn quota_v2(text: &str) -> Option<f64> {
    let (quota, period) = text.split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.trim().parse().ok()?);
    (period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::tree;

    #[test]
    fn the_smallest_limit_along_the_path_counts() {
        let folder = tree(&[
            ("proc/self/cgroup", "0::/outer/inner\n"),
            ("sys/fs/cgroup/outer/memory.max", "1000000\n"),
            ("sys/fs/cgroup/outer/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/outer/inner/memory.max", "max\n"),
            ("sys/fs/cgroup/outer/inner/cpu.max", "150000 100000\n"),
        ]);
        let limits = read(&Root::recorded(folder.path()));
        assert_eq!(limits.version.as_deref(), Some("v2"));
        assert_eq!(limits.memory_bytes, Some(1_000_000));
        assert!(limits.cpus.is_some_and(|cpus| (cpus - 1.5).abs() < 1e-12));
    }

    #[test]
    fn version_one_knows_no_limit_as_a_huge_number() {
        let folder = tree(&[
            ("proc/self/cgroup", "4:memory:/a\n1:cpu,cpuacct:/a\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2147483648\n"),
            ("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n"),
        ]);
        let limits = read(&Root::recorded(folder.path()));
        assert_eq!(limits.version.as_deref(), Some("v1"));
        assert_eq!(limits.memory_bytes, Some(2 << 30));
        assert_eq!(limits.cpus, None);
        assert_eq!(limits.reasons["cpus"], "no limit is set");
    }
}
