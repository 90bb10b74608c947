//! The totals of a family whose processes come and go.
//!
//! ```text
//! total = sum over the living (own + what they waited for)
//!       + what the dead had when they were last seen and nobody of the family has taken over
//! ```
//! A parent that waits for a child takes its account over; a child whose parent is gone, or does not wait, takes it to the
//! grave. So each parent has a balance: what its vanished children had when they were last seen, against what it has taken
//! over since. Only the shortage is added, at each reading anew: a child that vanished a moment before its parent took it
//! over is no loss a reading later. Parents are read before their children, so none is counted alive and taken over at once.

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

/// What a process's vanished children had, and what it had taken over when it was first seen.
#[derive(Debug, Clone, Default)]
struct ChildBalance {
    due: Figures,
    before: Figures,
}

impl Entry {
    /// What vanished children had and this one has not taken over.
    fn shortage(&self) -> Figures {
        std::array::from_fn(|figure| {
            let taken = self.reaped[figure].saturating_sub(self.balance.before[figure]);
            self.balance.due[figure].saturating_sub(taken)
        })
    }
}

/// The living by their numbers, and what the dead have left.
#[derive(Debug, Default)]
pub(super) struct ProcessTotals {
    living: BTreeMap<u32, Entry>,
    /// Of the dead that nobody of the family can have waited for.
    left: Figures,
    /// The last switches of every thread that was seen: process, its start, thread.
    threads: BTreeMap<(u32, u64, u32), (u64, u64)>,
    /// Switches of threads whose number was given away again.
    left_switches: (u64, u64),
}

impl ProcessTotals {
    /// The numbers of the processes that were alive at the last reading.
    pub(super) fn members(&self) -> impl Iterator<Item = u32> {
        self.living.keys().copied().collect::<Vec<_>>().into_iter()
    }

    /// Whether this is a process that was alive at the last reading, and not a stranger with its number.
    pub(super) fn knows(&self, member: &ProcessSnapshot) -> bool {
        self.living.get(&member.pid).is_some_and(|entry| entry.started == member.started)
    }

    /// Takes a reading in and returns the totals.
    pub(super) fn update(&mut self, family: &[ProcessSnapshot]) -> Figures {
        let before = std::mem::take(&mut self.living);
        for member in family {
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
            // The nearest ancestor that is still there answers for it.
            let (mut parent, mut heir) = (entry.parent, None);
            while let Some(ancestor) = before.get(&parent) {
                if lives(parent, ancestor.started) {
                    heir = Some(parent);
                    break;
                }
                if ancestor.parent == parent {
                    break;
                }
                parent = ancestor.parent;
            }
            let had = add(entry.total, entry.shortage());
            match heir.and_then(|heir| self.living.get_mut(&heir)) {
                Some(heir) => heir.balance.due = add(heir.balance.due, had),
                None => self.left = add(self.left, had),
            }
        }
        self.living.values().fold(self.left, |sum, entry| add(add(sum, entry.total), entry.shortage()))
    }

    /// Switches of all threads that were ever seen: voluntary, involuntary.
    pub(super) fn switches(&self) -> (u64, u64) {
        let both = |sum: (u64, u64), thread: &(u64, u64)| (sum.0 + thread.0, sum.1 + thread.1);
        self.threads.values().fold(self.left_switches, both)
    }

    fn add_switches(&mut self, member: &ProcessSnapshot) {
        for &(thread, voluntary, involuntary) in member.switches.iter().flatten() {
            let last = self.threads.entry((member.pid, member.started, thread)).or_default();
            if voluntary < last.0 || involuntary < last.1 {
                // Another thread with the number of one that ended.
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

    /// A process with so much CPU time of its own, and so much taken over.
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

    fn user(account: &mut ProcessTotals, family: &[ProcessSnapshot]) -> u64 {
        account.update(family)[0]
    }

    #[test]
    fn a_child_that_is_waited_for_counts_once() {
        let mut account = ProcessTotals::default();
        assert_eq!(user(&mut account, &[member(1, 0, 100, 50), member(2, 1, 30, 0)]), 180);
        // It ended with 35, and its parent has taken it over.
        assert_eq!(user(&mut account, &[member(1, 0, 110, 85)]), 195);
        // One that no reading saw came and went.
        assert_eq!(user(&mut account, &[member(1, 0, 110, 92)]), 202);
    }

    #[test]
    fn a_child_that_vanished_before_its_parent_took_it_over_counts_once() {
        let mut account = ProcessTotals::default();
        user(&mut account, &[member(1, 0, 100, 0), member(2, 1, 30, 0)]);
        assert_eq!(user(&mut account, &[member(1, 0, 100, 0)]), 130, "the parent was read a moment too early");
        assert_eq!(user(&mut account, &[member(1, 0, 100, 33)]), 133);
    }

    #[test]
    fn a_child_that_nobody_waits_for_is_not_lost() {
        let mut account = ProcessTotals::default();
        user(&mut account, &[member(1, 0, 100, 0), member(2, 1, 30, 0), member(3, 2, 7, 0)]);
        // The middle one was taken over; its child left the family's tree and lives on.
        assert_eq!(user(&mut account, &[member(1, 0, 100, 30), member(3, 999, 9, 0)]), 139);
        assert_eq!(user(&mut account, &[member(1, 0, 100, 30)]), 139, "gone with what it had when it was last seen");
    }

    #[test]
    fn grandchildren_that_vanish_with_their_parent_count_once() {
        let mut account = ProcessTotals::default();
        user(&mut account, &[member(1, 0, 0, 0), member(2, 1, 30, 0), member(3, 2, 7, 0)]);
        assert_eq!(user(&mut account, &[member(1, 0, 0, 40)]), 40, "both were waited for");
        let mut lost = ProcessTotals::default();
        user(&mut lost, &[member(1, 0, 0, 0), member(2, 1, 30, 0), member(3, 2, 7, 0)]);
        assert_eq!(user(&mut lost, &[member(1, 0, 0, 30)]), 37, "nobody waited for the youngest");
    }

    #[test]
    fn a_number_that_was_given_away_is_a_stranger() {
        let mut account = ProcessTotals::default();
        user(&mut account, &[member(1, 0, 10, 0), member(2, 1, 5, 0)]);
        let stranger = ProcessSnapshot { started: 77, ..member(2, 500, 1000, 0) };
        assert!(!account.knows(&stranger) && account.knows(&member(2, 1, 6, 0)));
        let child = ProcessSnapshot { started: 78, ..member(2, 1, 1, 0) };
        assert_eq!(user(&mut account, &[member(1, 0, 10, 5), child]), 16);
    }

    #[test]
    fn switches_of_threads_that_end_stay() {
        let mut account = ProcessTotals::default();
        let with =
            |threads: &[(u32, u64, u64)]| ProcessSnapshot { switches: Some(threads.to_vec()), ..member(1, 0, 0, 0) };
        account.update(&[with(&[(1, 5, 1), (11, 20, 2)])]);
        account.update(&[with(&[(1, 6, 1)])]);
        assert_eq!(account.switches(), (26, 3));
        account.update(&[with(&[(1, 6, 1), (11, 3, 0)])]);
        assert_eq!(account.switches(), (29, 3), "another thread with an old number");
    }
}
