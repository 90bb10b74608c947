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

use record::Reason;

use crate::counters::{Counter, Reading, RequestedCounters};
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
    /// Opens the events among `requested` and switches the first set on. Events that cannot be opened get a reason.
    pub(crate) fn open(mut system: Box<dyn PerfSystem>, requested: RequestedCounters) -> (Self, RequestedCounters) {
        let (sets, kernel_events, requested) = match sets::open(system.as_mut(), &requested.readable()) {
            Ok(mut opened) => {
                let requested = requested.and(|counter| opened.refused.remove(counter.name).map_or(Ok(()), Err));
                (opened.sets, opened.kernel_events, requested)
            }
            Err(reason) => (Vec::new(), Group::default(), requested.and(refuse_events(&reason))),
        };
        let mut this = Self { system, sets, kernel_events, active: 0 };
        let requested = match this.kernel_events.switch(this.system.as_mut(), true) {
            Ok(()) => requested,
            Err(error) => this.close_kernel_events(&explain::explain_switch(error), requested),
        };
        let first = this.sets.first().map(|set| set.switch(this.system.as_mut(), true));
        let requested = match first {
            Some(Err(error)) => this.close_all(&explain::explain_switch(error), requested),
            None | Some(Ok(())) => requested,
        };
        (this, requested)
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

    /// Closes everything, for this reason.
    pub(crate) fn close_all(&mut self, reason: &Reason, requested: RequestedCounters) -> RequestedCounters {
        for mut set in std::mem::take(&mut self.sets) {
            set.close(self.system.as_mut());
        }
        self.kernel_events.close(self.system.as_mut());
        requested.and(refuse_events(reason))
    }

    fn close_kernel_events(&mut self, reason: &Reason, requested: RequestedCounters) -> RequestedCounters {
        let closed: Vec<_> = self.kernel_events.members.iter().map(|member| member.counter.name).collect();
        self.kernel_events.close(self.system.as_mut());
        requested.and(|counter| if closed.contains(&counter.name) { Err(reason.clone()) } else { Ok(()) })
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

/// Refuses every event for the same reason.
fn refuse_events(reason: &Reason) -> impl Fn(&'static Counter) -> Result<(), Reason> {
    move |counter| if counter.source.is_event() { Err(reason.clone()) } else { Ok(()) }
}
