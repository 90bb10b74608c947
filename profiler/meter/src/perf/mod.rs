//! Events of the processor and of the kernel by `perf_event_open`: groups, sets of groups, and what is refused.
//!
//! ```text
//!   named counters ──► attributes ──► sets: at most what the PMU counts at once        one set is on in a request,
//!                                     set 0  cycles instructions cache_references      the others get requests
//!                                     set 1  cache_misses branches ...                 of their own
//!                                     always  events of the kernel: they need no register
//! ```
//!
//! Opened before any thread exists, inherited by those that begin later, never reset. Threads that exist already are attached one
//! by one. The kernel is reached through [`PerfSystem`] alone, so that all of this runs on a fake. Nothing here is of one system:
//! the virtual machine of an engine whose time is virtual has a PMU too.

use record::Reason;
mod events;
mod explain;
mod group;
mod self_test;
mod sets;
mod sysfs;
mod system;
mod threads;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::{Counter, Reading};
use group::Group;
pub(crate) use self_test::self_test;
pub(super) use sysfs::is_place;
pub(crate) use system::{Attributes, Errno, Handle, PerfSystem, Whose};

/// The open events of this process.
#[derive(Debug)]
pub(crate) struct PerfCounters {
    system: Box<dyn PerfSystem>,
    /// Events of the processor: one set is on at a time.
    sets: Vec<Group>,
    /// Events of the kernel.
    always: Group,
    active: usize,
}

impl PerfCounters {
    /// Opens the events among `wanted` and switches the first set on; what cannot be opened is explained in `absent`.
    pub(crate) fn open(
        mut system: Box<dyn PerfSystem>,
        wanted: &[&'static Counter],
        absent: &mut BTreeMap<String, String>,
    ) -> Self {
        let opened = threads::while_stable(system.as_mut(), |system, threads| {
            let mut refused = BTreeMap::new();
            let (sets, always) = sets::open(system, wanted, threads, &mut refused);
            (sets, always, refused)
        });
        let (sets, always) = match opened {
            Ok((sets, always, refused)) => {
                absent.extend(refused);
                (sets, always)
            }
            Err(reason) => {
                let events = wanted.iter().filter(|counter| counter.source.is_event());
                absent.extend(events.map(|counter| (counter.name.to_owned(), reason.to_string())));
                (Vec::new(), Group::default())
            }
        };
        let mut this = Self { system, sets, always, active: 0 };
        if let Err(error) = this.always.switch(this.system.as_mut(), true) {
            this.forget_always(&explain::explain_switch(error), absent);
        }
        let first = this.sets.first().map(|set| set.switch(this.system.as_mut(), true));
        if let Some(Err(error)) = first {
            this.forget(&explain::explain_switch(error), absent);
        }
        this
    }

    /// No events, for systems without perf_event_open.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn none() -> Self {
        Self { system: Box::new(system::NoSystem), sets: Vec::new(), always: Group::default(), active: 0 }
    }

    /// Whether any event is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.always.members.is_empty()
    }

    /// Closes everything for this reason.
    pub(crate) fn forget(&mut self, reason: &str, absent: &mut BTreeMap<String, String>) {
        for mut set in std::mem::take(&mut self.sets) {
            absent.extend(set.members.iter().map(|member| (member.counter.name.to_owned(), reason.to_owned())));
            set.close(self.system.as_mut());
        }
        self.forget_always(reason, absent);
    }

    fn forget_always(&mut self, reason: &str, absent: &mut BTreeMap<String, String>) {
        absent.extend(self.always.members.iter().map(|member| (member.counter.name.to_owned(), reason.to_owned())));
        self.always.close(self.system.as_mut());
    }

    /// The counters of each set.
    pub(crate) fn sets(&self) -> Vec<Vec<&'static Counter>> {
        self.sets.iter().map(|set| set.members.iter().map(|member| member.counter).collect()).collect()
    }

    /// All counters that are open.
    pub(crate) fn counters(&self) -> Vec<&'static Counter> {
        let always = self.always.members.iter().map(|member| member.counter);
        self.sets().into_iter().flatten().chain(always).collect()
    }

    /// Switches another set on and the present one off.
    pub(crate) fn select(&mut self, set: usize) -> Result<(), Reason> {
        if set == self.active || set >= self.sets.len() {
            return Ok(());
        }
        let system = self.system.as_mut();
        let switched = self
            .sets
            .get(self.active)
            .map_or(Ok(()), |old| old.switch(system, false))
            .and_then(|()| self.sets.get(set).map_or(Ok(()), |new| new.switch(system, true)));
        self.active = set;
        switched.map_err(|error| explain::explain_switch(error).into())
    }

    /// Whether a counter is counted now: it is no event, or one of the set that is on, or one of the kernel.
    pub(crate) fn is_on(&self, counter: &Counter) -> bool {
        let elsewhere = self.sets.iter().enumerate().filter(|(number, _)| *number != self.active);
        !elsewhere.flat_map(|(_, set)| &set.members).any(|member| member.counter.name == counter.name)
    }

    /// Puts every event that is on into its place: one system call a group and attached thread.
    pub(crate) fn read(&mut self, counters: &[&'static Counter], reading: &mut Reading) {
        if let Some(set) = self.sets.get(self.active) {
            set.read(self.system.as_mut(), counters, reading);
        }
        if !self.always.members.is_empty() {
            self.always.read(self.system.as_mut(), counters, reading);
        }
    }
}
