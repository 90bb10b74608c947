//! Where the control groups of this process lie, v1 and v2, and what they have used and refused so far.
//!
//! Limits are in [`super::limits`]. A group's figures count everything in it: page cache included, other processes of the
//! same container included.

use super::noted;
use crate::root::Root;
use record::environment::GroupUsage;
use record::{Reason, Reasons};

const MOUNT: &str = "/sys/fs/cgroup";
/// Below this folder a system with both versions mounts version 2.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// Nothing is known, for one reason.
pub(super) fn unknown_usage(reason: &str) -> GroupUsage {
    let fields = [
        "memory_bytes",
        "memory_peak_bytes",
        "anonymous_bytes",
        "file_bytes",
        "refaults",
        "throttled_periods",
        "throttled_s",
        "memory_stall_s",
    ];
    GroupUsage { reasons: fields.map(|field| (field.to_owned(), reason.to_owned())).into(), ..GroupUsage::default() }
}

/// The folders of this process's own groups; the outermost one stands first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups {
    /// `v1`, `v2` or `hybrid`.
    pub version: String,
    /// Version 2, both where it is the only one and where it stands beside version 1.
    pub unified: Vec<String>,
    /// Version 1: memory.
    pub memory: Vec<String>,
    /// Version 1: processor time.
    pub cpu: Vec<String>,
}

impl Groups {
    /// Reads `/proc/self/cgroup`.
    ///
    /// # Errors
    /// The reason, where this process has no groups.
    pub fn find(root: &Root) -> Result<Self, Reason> {
        let text = root.text("/proc/self/cgroup")?;
        let unified = text.lines().any(|line| line.starts_with("0::"));
        let split = text.lines().any(|line| !line.starts_with("0::"));
        let version = match (unified, split) {
            (true, true) => "hybrid",
            (true, false) => "v2",
            _ => "v1",
        };
        let mount = if root.has(UNIFIED) { UNIFIED } else { MOUNT };
        Ok(Self {
            version: version.to_owned(),
            unified: ancestors(mount, path_of(&text, "")),
            memory: ancestors(&format!("{MOUNT}/memory"), path_of(&text, "memory")),
            cpu: ancestors(&format!("{MOUNT}/cpu"), path_of(&text, "cpu")),
        })
    }

    /// What was used so far. An outer group's throttling stops the inner ones too, so times are the largest along the path;
    /// memory is that of the innermost group that tells.
    pub fn usage(&self, root: &Root) -> GroupUsage {
        let mut reasons = Reasons::new();
        let inner = |v2: &str, v1: &str| {
            let files = files(&self.unified, v2).chain(files(&self.memory, v1));
            files.map(|file| root.number::<u64>(&file)).reduce(Result::or)
        };
        let told = |found: Option<Result<u64, Reason>>| found.unwrap_or_else(|| Err(Reason::new("no memory group")));
        let stat = files(&self.unified, "memory.stat").chain(files(&self.memory, "memory.stat"));
        let stat =
            stat.map(|file| root.text(&file)).reduce(Result::or).unwrap_or_else(|| Err(Reason::new("no memory group")));
        let part = |names: &[&str]| {
            let text = stat.clone()?;
            let found = names.iter().find_map(|name| value(&text, name));
            found.ok_or_else(|| reason!("memory.stat: has no {}", names.join(" and no ")))
        };
        let throttling: Vec<(u64, f64)> = throttling(self, root);
        let unlimited = || Reason::new("no control group here limits processor time");
        let periods = throttling.iter().map(|(periods, _)| *periods).max().ok_or_else(unlimited);
        let throttled = throttling.iter().map(|(_, time)| *time).max_by(f64::total_cmp).ok_or_else(unlimited);
        GroupUsage {
            memory_bytes: noted(&mut reasons, "memory_bytes", told(inner("memory.current", "memory.usage_in_bytes"))),
            memory_peak_bytes: noted(
                &mut reasons,
                "memory_peak_bytes",
                told(inner("memory.peak", "memory.max_usage_in_bytes")),
            ),
            // Version 1 without `total_` leaves the groups below out.
            anonymous_bytes: noted(&mut reasons, "anonymous_bytes", part(&["anon", "total_rss", "rss"])),
            file_bytes: noted(&mut reasons, "file_bytes", part(&["file", "total_cache", "cache"])),
            refaults: noted(&mut reasons, "refaults", part(&["workingset_refault_file", "workingset_refault"])),
            throttled_periods: noted(&mut reasons, "throttled_periods", periods),
            throttled_s: noted(&mut reasons, "throttled_s", throttled),
            memory_stall_s: noted(&mut reasons, "memory_stall_s", self.memory_stall_s(root)),
            reasons,
        }
    }

    /// For how long the groups were stopped because their processor time was used up, so far: one or two small files.
    ///
    /// # Errors
    /// Where no group tells.
    pub fn throttled_s(&self, root: &Root) -> Result<f64, Reason> {
        let times = throttling(self, root).into_iter().map(|(_, time)| time);
        times.max_by(f64::total_cmp).ok_or_else(|| Reason::new("no control group here limits processor time"))
    }

    /// Time in which some task of the innermost group waited for memory.
    fn memory_stall_s(&self, root: &Root) -> Result<f64, Reason> {
        let files = files(&self.unified, "memory.pressure").map(|file| root.text(&file)).reduce(Result::or);
        let text = files.unwrap_or_else(|| Err(Reason::new("only version 2 groups have memory.pressure")))?;
        super::pressure::total(&text, "some").ok_or_else(|| reason!("memory.pressure: found \"{text}\""))
    }
}

/// The innermost file first.
fn files<'a>(folders: &'a [String], name: &'a str) -> impl Iterator<Item = String> + 'a {
    folders.iter().rev().map(move |folder| format!("{folder}/{name}"))
}

/// `cpu.stat` of every group along the path: throttled periods and time. Version 2 counts microseconds, version 1 nanoseconds.
fn throttling(groups: &Groups, root: &Root) -> Vec<(u64, f64)> {
    let texts = files(&groups.unified, "cpu.stat").chain(files(&groups.cpu, "cpu.stat"));
    let texts = texts.filter_map(|file| root.text(&file).ok());
    texts
        .filter_map(|text| {
            let time = value(&text, "throttled_usec").map(|micros| micros as f64 / 1e6);
            let time = time.or_else(|| value(&text, "throttled_time").map(|nanos| nanos as f64 / 1e9))?;
            Some((value(&text, "nr_throttled")?, time))
        })
        .collect()
}

/// The number behind a name.
fn value(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The path behind `id:controllers:` for a controller; `""` is the unified hierarchy.
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
        let groups = Groups::find(&root).unwrap();
        assert_eq!(groups.version, "v2");
        let usage = groups.usage(&root);
        let expected = GroupUsage {
            memory_bytes: Some(1000),
            memory_peak_bytes: Some(3000),
            anonymous_bytes: Some(600),
            file_bytes: Some(400),
            refaults: Some(12),
            throttled_periods: Some(7),
            throttled_s: Some(0.35),
            memory_stall_s: Some(0.25),
            reasons: Reasons::new(),
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
        let usage = Groups::find(&root).unwrap().usage(&root);
        assert_eq!((usage.memory_bytes, usage.memory_peak_bytes), (Some(500), Some(900)));
        assert_eq!((usage.anonymous_bytes, usage.file_bytes, usage.refaults), (Some(300), Some(100), None));
        assert_eq!((usage.throttled_periods, usage.throttled_s), (Some(4), Some(1.5)));
        assert!(usage.reasons["refaults"].contains("workingset_refault"));
        assert!(usage.reasons["memory_stall_s"].contains("version 2"));
    }

    #[test]
    fn without_groups_every_field_has_its_reason() {
        let tree = tree(&[("/proc/self/cgroup", "0::/\n")]);
        let root = Root::recorded(tree.path());
        let usage = Groups::find(&root).unwrap().usage(&root);
        assert_eq!(usage.reasons.len(), 8, "{usage:?}");
        assert!(
            Groups::find(&Root::recorded(tree.path().join("sys"))).unwrap_err().as_str().contains("/proc/self/cgroup")
        );
    }
}
