//! Speed against depth and against threads, for runs with several of them.

use super::RunView;
use crate::chart::{Chart, Figure, Line, Lines, Point};
use crate::content::{Block, Section};
use crate::figures::{ABSENT, count, metric as shown};
use crate::table::Table;
use record::figures::significant;
use record::{DepthLaw, Summary};

/// The metrics drawn over each axis.
const METRICS: &[(&str, &str)] = &[("Decode speed", "decode_tps"), ("Prefill speed", "prefill_tps")];

/// An axis of the plan.
struct Axis {
    name: &'static str,
    title: &'static str,
    of: fn(&Summary) -> usize,
    /// The value on the other axis, as part of a line's name.
    other: fn(&Summary) -> String,
    others: fn(&Summary) -> usize,
}

const AXES: &[Axis] = &[
    Axis {
        name: "depth",
        title: "tokens in the context before the prompt",
        of: |summary| summary.depth,
        other: |summary| count(summary.threads, "thread"),
        others: |summary| summary.threads,
    },
    Axis {
        name: "threads",
        title: "threads",
        of: |summary| summary.threads,
        other: |summary| format!("depth {}", summary.depth),
        others: |summary| summary.depth,
    },
];

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Depth and threads");
    for axis in AXES {
        let lines = lines(view, axis);
        if lines.is_empty() {
            continue;
        }
        for (what, metric) in METRICS {
            section.blocks.extend(chart(axis, what, metric, &lines).map(|chart| Block::Chart(Box::new(chart))));
        }
    }
    laws(view, &mut section);
    if !section.blocks.is_empty() {
        section.add_sentence("Clean pass, means over the prompts with 95 % intervals. At a larger depth, each token reads more of the KV cache. More threads help until memory bandwidth or the number of cores limits the speed.");
    }
    section
}

/// The growth of the time of a token with the context, which op has most of it, and where one engine overtakes another.
fn laws(view: &RunView<'_>, section: &mut Section) {
    let laws = &view.file.depth_laws;
    if laws.is_empty() {
        return;
    }
    let columns = ["<case", "<KV cache", "ms/token at depth 0", "ms/token per 1,000 tokens", "<most of the growth"];
    let mut table =
        Table::new("Clean pass: the time of a decoded token as a line over the tokens in the context.", &columns);
    let kv_type = view.file.plan.kv_type.to_string();
    let name = |law: &DepthLaw| {
        format!("{} on {}, {}", view.model(&law.model), law.engine, view.threads(&law.engine, law.threads))
    };
    for law in laws {
        // An interval that includes 0 supports no trend.
        let supported = law.growth_ms.value().filter(|of| of.low > 0.0 || of.high < 0.0);
        let growth = supported.map_or_else(
            || ABSENT.to_owned(),
            |of| format!("{} [{}, {}]", significant(of.value), significant(of.low), significant(of.high)),
        );
        let most = law
            .ops
            .first()
            .map_or_else(|| ABSENT.to_owned(), |op| format!("{} ({} %)", op.op, significant(100.0 * op.share)));
        let start = law.at_start_ms.value().map_or_else(|| ABSENT.to_owned(), significant);
        table.rows.push(vec![name(law), kv_type.clone(), start, growth, most]);
    }
    section.add_table(table);
    section.add_sentence("The line is fitted to all requests, with the 95 % interval of its slope; a growth whose interval includes 0 is not shown. The last column is from the traced pass.");
    for (at, law) in laws.iter().enumerate() {
        for other in &laws[at + 1..] {
            if let Some(tokens) = crossing(law, other) {
                section.add_sentence(format!(
                    "{} and {} take the same time at about {tokens} tokens of context.",
                    name(law),
                    name(other)
                ));
            }
        }
    }
}

/// Where the lines of two engines with the same model and threads cross, in tokens, if that is between the smallest and the largest depth
/// and the intervals of their slopes do not overlap.
fn crossing(a: &DepthLaw, b: &DepthLaw) -> Option<u64> {
    if (&a.model, a.threads) != (&b.model, b.threads) {
        return None;
    }
    let (growth_a, growth_b) = (a.growth_ms.value()?, b.growth_ms.value()?);
    if growth_a.low <= growth_b.high && growth_b.low <= growth_a.high {
        return None;
    }
    let tokens = 1000.0 * (a.at_start_ms.value()? - b.at_start_ms.value()?) / (growth_b.value - growth_a.value);
    let depths = a.depths.iter().chain(&b.depths);
    let (first, last) = (*depths.clone().min()?, *depths.max()?);
    (first as f64..=last as f64).contains(&tokens).then_some(tokens.round() as u64)
}

/// Lines of summaries that differ only in this axis, with their names, in ascending order along the axis.
fn lines<'a>(view: &'a RunView<'_>, axis: &Axis) -> Vec<(String, Vec<&'a Summary>)> {
    let summaries = &view.file.summaries;
    let several = |of: fn(&Summary) -> usize| summaries.iter().any(|summary| of(summary) != of(&summaries[0]));
    let mut lines: Vec<(String, Vec<&Summary>)> = Vec::new();
    if summaries.is_empty() || !several(axis.of) {
        return lines;
    }
    let other = several(axis.others);
    for summary in summaries {
        let more = if other { format!(", {}", (axis.other)(summary)) } else { String::new() };
        let name = format!("{} on {}{more}", view.model(&summary.model), summary.engine);
        match lines.iter_mut().find(|(known, _)| *known == name) {
            Some((_, summaries)) => summaries.push(summary),
            None => lines.push((name, vec![summary])),
        }
    }
    lines.retain(|(_, summaries)| summaries.len() > 1);
    lines.iter_mut().for_each(|(_, summaries)| summaries.sort_by_key(|summary| (axis.of)(summary)));
    lines
}

fn chart(axis: &Axis, what: &str, metric: &str, lines: &[(String, Vec<&Summary>)]) -> Option<Chart> {
    let mut places: Vec<usize> =
        lines.iter().flat_map(|(_, summaries)| summaries).map(|summary| (axis.of)(summary)).collect();
    places.sort_unstable();
    places.dedup();
    let columns: Vec<String> = std::iter::once("<case".to_owned())
        .chain(places.iter().map(|place| format!("{} {place}", axis.name)))
        .chain(["last / first".to_owned()])
        .collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut numbers = Table::new(format!("{what} in tokens per second against {}.", axis.name), &columns);
    let mut drawn = Vec::new();
    let mut descriptions = Vec::new();
    for (name, summaries) in lines {
        let known = summaries.iter().filter_map(|summary| Some(((axis.of)(summary), summary.metrics.get(metric)?)));
        let points: Vec<Point> =
            known.clone().map(|(x, found)| Point { x: x as f64, y: found.mean, range: found.interval() }).collect();
        let (Some(first), Some(last)) = (points.first(), points.last()) else { continue };
        let ratio = (first.y > 0.0).then(|| last.y / first.y);
        let cell = |place: &usize| {
            let found = summaries.iter().find(|summary| (axis.of)(summary) == *place);
            found.map_or_else(|| ABSENT.to_owned(), |summary| shown(summary, metric, significant))
        };
        let cells = std::iter::once(name.clone()).chain(places.iter().map(cell));
        numbers.rows.push(cells.chain([ratio.map_or(ABSENT.to_owned(), |ratio| format!("{ratio:.2}"))]).collect());
        descriptions.push(format!(
            "{name}: {} at {}, {} at {}",
            significant(first.y),
            first.x,
            significant(last.y),
            last.x
        ));
        drawn.push(Line { name: name.clone(), points, dots: true });
    }
    (!drawn.is_empty()).then(|| Chart {
        title: format!("{what} against {}", axis.name),
        summary: format!("{what} in tokens per second, by {}. {}.", axis.title, descriptions.join("; ")),
        figure: Figure::Lines(Lines {
            x: axis.title.to_owned(),
            y: "tokens per second".to_owned(),
            lines: drawn,
            ..Lines::default()
        }),
        numbers: Some(numbers),
    })
}

#[cfg(test)]
mod tests {
    use record::Slope;

    use super::*;

    fn law(start: f64, growth: f64) -> DepthLaw {
        DepthLaw {
            depths: vec![0, 4000],
            growth_ms: Slope { value: growth, low: growth - 0.1, high: growth + 0.1, n: 9 }.into(),
            at_start_ms: start.into(),
            ..DepthLaw::absent("not needed")
        }
    }

    #[test]
    fn lines_cross_within_what_was_measured_or_nowhere() {
        assert_eq!(crossing(&law(10.0, 4.0), &law(12.0, 3.0)), Some(2000));
        assert_eq!(crossing(&law(10.0, 4.0), &law(15.0, 3.0)), None, "beyond the largest depth");
        assert_eq!(crossing(&law(10.0, 4.0), &law(10.2, 3.9)), None, "the slopes may be equal");
        let other = DepthLaw { threads: 7, ..law(12.0, 3.0) };
        assert_eq!(crossing(&law(10.0, 4.0), &other), None);
    }
}
