//! How the machine itself differed between two runs, by the ceilings that both probed between their rounds.

use super::comparison::Shift;
use super::pairing::{Group, GroupPair};
use record::{CeilingProbe, Reason, Reasons, Recorded};
use statistics::mean;

/// Why it is unknown whether a ceiling changed.
const NOT_PROBED: &str =
    "one of the runs has no probe of it with these threads: whether the machine changed is unknown";

/// Means of the probes of either run with the same thread count, other / baseline.
///
/// # Errors
/// Where the sides were interleaved: one machine at one time.
pub(super) fn shift(pair: &GroupPair<'_>) -> Result<Shift, Reason> {
    if pair.interleaved {
        return Err(Reason::new("the sides were interleaved, so the machine was the same"));
    }
    let ratio = |of: fn(&CeilingProbe) -> Option<f64>| {
        let ratio = probed(&pair.other, of).zip(probed(&pair.baseline, of)).map(|(other, baseline)| other / baseline);
        Recorded::of(ratio, NOT_PROBED)
    };
    Ok(Shift {
        memory_read: ratio(|probe| probe.memory_read.value()),
        compute: ratio(|probe| probe.compute.value()),
        notes: Reasons::new(),
    })
}

fn probed(group: &Group<'_>, of: fn(&CeilingProbe) -> Option<f64>) -> Option<f64> {
    let probes = group.file().ceiling_probes.iter();
    let same = probes.filter(|probe| probe.threads == group.threads() && probe.model == group.model());
    mean(&same.filter_map(of).collect::<Vec<_>>()).filter(|value| *value > 0.0)
}
