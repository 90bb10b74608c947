//! [`ProcessTotals`]: totals of a process tree whose processes start and end.
//!
//! ```text
//! total = sum over living processes (own + children that they waited for)
//!       + last seen values of ended processes that no process of the tree waited for
//! ```
//! A parent that waits for a child takes over the child's values. The values of a child whose parent is gone, or does not wait,
//! are lost in the kernel. So each process has a balance: the last seen values of its ended children against the values that it
//! has taken over since. Only the shortage is added, computed anew at each reading: a child that ended a moment before its
//! parent took it over is no shortage one reading later. Parents are read before their children, so no child is counted both
//! alive and taken over.

use std::collections::BTreeMap;

use crate::process_snapshot::{FIGURES, ProcessSnapshot};

type Figures = [u64; FIGURES];

#[derive(Debug, Clone)]
struct Entry {
    parent: u32,
    started: u64,
    total: Figures,
    reaped: Figures,
    balance: ChildBalance,
}

/// The last seen values of a process's ended children, and what it had taken over when it was first seen.
#[derive(Debug, Clone, Default)]
struct ChildBalance {
    due: Figures,
    before: Figures,
}

impl Entry {
    /// Values of ended children that this process has not taken over.
    fn shortage(&self) -> Figures {
        std::array::from_fn(|figure| {
            let taken = self.reaped[figure].saturating_sub(self.balance.before[figure]);
            self.balance.due[figure].saturating_sub(taken)
        })
    }
}

/// Living processes by their ids, and the values of ended ones.
#[derive(Debug, Default)]
pub(super) struct ProcessTotals {
    living: BTreeMap<u32, Entry>,
    /// Values of ended processes that no process of the tree can have waited for.
    left: Figures,
    /// The last seen switches of every thread: by process id, its start time, thread id.
    threads: BTreeMap<(u32, u64, u32), (u64, u64)>,
    /// Switches of ended threads whose ids were reused.
    left_switches: (u64, u64),
}

impl ProcessTotals {
    /// The ids of the processes that were alive at the last reading.
    pub(super) fn pids(&self) -> impl Iterator<Item = u32> {
        self.living.keys().copied().collect::<Vec<_>>().into_iter()
    }

    /// Whether this process was alive at the last reading; a reused id is another process.
    pub(super) fn contains(&self, member: &ProcessSnapshot) -> bool {
        self.living.get(&member.pid).is_some_and(|entry| entry.started == member.started)
    }

    /// Adds a reading and returns the totals.
    pub(super) fn update(&mut self, tree: &[ProcessSnapshot]) -> Figures {
        let before = std::mem::take(&mut self.living);
        for member in tree {
            let old = before.get(&member.pid).filter(|entry| entry.started == member.started);
            let balance = old.map_or_else(
                || ChildBalance { due: [0; FIGURES], before: member.reaped },
                |entry| entry.balance.clone(),
            );
            let entry = Entry {
                parent: member.parent,
                started: member.started,
                total: member.total,
                reaped: member.reaped,
                balance,
            };
            self.living.insert(member.pid, entry);
            self.add_switches(member);
        }
        for (pid, entry) in &before {
            let lives = |pid: u32, started: u64| self.living.get(&pid).is_some_and(|entry| entry.started == started);
            if lives(*pid, entry.started) {
                continue;
            }
            // The nearest living ancestor inherits its values.
            let (mut parent, mut ancestor_id) = (entry.parent, None);
            while let Some(ancestor) = before.get(&parent) {
                if lives(parent, ancestor.started) {
                    ancestor_id = Some(parent);
                    break;
                }
                if ancestor.parent == parent {
                    break;
                }
                parent = ancestor.parent;
            }
            let had = add(entry.total, entry.shortage());
            match ancestor_id.and_then(|ancestor_id| self.living.get_mut(&ancestor_id)) {
                Some(ancestor_id) => ancestor_id.balance.due = add(ancestor_id.balance.due, had),
                None => self.left = add(self.left, had),
            }
        }
        self.living.values().fold(self.left, |sum, entry| add(add(sum, entry.total), entry.shortage()))
    }

    /// Switches of all threads that some reading has seen: voluntary, involuntary.
    pub(super) fn switches(&self) -> (u64, u64) {
        let both = |sum: (u64, u64), thread: &(u64, u64)| (sum.0 + thread.0, sum.1 + thread.1);
        self.threads.values().fold(self.left_switches, both)
    }

    fn add_switches(&mut self, member: &ProcessSnapshot) {
        for &(thread, voluntary, involuntary) in member.switches.iter().flatten() {
            let last = self.threads.entry((member.pid, member.started, thread)).or_default();
            if voluntary < last.0 || involuntary < last.1 {
                // Another thread has the id of one that ended.
                self.left_switches = (self.left_switches.0 + last.0, self.left_switches.1 + last.1);
            }
            *last = (voluntary, involuntary);
        }
    }
}

fn add(a: Figures, b: Figures) -> Figures {
    std::array::from_fn(|figure| a[figure] + b[figure])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process with CPU time of its own and CPU time that it took over.
    fn member(pid: u32, parent: u32, own: u64, reaped: u64) -> ProcessSnapshot {
        let figures = |value| [value, 0, 0, 0, 0, 0];
        ProcessSnapshot {
            pid,
            parent,
            started: u64::from(pid),
            threads: 1,
            total: figures(own + reaped),
            reaped: figures(reaped),
            switches: Some(vec![(pid, own, 0)]),
            ..ProcessSnapshot::default()
        }
    }

    fn user(totals: &mut ProcessTotals, tree: &[ProcessSnapshot]) -> u64 {
        totals.update(tree)[0]
    }

    #[test]
    fn a_child_that_is_waited_for_counts_once() {
        let mut totals = ProcessTotals::default();
        assert_eq!(user(&mut totals, &[member(1, 0, 100, 50), member(2, 1, 30, 0)]), 180);
        // It ended with 35, which its parent took over.
        assert_eq!(user(&mut totals, &[member(1, 0, 110, 85)]), 195);
        // Another one started and ended between two readings.
        assert_eq!(user(&mut totals, &[member(1, 0, 110, 92)]), 202);
    }

    #[test]
    fn a_child_that_ended_before_its_parent_took_it_over_counts_once() {
        let mut totals = ProcessTotals::default();
        user(&mut totals, &[member(1, 0, 100, 0), member(2, 1, 30, 0)]);
        assert_eq!(user(&mut totals, &[member(1, 0, 100, 0)]), 130, "the parent was read a moment too early");
        assert_eq!(user(&mut totals, &[member(1, 0, 100, 33)]), 133);
    }

    #[test]
    fn a_child_without_a_waiting_parent_is_not_lost() {
        let mut totals = ProcessTotals::default();
        user(&mut totals, &[member(1, 0, 100, 0), member(2, 1, 30, 0), member(3, 2, 7, 0)]);
        // The middle one was taken over; its child left the tree and is alive.
        assert_eq!(user(&mut totals, &[member(1, 0, 100, 30), member(3, 999, 9, 0)]), 139);
        assert_eq!(user(&mut totals, &[member(1, 0, 100, 30)]), 139, "it counts with its last seen values");
    }

    #[test]
    fn grandchildren_that_end_with_their_parent_count_once() {
        let mut totals = ProcessTotals::default();
        user(&mut totals, &[member(1, 0, 0, 0), member(2, 1, 30, 0), member(3, 2, 7, 0)]);
        assert_eq!(user(&mut totals, &[member(1, 0, 0, 40)]), 40, "both were waited for");
        let mut lost = ProcessTotals::default();
        user(&mut lost, &[member(1, 0, 0, 0), member(2, 1, 30, 0), member(3, 2, 7, 0)]);
        assert_eq!(user(&mut lost, &[member(1, 0, 0, 30)]), 37, "no process waited for the youngest");
    }

    #[test]
    fn a_reused_id_is_another_process() {
        let mut totals = ProcessTotals::default();
        user(&mut totals, &[member(1, 0, 10, 0), member(2, 1, 5, 0)]);
        let other = ProcessSnapshot { started: 77, ..member(2, 500, 1000, 0) };
        assert!(!totals.contains(&other) && totals.contains(&member(2, 1, 6, 0)));
        let child = ProcessSnapshot { started: 78, ..member(2, 1, 1, 0) };
        assert_eq!(user(&mut totals, &[member(1, 0, 10, 5), child]), 16);
    }

    #[test]
    fn switches_of_threads_that_end_stay() {
        let mut totals = ProcessTotals::default();
        let with =
            |threads: &[(u32, u64, u64)]| ProcessSnapshot { switches: Some(threads.to_vec()), ..member(1, 0, 0, 0) };
        totals.update(&[with(&[(1, 5, 1), (11, 20, 2)])]);
        totals.update(&[with(&[(1, 6, 1)])]);
        assert_eq!(totals.switches(), (26, 3));
        totals.update(&[with(&[(1, 6, 1), (11, 3, 0)])]);
        assert_eq!(totals.switches(), (29, 3), "another thread with a reused id");
    }
}
