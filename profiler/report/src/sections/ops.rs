//! Time of the forward passes: phases as sums of their operations, operations on the roofline, layers and threads.

use std::collections::BTreeMap;

use engine_api::Phase;

use super::RunView;
use crate::content::Section;
use crate::figures::{ABSENT, count, or_absent, percent};
use crate::table::Table;
use analyse::summary::PHASE_TIMES;
use record::figures::{milliseconds, significant};
use record::{Case, Document, OpRow, PhaseOrOther, PhaseSum, Reason, Reasons, Recorded, Summary};
use statistics::median;

/// Operations below this share of their phase share one row.
const SMALL: f64 = 0.005;
/// The phases with recorded operations.
const FORWARD: [Phase; 2] = [Phase::Prefill, Phase::Decode];

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Operations");
    for summary in &view.file.summaries {
        let cases: Vec<&Case> = view.cases(summary).filter(|case| !case.ops.is_empty()).collect();
        if cases.is_empty() {
            continue;
        }
        let sums = sums(&cases);
        section.add_table(whole(view, summary, &sums));
        for phase in FORWARD {
            let rows = merged(&cases, phase);
            if rows.is_empty() {
                continue;
            }
            section.add_table(ops(view, summary, phase, &rows, phase_s(&cases, phase)));
            if let Some(sentence) = layers(&cases, phase) {
                section.add_sentence(sentence);
            }
        }
        section.add_table(threads(view, summary, &cases));
        if let Some(sentence) = not_running(&cases) {
            section.add_sentence(format!("{}: {sentence}", view.subject(summary)));
        }
        for reason in reasons(&cases) {
            section.add_sentence(format!("{}: {reason}.", view.subject(summary)));
        }
    }
    if !section.blocks.is_empty() {
        section.add_sentence(format!("These tables contain one request of the traced pass per prompt. Recording slows the engine down, so use the shares. GFLOP/s and GB/s are the operations and bytes of the cost model / measured time. Share of roofline is the shortest time that the measured ceilings allow / measured time. The nearest ceiling sets that shortest time; where the share is below 50 %, something else binds the operation. {} has the formulas.", Document::RooflineAndVerdicts));
    }
    section
}

/// What to think of the shares where no thread ran for much of the traced requests.
fn not_running(cases: &[&Case]) -> Option<String> {
    /// From this share of the time on it decides shares.
    const MUCH: f64 = 0.1;
    let times: Vec<(f64, f64)> = cases.iter().filter_map(|case| analyse::attribution::not_running(case)).collect();
    let (whole, idle): (f64, f64) = (times.iter().map(|time| time.0).sum(), times.iter().map(|time| time.1).sum());
    (idle > MUCH * whole).then(|| {
        format!(
            "in at least {} of {} ms of the traced requests no thread of the process ran: other programs had the processors, or the engine waited. That time is part of the operation, or of the unattributed time, in which it fell, so that the shares of short operations are not reliable.",
            milliseconds(idle),
            milliseconds(whole)
        )
    })
}

/// Sums of each phase over cases, in the order of a request. A sum with an unknown part is unknown.
fn sums(cases: &[&Case]) -> Vec<PhaseSum> {
    let of = |phase: &PhaseOrOther| {
        let parts = || cases.iter().flat_map(|case| &case.sums).filter(|sum| sum.phase == *phase);
        parts().next()?;
        let add = |of: fn(&PhaseSum) -> f64| parts().map(of).sum::<f64>();
        let known = |of: fn(&PhaseSum) -> &Recorded<f64>| -> Recorded<f64> {
            let values = parts().map(|sum| of(sum).as_result().copied());
            values.sum::<Result<f64, &Reason>>().map_err(Reason::clone).into()
        };
        let (time_s, unattributed_s) = (add(|sum| sum.time_s), add(|sum| sum.unattributed_s));
        let attainable_s = known(|sum| &sum.attainable_s);
        let roofline = match time_s > 0.0 {
            true => attainable_s.clone().map(|attainable| attainable / time_s),
            false => Recorded::absent("the phase took no time"),
        };
        Some(PhaseSum {
            phase: phase.clone(),
            time_s,
            ops_s: add(|sum| sum.ops_s),
            unattributed_s,
            unattributed_share: part(unattributed_s, time_s),
            attainable_s,
            roofline,
            bytes: known(|sum| &sum.bytes),
            flops: known(|sum| &sum.flops),
            notes: Reasons::new(),
        })
    };
    PHASE_TIMES.iter().filter_map(|(phase, _)| of(phase)).collect()
}

/// Time of a phase over cases, in seconds. Files without sums give it as time / share of an operation.
fn phase_s(cases: &[&Case], phase: Phase) -> f64 {
    let of = |case: &&Case| {
        let summed = case.sums.iter().find(|sum| sum.phase == phase).map(|sum| sum.time_s);
        let by_share = || case.ops.iter().find(|row| row.phase == phase && row.share > 0.0);
        summed.or_else(|| by_share().map(|row| row.time_s / row.share))
    };
    cases.iter().filter_map(of).sum()
}

/// Operations of a phase over cases, the longest first.
fn merged(cases: &[&Case], phase: Phase) -> Vec<OpRow> {
    let mut sums: BTreeMap<&str, OpRow> = BTreeMap::new();
    for row in cases.iter().flat_map(|case| &case.ops).filter(|row| row.phase == phase) {
        sums.entry(&row.op).and_modify(|sum| add(sum, row)).or_insert_with(|| row.clone());
    }
    let mut rows: Vec<OpRow> = sums.into_values().collect();
    rows.sort_by(|a, b| b.time_s.total_cmp(&a.time_s));
    rows
}

/// Adds a row of the same operation. The ceiling is that of the longer row.
fn add(sum: &mut OpRow, row: &OpRow) {
    let both = |sum: &mut Recorded<f64>, row: &Recorded<f64>| match (&mut *sum, row) {
        (Recorded::Present(sum), Recorded::Present(row)) => *sum += row,
        (Recorded::Absent(_), _) => {}
        (_, absent) => *sum = absent.clone(),
    };
    if row.time_s > sum.time_s {
        sum.limit = row.limit.clone();
    }
    sum.count += row.count;
    sum.time_s += row.time_s;
    both(&mut sum.flops, &row.flops);
    both(&mut sum.bytes, &row.bytes);
    both(&mut sum.attainable_s, &row.attainable_s);
}

/// The traced requests as sums of their phases.
fn whole(view: &RunView<'_>, summary: &Summary, sums: &[PhaseSum]) -> Table {
    let caption = format!("{}: requests by phase, traced pass, sum over all prompts.", view.subject(summary));
    let columns = ["<phase", "ms", "share of latency", "unattributed share", "GFLOP/s", "GB/s", "share of roofline"];
    let mut table = Table::new(caption, &columns);
    let latency: f64 = sums.iter().map(|sum| sum.time_s).sum();
    for sum in sums {
        let is_forward = FORWARD.iter().any(|phase| sum.phase == *phase);
        table.rows.push(vec![
            sum.phase.to_string(),
            milliseconds(sum.time_s),
            percent(part(sum.time_s, latency)),
            if is_forward { percent(sum.unattributed_share) } else { ABSENT.to_owned() },
            rate(sum.flops.value(), sum.time_s),
            rate(sum.bytes.value(), sum.time_s),
            or_absent(sum.roofline.value().map(percent)),
        ]);
    }
    table
}

/// The operations of a phase. Their shares add up to 100 %.
fn ops(view: &RunView<'_>, summary: &Summary, phase: Phase, rows: &[OpRow], time: f64) -> Table {
    let caption =
        format!("{}: operations of {}, traced pass, sum over all prompts.", view.subject(summary), phase.name());
    let columns = [
        "<operation",
        "calls",
        "ms",
        "share of phase",
        "GFLOP/s",
        "GB/s",
        "FLOP/byte",
        "share of roofline",
        "<nearest ceiling",
    ];
    let mut table = Table::new(caption, &columns);
    let (mut large, mut small): (Vec<&OpRow>, Vec<&OpRow>) =
        rows.iter().partition(|row| part(row.time_s, time) >= SMALL);
    if small.len() == 1 {
        large.append(&mut small);
    }
    table.rows.extend(large.iter().map(|row| cells(row, time)));
    if let Some((first, rest)) = small.split_first() {
        let mut others =
            OpRow { op: format!("{} below 0.5 % each", count(small.len(), "operation")), ..(*first).clone() };
        rest.iter().for_each(|row| add(&mut others, row));
        others.limit = Recorded::absent("each operation has its own ceiling");
        table.rows.push(cells(&others, time));
    }
    let in_ops: f64 = rows.iter().map(|row| row.time_s).sum();
    // Times are whole nanoseconds; a smaller difference is rounding.
    let rest = ((time - in_ops) * 1e9).round() / 1e9;
    let unattributed =
        OpRow { op: "unattributed".to_owned(), time_s: rest, ..OpRow::absent("it is the time outside of operations") };
    table.rows.push(cells(&unattributed, time));
    table
}

fn cells(row: &OpRow, phase_s: f64) -> Vec<String> {
    let (flops, bytes) = (row.flops.value(), row.bytes.value());
    let intensity = flops.zip(bytes.filter(|&bytes| bytes > 0.0)).map(|(flops, bytes)| flops / bytes);
    let roofline = row.attainable_s.value().filter(|_| row.time_s > 0.0).map(|attainable| attainable / row.time_s);
    vec![
        row.op.clone(),
        if row.count > 0 { row.count.to_string() } else { ABSENT.to_owned() },
        milliseconds(row.time_s),
        percent(part(row.time_s, phase_s)),
        rate(flops, row.time_s),
        rate(bytes, row.time_s),
        or_absent(intensity.map(significant)),
        or_absent(roofline.map(percent)),
        or_absent(row.limit.value().map(|roof| roof.name().to_owned())),
    ]
}

/// How much the times of the layers differ.
fn layers(cases: &[&Case], phase: Phase) -> Option<String> {
    let mut layers: BTreeMap<usize, f64> = BTreeMap::new();
    for row in cases.iter().flat_map(|case| &case.layers).filter(|row| row.phase == phase) {
        if let Some(layer) = row.layer {
            *layers.entry(layer).or_default() += row.time_s;
        }
    }
    let times: Vec<f64> = layers.values().copied().collect();
    let middle = median(&times).filter(|&middle| middle > 0.0 && times.len() > 1)?;
    let (slowest, time) = layers.iter().max_by(|a, b| a.1.total_cmp(b.1))?;
    let fastest = times.iter().copied().fold(f64::INFINITY, f64::min);
    Some(format!(
        "Layers in {}, traced pass: of {} layers, the slowest is layer {slowest} with {} ms, {} times the median; the fastest takes {} ms.",
        phase.name(),
        times.len(),
        milliseconds(*time),
        significant(time / middle),
        milliseconds(fastest)
    ))
}

/// Busy and idle time of the engine's threads.
fn threads(view: &RunView<'_>, summary: &Summary, cases: &[&Case]) -> Table {
    let caption = format!(
        "{}: threads of the engine, traced pass, sum over all prompts. Shared work is the time in which at least one thread works on work that the threads share; idle is the share of it in which this thread does not work.",
        view.subject(summary)
    );
    let mut table = Table::new(caption, &["<phase", "<thread", "busy ms", "shared work ms", "idle share"]);
    for phase in FORWARD {
        // Busy time, and the time it is a share of.
        let mut busy: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for row in cases.iter().flat_map(|case| &case.workers).filter(|row| row.phase == phase) {
            let sum = busy.entry(&row.thread).or_default();
            let shared = if row.idle_share < 1.0 { row.busy_s / (1.0 - row.idle_share) } else { 0.0 };
            *sum = (sum.0 + row.busy_s, sum.1 + shared);
        }
        table.rows.extend(busy.into_iter().map(|(thread, (busy, shared))| {
            vec![
                phase.name().to_owned(),
                thread.to_owned(),
                milliseconds(busy),
                milliseconds(shared),
                percent(1.0 - part(busy, shared).min(1.0)),
            ]
        }));
    }
    table
}

/// Why roofline figures are absent or above 100 %, with the operations that each reason is about.
fn reasons(cases: &[&Case]) -> Vec<String> {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in cases.iter().flat_map(|case| &case.ops).filter(|row| FORWARD.iter().any(|phase| row.phase == *phase)) {
        if let Some(reason) = row.why_roofline() {
            let ops = by_reason.entry(reason).or_default();
            if !ops.contains(&row.op.as_str()) {
                ops.push(&row.op);
            }
        }
    }
    let known: std::collections::BTreeSet<&str> =
        cases.iter().flat_map(|case| &case.ops).map(|row| row.op.as_str()).collect();
    let subject = |ops: &[&str]| if ops.len() == known.len() { "every operation".to_owned() } else { ops.join(", ") };
    by_reason.iter().map(|(reason, ops)| format!("share of roofline of {}: {reason}", subject(ops))).collect()
}

fn rate(amount: Option<f64>, seconds: f64) -> String {
    or_absent(amount.filter(|_| seconds > 0.0).map(|amount| significant(amount / seconds / 1e9)))
}

fn part(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use record::Sample;

    use super::*;

    #[test]
    fn requests_that_other_programs_interrupted() {
        let case = |latency: f64, cpu: f64| {
            let sample = Sample { latency_s: latency.into(), cpu_s: cpu.into(), ..Sample::absent("not measured") };
            Case { traced: vec![sample], ops_round: Some(0), ..Case::default() }
        };
        let (interrupted, quiet) = (case(0.052, 0.006), case(0.005, 0.0099));
        let sentence = not_running(&[&interrupted, &quiet]).unwrap();
        insta::assert_snapshot!(sentence, @"in at least 46.00 of 57.00 ms of the traced requests no thread of the process ran: other programs had the processors, or the engine waited. That time is part of the operation, or of the unattributed time, in which it fell, so that the shares of short operations are not reliable.");
        assert_eq!(not_running(&[&quiet]), None);
        assert_eq!(not_running(&[&Case::default()]), None);
    }
}
