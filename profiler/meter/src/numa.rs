//! NUMA placement: the memory nodes of this process's pages, and the nodes on which its threads run.
//!
//! The kernel walks all page tables for `numa_maps` (milliseconds per GiB), so it is read once per session, outside of the
//! timing, and only on machines with more than one node.

use record::Reason;
use std::collections::BTreeMap;

use crate::root::Root;
use record::MemoryNodeRow;

const NODES: &str = "/sys/devices/system/node";

/// Pages and threads per node. Mappings of `files` are those of the model.
///
/// # Errors
/// When the system does not report it, or has only one node.
pub fn numa_placement(root: &Root, files: &[String]) -> Result<Vec<MemoryNodeRow>, Reason> {
    let processors = processors_of_nodes(root)?;
    if processors.len() < 2 {
        return Err(Reason::new("this machine has one memory node: all memory is local"));
    }
    let maps = root.text("/proc/self/numa_maps").map_err(|reason| reason!("{reason}: the kernel lacks CONFIG_NUMA"))?;
    let mut nodes: BTreeMap<u32, MemoryNodeRow> =
        processors.keys().map(|&node| (node, MemoryNodeRow { node, ..MemoryNodeRow::default() })).collect();
    for line in maps.lines() {
        add_mapping(&mut nodes, line, files);
    }
    for thread in root.names("/proc/self/task")? {
        // A thread that ended meanwhile runs nowhere.
        let Ok(stat) = root.text(&format!("/proc/self/task/{thread}/stat")) else { continue };
        let Some(processor) = last_processor(&stat) else {
            return Err(reason!("/proc/self/task/{thread}/stat: has no processor"));
        };
        let node = processors.iter().find(|(_, list)| list.contains(&processor)).map(|(node, _)| *node);
        if let Some(row) = node.and_then(|node| nodes.get_mut(&node)) {
            row.threads += 1;
        }
    }
    Ok(nodes.into_values().collect())
}

/// `7f.. default file=/m.gguf mapped=9 N0=4 N1=5 kernelpagesize_kB=4`: pages per node.
fn add_mapping(nodes: &mut BTreeMap<u32, MemoryNodeRow>, line: &str, files: &[String]) {
    let word = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name));
    // Spaces in names are written as octal numbers.
    let of_model = word("file=").is_some_and(|name| files.iter().any(|file| file.replace(' ', "\\040") == name));
    let backed = word("file=").is_some();
    let page = word("kernelpagesize_kB=").and_then(|size| size.parse::<u64>().ok()).unwrap_or(4) * 1024;
    for word in line.split(' ') {
        let Some((node, pages)) = word.strip_prefix('N').and_then(|word| word.split_once('=')) else { continue };
        let (Ok(node), Ok(pages)) = (node.parse::<u32>(), pages.parse::<u64>()) else { continue };
        let row = nodes.entry(node).or_insert_with(|| MemoryNodeRow { node, ..MemoryNodeRow::default() });
        if of_model {
            row.model_bytes += pages * page;
        } else if !backed {
            row.anonymous_bytes += pages * page;
        }
    }
}

/// The processors of each online node.
fn processors_of_nodes(root: &Root) -> Result<BTreeMap<u32, Vec<u32>>, Reason> {
    let names = root.names(NODES)?;
    let nodes = names.iter().filter_map(|name| name.strip_prefix("node")?.parse::<u32>().ok());
    // A node without processors has an empty list.
    nodes.map(|node| Ok((node, list(&root.text(&format!("{NODES}/node{node}/cpulist"))?)))).collect()
}

/// `0-3,8` -> 0 1 2 3 8.
fn list(text: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<u32>().ok()?..=last.trim().parse::<u32>().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

/// Field 39 of `stat`: the processor that a thread ran on last.
fn last_processor(stat: &str) -> Option<u32> {
    stat.rsplit_once(") ")?.1.split_ascii_whitespace().nth(36)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::tree as recorded_tree;

    fn stat(processor: u32) -> String {
        // state, then 35 fields, then the processor.
        format!("7 (a b) S {}{processor} 0 0\n", "0 ".repeat(35))
    }

    #[test]
    fn pages_and_threads_of_a_machine_with_two_nodes() {
        let maps = "55d0 default file=/usr/bin/x mapped=2 N0=2 kernelpagesize_kB=4\n\
                    7f00 default file=/models/a\\040b.gguf mapped=300 N0=100 N1=200 kernelpagesize_kB=4\n\
                    7f10 default anon=512 dirty=512 N1=512 kernelpagesize_kB=4\n\
                    7f20 default heap anon=3 dirty=3 N0=3 kernelpagesize_kB=2048\n\
                    7f30 default stack\n";
        let tree = recorded_tree(&[
            ("/sys/devices/system/node/node0/cpulist", "0-3,8\n"),
            ("/sys/devices/system/node/node1/cpulist", "4-7\n"),
            ("/sys/devices/system/node/online", "0-1\n"),
            ("/proc/self/numa_maps", maps),
            ("/proc/self/task/7/stat", &stat(8)),
            ("/proc/self/task/8/stat", &stat(1)),
            ("/proc/self/task/9/stat", &stat(5)),
        ]);
        let found = numa_placement(&Root::recorded(tree.path()), &["/models/a b.gguf".to_owned()]).unwrap();
        let row =
            |node, model_bytes, anonymous_bytes, threads| MemoryNodeRow { node, model_bytes, anonymous_bytes, threads };
        assert_eq!(found, [row(0, 100 << 12, 3 << 21, 2), row(1, 200 << 12, 512 << 12, 1)]);
    }

    #[test]
    fn one_node_needs_no_page_table_walk() {
        let tree = recorded_tree(&[("/sys/devices/system/node/node0/cpulist", "0-1\n")]);
        assert!(numa_placement(&Root::recorded(tree.path()), &[]).unwrap_err().as_str().contains("one memory node"));
        assert!(
            numa_placement(&Root::recorded(tree.path().join("x")), &[])
                .unwrap_err()
                .as_str()
                .contains("not on this system")
        );
    }
}
