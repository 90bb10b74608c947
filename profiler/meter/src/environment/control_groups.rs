//! Control groups (cgroups v1 and v2) of this process: their limits, and their use of memory and processor time so far.
//!
//! The figures of a group include the page cache and all other processes of the same container. A limit of an outer group
//! binds the inner ones, so the smallest limit along the path counts.

use crate::root::{FileError, Root};
use record::environment::{GroupUsage, GroupVersion, Limits};
use record::{Reason, Reasons};

const MOUNT: &str = "/sys/fs/cgroup";
/// Why there is no throttled time.
const UNLIMITED: &str = "no control group here limits processor time";

/// Below this folder a system with both versions mounts version 2.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// A v1 limit at or above this is the kernel's "none" (the largest multiple of a page in an i64).
const NO_LIMIT_V1: u64 = 1 << 62;

/// Memory and processor time that control groups grant.
pub fn read_limits(root: &Root) -> Limits {
    let groups = ControlGroups::find(root);
    let found = groups.as_ref().map_err(Reason::clone);
    let memory = found.clone().and_then(|groups| groups.memory_limit(root));
    let cpus = found.and_then(|groups| groups.cpu_limit(root));
    Limits {
        memory_bytes: memory.into(),
        cpus: cpus.into(),
        version: groups.map(|groups| groups.version).into(),
        notes: Reasons::new(),
    }
}

/// The folders of this process's own groups, the outermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlGroups {
    /// Which versions the system has.
    pub version: GroupVersion,
    /// Version 2, alone or next to version 1.
    pub unified: Vec<String>,
    /// Version 1: memory.
    pub memory: Vec<String>,
    /// Version 1: processor time.
    pub cpu: Vec<String>,
}

impl ControlGroups {
    /// Reads `/proc/self/cgroup`.
    ///
    /// # Errors
    /// When this process has no groups.
    pub fn find(root: &Root) -> Result<Self, Reason> {
        let text = root.text("/proc/self/cgroup")?;
        let unified = text.lines().any(|line| line.starts_with("0::"));
        let split = text.lines().any(|line| !line.starts_with("0::"));
        let version = match (unified, split) {
            (true, true) => GroupVersion::Hybrid,
            (true, false) => GroupVersion::V2,
            (false, _) => GroupVersion::V1,
        };
        let mount = if root.has(UNIFIED) { UNIFIED } else { MOUNT };
        Ok(Self {
            version,
            unified: ancestors(mount, path_of(&text, "")),
            memory: ancestors(&format!("{MOUNT}/memory"), path_of(&text, "memory")),
            cpu: ancestors(&format!("{MOUNT}/cpu"), path_of(&text, "cpu")),
        })
    }

    /// Use so far. Throttling of an outer group stops the inner ones too, so times are the largest along the path; memory is
    /// that of the innermost group that reports it.
    pub fn usage(&self, root: &Root) -> GroupUsage {
        let inner = |v2: &str, v1: &str| {
            let files = files(&self.unified, v2).chain(files(&self.memory, v1));
            files.map(|file| root.number::<u64>(&file)).reduce(Result::or)
        };
        let or_none = |found: Option<Result<u64, Reason>>| found.unwrap_or_else(|| Err(Reason::new("no memory group")));
        let stat = files(&self.unified, "memory.stat").chain(files(&self.memory, "memory.stat"));
        let stat =
            stat.map(|file| root.text(&file)).reduce(Result::or).unwrap_or_else(|| Err(Reason::new("no memory group")));
        let part = |names: &[&str]| {
            let text = stat.clone()?;
            let found = names.iter().find_map(|name| value(&text, name));
            found.ok_or_else(|| reason!("memory.stat: has no {}", names.join(" and no ")))
        };
        let throttling = throttling(self, root);
        let periods = throttling.clone().and_then(|totals| {
            totals.into_iter().map(|(periods, _)| periods).max().ok_or_else(|| Reason::new(UNLIMITED))
        });
        let throttled = throttling.and_then(longest);
        GroupUsage {
            memory_bytes: or_none(inner("memory.current", "memory.usage_in_bytes")).into(),
            memory_peak_bytes: or_none(inner("memory.peak", "memory.max_usage_in_bytes")).into(),
            // Version 1 without `total_` leaves the groups below out.
            anonymous_bytes: part(&["anon", "total_rss", "rss"]).into(),
            file_bytes: part(&["file", "total_cache", "cache"]).into(),
            refaults: part(&["workingset_refault_file", "workingset_refault"]).into(),
            throttled_periods: periods.into(),
            throttled_s: throttled.into(),
            memory_stall_s: self.memory_stall_s(root).into(),
            notes: Reasons::new(),
        }
    }

    /// How long the groups were throttled so far: one or two small files.
    ///
    /// # Errors
    /// When no group reports it, or a file cannot be read.
    pub fn throttled_s(&self, root: &Root) -> Result<f64, Reason> {
        throttling(self, root).and_then(longest)
    }

    /// The smallest limit of memory along the path, in bytes.
    fn memory_limit(&self, root: &Root) -> Result<u64, Reason> {
        let mut limits = Vec::new();
        for folder in &self.unified {
            limits.extend(limit(root, &format!("{folder}/memory.max"), bytes_v2)?);
        }
        for folder in &self.memory {
            limits.extend(limit(root, &format!("{folder}/memory.limit_in_bytes"), bytes_v1)?);
        }
        limits.into_iter().min().ok_or_else(|| Reason::new("no limit is set"))
    }

    /// The smallest limit of processor time along the path, in processors.
    fn cpu_limit(&self, root: &Root) -> Result<f64, Reason> {
        let mut limits = Vec::new();
        for folder in &self.unified {
            limits.extend(limit(root, &format!("{folder}/cpu.max"), quota_v2)?);
        }
        for folder in &self.cpu {
            if let Some(quota) = limit(root, &format!("{folder}/cpu.cfs_quota_us"), quota_v1)? {
                limits.push(quota as f64 / root.number::<f64>(&format!("{folder}/cpu.cfs_period_us"))?);
            }
        }
        limits.into_iter().min_by(f64::total_cmp).ok_or_else(|| Reason::new("no limit is set"))
    }

    /// Time in which some task of the innermost group waited for memory.
    fn memory_stall_s(&self, root: &Root) -> Result<f64, Reason> {
        let files = files(&self.unified, "memory.pressure").map(|file| root.text(&file)).reduce(Result::or);
        let text = files.unwrap_or_else(|| Err(Reason::new("only version 2 groups have memory.pressure")))?;
        super::pressure::total(&text, "some").ok_or_else(|| reason!("memory.pressure: found \"{text}\""))
    }
}

/// A limit from a file; `None` where the group has no such file or sets no limit.
fn limit<T>(root: &Root, path: &str, parse: fn(&str) -> Result<Option<T>, Reason>) -> Result<Option<T>, Reason> {
    match root.read(path) {
        Ok(text) => parse(text.trim()).map_err(|problem| reason!("{path}: {problem}")),
        Err(FileError::Absent(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// `1000000` or `max`.
fn bytes_v2(text: &str) -> Result<Option<u64>, Reason> {
    if text == "max" { Ok(None) } else { whole_number(text).map(Some) }
}

/// A huge number is no limit.
fn bytes_v1(text: &str) -> Result<Option<u64>, Reason> {
    whole_number(text).map(|bytes: u64| (bytes < NO_LIMIT_V1).then_some(bytes))
}

/// `150000 100000` -> 1.5; `max 100000` -> no limit.
fn quota_v2(text: &str) -> Result<Option<f64>, Reason> {
    let Some((quota, period)) = text.split_once(' ') else {
        return Err(reason!("expected a quota and a period, found \"{text}\""));
    };
    if quota == "max" {
        return Ok(None);
    }
    let (quota, period): (u64, u64) = (whole_number(quota)?, whole_number(period)?);
    Ok((period > 0).then(|| quota as f64 / period as f64))
}

/// Microseconds; -1 is no limit.
fn quota_v1(text: &str) -> Result<Option<i64>, Reason> {
    whole_number(text).map(|quota: i64| (quota > 0).then_some(quota))
}

fn whole_number<T: std::str::FromStr>(text: &str) -> Result<T, Reason> {
    text.trim().parse().map_err(|_| reason!("expected a number, found \"{text}\""))
}

/// The innermost file first.
fn files<'a>(folders: &'a [String], name: &'a str) -> impl Iterator<Item = String> + 'a {
    folders.iter().rev().map(move |folder| format!("{folder}/{name}"))
}

/// `cpu.stat` of every group along the path: throttled periods and time. Version 2 counts microseconds, version 1 nanoseconds. A group
/// without a limit of processor time has no such totals, or no such file.
///
/// # Errors
/// When a file cannot be read, or a total in it is not a number.
fn throttling(groups: &ControlGroups, root: &Root) -> Result<Vec<(u64, f64)>, Reason> {
    let mut found = Vec::new();
    for file in files(&groups.unified, "cpu.stat").chain(files(&groups.cpu, "cpu.stat")) {
        let text = match root.read(&file) {
            Ok(text) => text,
            Err(FileError::Absent(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        let total = |name: &str| -> Result<Option<u64>, Reason> {
            let text = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            text.map(whole_number).transpose().map_err(|problem| reason!("{file}: {name}: {problem}"))
        };
        let micros = total("throttled_usec")?.map(|micros| micros as f64 / 1e6);
        let seconds = micros.or(total("throttled_time")?.map(|nanos| nanos as f64 / 1e9));
        found.extend(total("nr_throttled")?.zip(seconds));
    }
    Ok(found)
}

/// The longest throttled time.
fn longest(totals: Vec<(u64, f64)>) -> Result<f64, Reason> {
    totals.into_iter().map(|(_, time)| time).max_by(f64::total_cmp).ok_or_else(|| Reason::new(UNLIMITED))
}

/// The number after a name.
fn value(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The path after `id:controllers:` for a controller; `""` is the unified hierarchy.
fn path_of<'a>(groups: &'a str, controller: &str) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        controllers.split(',').any(|name| name == controller).then_some(path)
    })
}

/// The group's folder and all above it. Inside a container the path may start outside the mount; then only the mount
/// itself can be read, which is the container's own group.
fn ancestors(mount: &str, path: Option<&str>) -> Vec<String> {
    let Some(path) = path else { return Vec::new() };
    let mut folders = vec![mount.to_owned()];
    let mut folder = mount.to_owned();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        folder = format!("{folder}/{part}");
        folders.push(folder.clone());
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::tree;

    #[test]
    fn version_2() {
        let tree = tree(&[
            ("/proc/self/cgroup", "0::/app.slice/run.scope\n"),
            (
                "/sys/fs/cgroup/app.slice/cpu.stat",
                "usage_usec 9\nnr_periods 50\nnr_throttled 7\nthrottled_usec 350000\n",
            ),
            (
                "/sys/fs/cgroup/app.slice/run.scope/cpu.stat",
                "usage_usec 9\nnr_periods 50\nnr_throttled 2\nthrottled_usec 100000\n",
            ),
            ("/sys/fs/cgroup/app.slice/run.scope/memory.current", "1000\n"),
            ("/sys/fs/cgroup/app.slice/run.scope/memory.peak", "3000\n"),
            (
                "/sys/fs/cgroup/app.slice/run.scope/memory.stat",
                "anon 600\nanon_thp 0\nfile 400\nfile_mapped 5\nworkingset_refault_anon 1\nworkingset_refault_file 12\n",
            ),
            (
                "/sys/fs/cgroup/app.slice/run.scope/memory.pressure",
                "some avg10=0.00 avg60=0.00 avg300=0.00 total=250000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
            ),
        ]);
        let root = Root::recorded(tree.path());
        let groups = ControlGroups::find(&root).unwrap();
        assert_eq!(groups.version, GroupVersion::V2);
        let usage = groups.usage(&root);
        let expected = GroupUsage {
            memory_bytes: 1000.into(),
            memory_peak_bytes: 3000.into(),
            anonymous_bytes: 600.into(),
            file_bytes: 400.into(),
            refaults: 12.into(),
            throttled_periods: 7.into(),
            throttled_s: 0.35.into(),
            memory_stall_s: 0.25.into(),
            notes: Reasons::new(),
        };
        assert_eq!(usage, expected, "the outer group's throttling counts");
    }

    #[test]
    fn version_1_in_a_container_reads_the_mount() {
        let tree = tree(&[
            ("/proc/self/cgroup", "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n"),
            ("/sys/fs/cgroup/cpu/cpu.stat", "nr_periods 10\nnr_throttled 4\nthrottled_time 1500000000\n"),
            ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "500\n"),
            ("/sys/fs/cgroup/memory/memory.max_usage_in_bytes", "900\n"),
            ("/sys/fs/cgroup/memory/memory.stat", "cache 10\nrss 20\ntotal_cache 100\ntotal_rss 300\n"),
        ]);
        let root = Root::recorded(tree.path());
        let usage = ControlGroups::find(&root).unwrap().usage(&root);
        assert_eq!((usage.memory_bytes.value(), usage.memory_peak_bytes.value()), (Some(500), Some(900)));
        assert_eq!((usage.anonymous_bytes.value(), usage.file_bytes.value()), (Some(300), Some(100)));
        assert_eq!((usage.throttled_periods.value(), usage.throttled_s.value()), (Some(4), Some(1.5)));
        assert!(usage.reasons()["refaults"].contains("workingset_refault"));
        assert!(usage.reasons()["memory_stall_s"].contains("version 2"));
    }

    #[test]
    fn without_groups_every_field_has_its_reason() {
        let tree = tree(&[("/proc/self/cgroup", "0::/\n")]);
        let root = Root::recorded(tree.path());
        let usage = ControlGroups::find(&root).unwrap().usage(&root);
        assert_eq!(usage.reasons().len(), 8, "{usage:?}");
        assert!(
            ControlGroups::find(&Root::recorded(tree.path().join("sys")))
                .unwrap_err()
                .as_str()
                .contains("/proc/self/cgroup")
        );
    }

    #[test]
    fn the_smallest_limit_along_the_path_counts() {
        let folder = tree(&[
            ("proc/self/cgroup", "0::/outer/inner\n"),
            ("sys/fs/cgroup/outer/memory.max", "1000000\n"),
            ("sys/fs/cgroup/outer/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/outer/inner/memory.max", "max\n"),
            ("sys/fs/cgroup/outer/inner/cpu.max", "150000 100000\n"),
        ]);
        let limits = read_limits(&Root::recorded(folder.path()));
        assert_eq!(limits.version.value(), Some(GroupVersion::V2));
        assert_eq!(limits.memory_bytes.value(), Some(1_000_000));
        assert!(limits.cpus.value().is_some_and(|cpus| (cpus - 1.5).abs() < 1e-12));
    }

    #[test]
    fn a_huge_number_is_no_limit_in_version_1() {
        let folder = tree(&[
            ("proc/self/cgroup", "4:memory:/a\n1:cpu,cpuacct:/a\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2147483648\n"),
            ("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n"),
        ]);
        let limits = read_limits(&Root::recorded(folder.path()));
        assert_eq!(limits.version.value(), Some(GroupVersion::V1));
        assert_eq!(limits.memory_bytes.value(), Some(2 << 30));
        assert_eq!(limits.cpus.reason().unwrap(), &"no limit is set");
    }

    #[test]
    fn a_limit_that_cannot_be_read_is_not_reported_as_no_limit() {
        let folder = tree(&[("proc/self/cgroup", "0::/a\n"), ("sys/fs/cgroup/a/memory.max", "1000000\n")]);
        let limits = read_limits(&Root::recorded(folder.path()).denying("memory.max"));
        assert!(limits.reasons()["memory_bytes"].contains("permission denied"), "{limits:?}");
        let folder = tree(&[("proc/self/cgroup", "0::/a\n"), ("sys/fs/cgroup/a/cpu.max", "many\n")]);
        let limits = read_limits(&Root::recorded(folder.path()));
        assert!(limits.reasons()["cpus"].contains("found \"many\""), "{limits:?}");
    }

    #[test]
    fn a_total_that_cannot_be_read_is_absent_with_its_reason() {
        let group = |stat: &str| {
            let tree = tree(&[("/proc/self/cgroup", "0::/a\n"), ("/sys/fs/cgroup/a/cpu.stat", stat)]);
            let root = Root::recorded(tree.path());
            let groups = ControlGroups::find(&root).unwrap();
            (groups.usage(&root), groups.throttled_s(&root))
        };
        let (usage, throttled) = group("usage_usec 9\nnr_throttled 2\nthrottled_usec many\n");
        insta::assert_snapshot!(throttled.unwrap_err(), @r#"/sys/fs/cgroup/a/cpu.stat: throttled_usec: expected a number, found "many""#);
        assert!(usage.throttled_s.is_absent());
        assert_eq!(usage.throttled_s.reason(), usage.throttled_periods.reason());
        let (_, unlimited) = group("usage_usec 9\n");
        assert_eq!(unlimited.unwrap_err(), UNLIMITED);
    }
}
