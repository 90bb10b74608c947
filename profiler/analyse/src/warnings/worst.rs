//! The worst of the cases that share a problem, so that they share one warning.

use record::Case;

/// The number of cases above a limit, the id of the worst of them, and its value.
pub(super) fn worst(cases: &[Case], value: fn(&Case) -> Option<f64>, limit: f64) -> Option<(usize, String, f64)> {
    let over: Vec<(&Case, f64)> =
        cases.iter().filter_map(|case| Some((case, value(case)?))).filter(|(_, value)| *value > limit).collect();
    let (case, most) = over.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some((over.len(), case.id.clone(), *most))
}
