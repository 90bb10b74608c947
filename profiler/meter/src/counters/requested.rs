//! [`RequestedCounters`]: the counters that were asked for, each with whether it can be read.

use std::collections::BTreeMap;

use record::Reason;

use super::Counter;

/// The requested counters, in their order. Each can be read or has the reason why not, never both and never neither.
#[derive(Debug, Clone)]
pub(crate) struct RequestedCounters(Vec<(&'static Counter, Result<(), Reason>)>);

impl RequestedCounters {
    /// Nothing is known against them yet.
    pub(crate) fn new(counters: &[&'static Counter]) -> Self {
        Self(counters.iter().map(|&counter| (counter, Ok(()))).collect())
    }

    /// Tests those that can be read so far. The first reason against a counter stays.
    pub(crate) fn and(self, mut test: impl FnMut(&'static Counter) -> Result<(), Reason>) -> Self {
        Self(self.0.into_iter().map(|(counter, state)| (counter, state.and_then(|()| test(counter)))).collect())
    }

    /// Those that can be read.
    pub(crate) fn readable(&self) -> Vec<&'static Counter> {
        self.0.iter().filter(|(_, state)| state.is_ok()).map(|(counter, _)| *counter).collect()
    }

    /// Why each of the others cannot be read, by name.
    pub(crate) fn absent(&self) -> BTreeMap<&'static str, Reason> {
        self.0.iter().filter_map(|(counter, state)| Some((counter.name, state.as_ref().err()?.clone()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::default_counters;

    #[test]
    fn each_counter_is_readable_or_has_the_first_reason() {
        let all = default_counters();
        let none_of = |name: &'static str, reason: &'static str| {
            move |counter: &'static Counter| match counter.name == name {
                true => Err(Reason::new(reason)),
                false => Ok(()),
            }
        };
        let requested = RequestedCounters::new(&all)
            .and(none_of("cycles", "no registers"))
            .and(none_of("cycles", "unused"))
            .and(none_of("minor_faults", "not here"));
        let absent = requested.absent();
        assert_eq!((absent["cycles"].as_str(), absent["minor_faults"].as_str()), ("no registers", "not here"));
        assert_eq!(requested.readable().len() + absent.len(), all.len());
        assert!(requested.readable().iter().all(|counter| !absent.contains_key(counter.name)));
    }
}
