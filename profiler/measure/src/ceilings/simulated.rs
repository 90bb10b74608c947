//! The ceilings of the simulated machine of the mock engine, where time is virtual.

use std::collections::BTreeMap;

use engine_api::Advice as _;
use engines::mock;
use record::ceilings::SIMULATED;
use record::{Ceilings, Reason, Reasons, Spread, ThreadCeilings};
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
    let exact = |value: f64| Some(Spread { median: value, low: value, high: value, n: 1 });
    let mut counts = threads.to_vec();
    counts.sort_unstable();
    counts.dedup();
    let of = |threads: usize| ThreadCeilings {
        threads,
        memory_read: exact(limits.memory_read),
        fma_f32: exact(limits.flops),
        dispatch_s: exact(limits.dispatch_s),
        reasons: absent(&["memory_read_huge", "caches", "copy", "dot_i8"]),
        ..ThreadCeilings::default()
    };
    Ok(Ceilings {
        measured: rfc3339(clock::unix_time()),
        machine: SIMULATED.to_owned(),
        threads: counts.into_iter().map(of).collect(),
        file_read_cold: exact(limits.storage),
        file_read_warm: exact(limits.memory_read),
        page_fault_s: exact(limits.page_fault_s),
        ..Ceilings::default()
    })
}

/// Reasons for the ceilings that are absent.
fn absent(fields: &[&str]) -> Reasons {
    fields.iter().map(|field| ((*field).to_owned(), ABSENT.to_owned())).collect()
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
        assert_eq!(found.of(2).and_then(|one| one.memory_read).map(|read| (read.low, read.high)), Some((50e9, 50e9)));
        assert!(found.threads[0].copy.is_none() && found.threads[0].reasons.contains_key("copy"));
        assert_eq!(found.file_read_cold.map(|rate| rate.median), Some(1e9));
    }
}
