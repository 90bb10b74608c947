//! The ceilings of the simulated machine of the mock engine, where time is virtual.

use std::collections::BTreeMap;

use engine_api::Advice as _;
use engines::mock;
use record::ceilings::SIMULATED;
use record::{Ceilings, Reason, Reasons, Recorded, Spread, ThreadCeilings};
use redaction::Sensitive;
use traces::clock;

use crate::timestamp::rfc3339;

const ABSENT: &str = "time is virtual: the simulated machine of the mock engine has no such limit";

/// Its limits for these thread counts, without spread; they do not depend on the real machine.
///
/// # Errors
/// When a setting of the mock engine is invalid.
pub(crate) fn simulated(settings: &BTreeMap<String, Sensitive>, threads: &[usize]) -> Result<Ceilings, Reason> {
    let limits = mock::limits(settings).map_err(|error| Reason::new(error.with_advice()))?;
    let exact = |value: f64| Recorded::Present(Spread { median: value, low: value, high: value, n: 1 });
    let mut counts = threads.to_vec();
    counts.sort_unstable();
    counts.dedup();
    let of = |threads: usize| ThreadCeilings {
        threads,
        memory_read: exact(limits.memory_read),
        fma_f32: exact(limits.flops),
        dispatch_s: exact(limits.dispatch_s),
        ..ThreadCeilings::absent(ABSENT)
    };
    Ok(Ceilings {
        measured: rfc3339(clock::unix_time()),
        machine: SIMULATED.to_owned(),
        threads: counts.into_iter().map(of).collect(),
        file_read_cold: exact(limits.storage),
        file_read_warm: exact(limits.memory_read),
        page_fault_s: exact(limits.page_fault_s),
        disturbed: Recorded::absent("time is virtual: no other program disturbs the simulated machine"),
        notes: Reasons::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_follow_the_settings() {
        let _clock = clock::VirtualClock::install();
        let settings = [("bandwidth_gbs".to_owned(), Sensitive::setting("bandwidth_gbs", "50"))].into();
        let found = simulated(&settings, &[2, 1, 2]).unwrap();
        assert_eq!(found, simulated(&settings, &[1, 2]).unwrap());
        assert_eq!(found.threads.iter().map(|one| one.threads).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(
            found.of(2).and_then(|one| one.memory_read.value()).map(|read| (read.low, read.high)),
            Some((50e9, 50e9))
        );
        assert_eq!(found.threads[0].copy.reason().unwrap(), &ABSENT);
        assert_eq!(found.threads[0].caches.reason().unwrap(), &ABSENT);
        assert_eq!(found.file_read_cold.value().map(|rate| rate.median), Some(1e9));
    }
}
