//! How the machine itself differed between two runs, by the ceilings that both probed between their rounds.

use super::comparison::Shift;
use super::pairing::{Group, GroupPair};
use record::CeilingProbe;
use statistics::mean;

/// Means of the probes of either run with the same thread count, other / baseline. `None` where the sides were interleaved: one
/// machine at one time.
pub(super) fn shift(pair: &GroupPair<'_>) -> Option<Shift> {
    if pair.interleaved {
        return None;
    }
    let mut found = Shift::default();
    let ratio = |of: fn(&CeilingProbe) -> Option<f64>| {
        let (baseline, other) = (probed(&pair.baseline, of)?, probed(&pair.other, of)?);
        Some(other / baseline)
    };
    found.memory_read = ratio(|probe| probe.memory_read.value());
    found.compute = ratio(|probe| probe.compute.value());
    for (field, value) in [("memory_read", found.memory_read), ("compute", found.compute)] {
        if value.is_none() {
            let reason =
                "one of the runs has no probe of it with these threads: whether the machine changed is unknown";
            found.reasons.insert(field.to_owned(), reason.to_owned());
        }
    }
    Some(found)
}

fn probed(group: &Group<'_>, of: fn(&CeilingProbe) -> Option<f64>) -> Option<f64> {
    let probes = group.file().ceiling_probes.iter();
    let same = probes.filter(|probe| probe.threads == group.threads() && probe.model == group.model());
    mean(&same.filter_map(of).collect::<Vec<_>>()).filter(|value| *value > 0.0)
}
