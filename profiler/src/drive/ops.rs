//! Ops of the traced pass: attributed to phases by the time at which they began, summed per phase and name.

use std::collections::BTreeMap;

use traces::Nanos;
use traces::record::Event;

use super::timing::{PhaseSpan, Timing};
use crate::results::OpRow;

/// Rows per phase and op, in the order of phases, within one by falling time; what lies in no phase belongs to `other`.
/// A row's share is of its phase's time in this request.
pub fn attribute(ops: &[Event], timing: &Timing) -> Vec<OpRow> {
    let mut sums: BTreeMap<(Option<engines::Phase>, &str), (usize, Nanos)> = BTreeMap::new();
    for op in ops {
        let entry = sums.entry((phase_at(&timing.spans, op.start), op.name)).or_default();
        entry.0 += 1;
        entry.1 = entry.1.saturating_add(op.duration);
    }
    let row = |((phase, op), (count, time)): ((Option<engines::Phase>, &str), (usize, Nanos))| {
        let whole = phase.map_or(timing.other, |phase| timing.phase(phase)).as_secs_f64();
        let time_s = time.as_secs_f64();
        let share = if whole > 0.0 { time_s / whole } else { 0.0 };
        OpRow {
            phase: phase.map_or("other", engines::Phase::name).to_owned(),
            op: op.to_owned(),
            count,
            time_s,
            share,
            ..OpRow::default()
        }
    };
    // `None` sorts first; it goes last.
    let (other, phases): (Vec<_>, Vec<_>) = sums.into_iter().partition(|((phase, _), _)| phase.is_none());
    let mut rows: Vec<OpRow> = phases.into_iter().chain(other).map(row).collect();
    let order: Vec<String> = rows.iter().map(|row| row.phase.clone()).collect();
    let rank = |phase: &str| order.iter().position(|known| known == phase);
    rows.sort_by(|a, b| rank(&a.phase).cmp(&rank(&b.phase)).then(b.time_s.total_cmp(&a.time_s)).then(a.op.cmp(&b.op)));
    rows
}

/// The phase in which a moment lies. Spans are in order and do not overlap.
fn phase_at(spans: &[PhaseSpan], at: Nanos) -> Option<engines::Phase> {
    let after = spans.partition_point(|span| span.start <= at);
    let span = spans.get(after.checked_sub(1)?)?;
    // A phase of no length (virtual time) still owns what began at its moment.
    (at < span.end || at == span.start).then_some(span.phase)
}

#[cfg(test)]
mod tests {
    use engines::Phase;
    use traces::record::{Args, Category, Kind};

    use super::*;

    fn op(name: &'static str, start: u64, duration: u64) -> Event {
        Event {
            kind: Kind::Op,
            category: Category::Op,
            name,
            tid: 1,
            start: Nanos(start),
            duration: Nanos(duration),
            layer: Some(0),
            shape: [1, 2, 3],
            args: Args::default(),
        }
    }

    #[test]
    fn ops_belong_to_the_phase_in_which_they_begin() {
        let span = |phase, start, end| PhaseSpan { phase, start: Nanos(start), end: Nanos(end) };
        let timing = Timing {
            spans: vec![span(Phase::Prefill, 0, 100), span(Phase::Decode, 110, 150), span(Phase::Decode, 160, 200)],
            latency: Nanos(200),
            other: Nanos(20),
            tokens: vec![],
        };
        let ops = [
            op("q_proj", 5, 20),
            op("attention", 30, 60),
            op("q_proj", 110, 10),
            op("q_proj", 165, 10),
            op("lost", 105, 4),
        ];
        let rows = attribute(&ops, &timing);
        let told: Vec<_> = rows.iter().map(|row| (row.phase.as_str(), row.op.as_str(), row.count)).collect();
        assert_eq!(
            told,
            [("prefill", "attention", 1), ("prefill", "q_proj", 1), ("decode", "q_proj", 2), ("other", "lost", 1)]
        );
        assert!((rows[0].share - 0.6).abs() < 1e-9 && (rows[2].share - 0.25).abs() < 1e-9);
    }
}
