//! Events of the processor and of the kernel by `perf_event_open`: groups, sets of groups, and reasons for refusals.
//!
//! ```text
//!   named counters ──► attributes ──► sets: as many events as the PMU counts at once   one set is on in a request,
//!                                     set 0  cycles instructions cache_references      the others are counted in
//!                                     set 1  cache_misses branches ...                 further requests
//!                                     and the events of the kernel, which need no register
//! ```
//!
//! Events are opened before the process starts threads, inherited by later threads, and never reset. Threads that exist already
//! are attached one by one. The kernel is reached through [`PerfSystem`] only, so tests run on a fake one, and the virtual
//! machine of an engine with virtual time has a PMU too.

mod events;
mod explain;
mod group;
mod self_test;
mod sets;
mod sysfs;
mod system;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

use record::{Reason, Reasons};

use crate::counters::{Counter, Reading};
use group::Group;
pub(crate) use self_test::self_test;
pub(crate) use system::{Attributes, Errno, EventHandle, PerfSystem, Target};

/// The open events of this process.
#[derive(Debug)]
pub(crate) struct PerfCounters {
    system: Box<dyn PerfSystem>,
    /// Events of the processor: one set is on at a time.
    sets: Vec<Group>,
    /// Events of the kernel.
    kernel_events: Group,
    active: usize,
}

impl PerfCounters {
    /// Opens the events among `wanted` and switches the first set on. `absent` gets the reasons for the others.
    pub(crate) fn open(mut system: Box<dyn PerfSystem>, wanted: &[&'static Counter], absent: &mut Reasons) -> Self {
        let (sets, kernel_events) = match sets::open(system.as_mut(), wanted) {
            Ok(opened) => {
                absent.extend(opened.absent);
                (opened.sets, opened.kernel_events)
            }
            Err(reason) => {
                let events = wanted.iter().filter(|counter| counter.source.is_event());
                absent.extend(events.map(|counter| (counter.name.to_owned(), reason.to_string())));
                (Vec::new(), Group::default())
            }
        };
        let mut this = Self { system, sets, kernel_events, active: 0 };
        if let Err(error) = this.kernel_events.switch(this.system.as_mut(), true) {
            this.close_kernel_events(&explain::explain_switch(error), absent);
        }
        let first = this.sets.first().map(|set| set.switch(this.system.as_mut(), true));
        if let Some(Err(error)) = first {
            this.close_all(&explain::explain_switch(error), absent);
        }
        this
    }

    /// No events, for systems without perf_event_open.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn none() -> Self {
        Self { system: Box::new(system::NoSystem), sets: Vec::new(), kernel_events: Group::default(), active: 0 }
    }

    /// Whether any event is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.kernel_events.members.is_empty()
    }

    /// Closes everything; `absent` gets this reason for each event.
    pub(crate) fn close_all(&mut self, reason: &Reason, absent: &mut Reasons) {
        for mut set in std::mem::take(&mut self.sets) {
            absent.extend(set.members.iter().map(|member| (member.counter.name.to_owned(), reason.to_string())));
            set.close(self.system.as_mut());
        }
        self.close_kernel_events(reason, absent);
    }

    fn close_kernel_events(&mut self, reason: &Reason, absent: &mut Reasons) {
        absent.extend(
            self.kernel_events.members.iter().map(|member| (member.counter.name.to_owned(), reason.to_string())),
        );
        self.kernel_events.close(self.system.as_mut());
    }

    /// The counters of each set.
    pub(crate) fn sets(&self) -> Vec<Vec<&'static Counter>> {
        self.sets.iter().map(|set| set.members.iter().map(|member| member.counter).collect()).collect()
    }

    /// All counters that are open.
    pub(crate) fn counters(&self) -> Vec<&'static Counter> {
        let kernel_events = self.kernel_events.members.iter().map(|member| member.counter);
        self.sets().into_iter().flatten().chain(kernel_events).collect()
    }

    /// Switches the present set off and another one on.
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
        switched.map_err(explain::explain_switch)
    }

    /// Whether a counter is counted now: it is not an event, or belongs to the active set or to the kernel.
    pub(crate) fn is_on(&self, counter: &Counter) -> bool {
        let elsewhere = self.sets.iter().enumerate().filter(|(number, _)| *number != self.active);
        !elsewhere.flat_map(|(_, set)| &set.members).any(|member| member.counter.name == counter.name)
    }

    /// Fills in every active event: one system call per group and attached thread.
    pub(crate) fn read(&mut self, counters: &[&'static Counter], reading: &mut Reading) {
        if let Some(set) = self.sets.get(self.active) {
            set.read(self.system.as_mut(), counters, reading);
        }
        if !self.kernel_events.members.is_empty() {
            self.kernel_events.read(self.system.as_mut(), counters, reading);
        }
    }
}
