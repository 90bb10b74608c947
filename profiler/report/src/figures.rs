//! Numbers as text: four significant digits, units in the column's heading.

use record::{Estimate, Reason, Recorded, Summary};

/// Shown for a value that was not measured.
pub(super) const ABSENT: &str = "–";

/// In front of a figure that is an estimate or a bound.
pub(super) const ESTIMATED: &str = "~";

pub(super) fn percent(share: f64) -> String {
    let text = format!("{:.2} %", share * 100.0);
    // What rounds to zero has no sign.
    if text == "-0.00 %" { "0.00 %".to_owned() } else { text }
}

/// Bytes as MB = 10^6 bytes.
pub(super) fn megabytes(bytes: f64) -> String {
    format!("{:.1}", bytes / 1e6)
}

pub(super) fn or_absent(value: Option<String>) -> String {
    value.unwrap_or_else(|| ABSENT.to_owned())
}

/// A value as `show` writes it, or that it is unknown and why.
pub(super) fn shown<T>(value: &Recorded<T>, show: impl FnOnce(&T) -> String) -> String {
    value.as_result().map_or_else(|reason| unknown(Some(reason)), show)
}

/// What stands for an absent value, with the reason where one is known.
pub(super) fn unknown(reason: Option<&Reason>) -> String {
    reason.map_or_else(|| "unknown".to_owned(), |reason| format!("unknown ({reason})"))
}

/// A mean, and below it the interval where there is one.
pub(super) fn estimate(found: Option<&Estimate>, show: impl Fn(f64) -> String) -> String {
    let Some(found) = found else { return ABSENT.to_owned() };
    match found.interval() {
        Some((low, high)) => format!("{}\n[{}, {}]", show(found.mean), show(low), show(high)),
        None => show(found.mean),
    }
}

/// A metric of a summary as [`estimate`] shows it, with [`ESTIMATED`] in front if its samples estimate it.
pub(super) fn metric(summary: &Summary, name: &str, show: impl Fn(f64) -> String) -> String {
    let found = summary.metrics.get(name);
    marked(estimate(found, show), found.is_some() && summary.estimated.contains_key(name))
}

/// A shown figure, with [`ESTIMATED`] in front if it is an estimate.
pub(super) fn marked(shown: String, is_estimate: bool) -> String {
    if is_estimate && shown != ABSENT { format!("{ESTIMATED}{shown}") } else { shown }
}

/// `1 case`, `2 cases`.
pub(super) fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use record::figures::significant;

    use super::*;

    #[test]
    fn an_absent_value_is_unknown_with_its_reason() {
        assert_eq!(shown(&Recorded::Present(2), u32::to_string), "2");
        assert_eq!(shown(&Recorded::absent("not read"), u32::to_string), "unknown (not read)");
    }

    fn of_one_sample(mean: f64) -> Estimate {
        let absent = || Recorded::absent("one sample");
        Estimate { mean, low: absent(), high: absent(), min: mean, median: mean, max: mean, n: 1 }
    }

    #[test]
    fn an_interval_is_below_its_mean() {
        let whole = Estimate { low: 1.0.into(), high: 3.0.into(), ..of_one_sample(2.0) };
        assert_eq!(estimate(Some(&whole), significant), "2.000\n[1.000, 3.000]");
        assert_eq!(estimate(Some(&of_one_sample(2.0)), significant), "2.000");
        assert_eq!(estimate(None, significant), "–");
    }

    #[test]
    fn an_estimate_is_marked() {
        let metrics = [("tps".to_owned(), of_one_sample(2.0).into())].into_iter().collect();
        let mut summary = Summary { metrics, ..Summary::absent("unused") };
        assert_eq!(metric(&summary, "tps", significant), "2.000");
        for name in ["tps", "decode_tps"] {
            summary.estimated.insert(name.to_owned(), "pieces stand in".to_owned());
        }
        assert_eq!(metric(&summary, "tps", significant), "~2.000");
        assert_eq!(metric(&summary, "decode_tps", significant), "–");
    }
}
