//! Gaps between output tokens: warm-up, trend, stalls.

use super::RunView;
use crate::chart::{Chart, Figure, Line, Lines, Point};
use crate::content::{Block, Section};
use crate::figures::{ABSENT, or_absent};
use crate::table::Table;
use analyse::summary::supported_trend;
use record::figures::{milliseconds, significant};
use record::{Case, Pass, Series, Slope, Stall, Summary};
use statistics::{mean, median};

/// End of the vertical axis in medians. Stalls, which are longer than three medians, are drawn at its edge.
const TOP: f64 = 3.3;
/// Maximal number of listed stalls.
const MOST_STALLS: usize = 10;

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Token by token");
    for summary in view.file.summaries.iter().take(super::MOST_CHARTS) {
        section.blocks.extend(chart(view, summary).map(|chart| Block::Chart(Box::new(chart))));
    }
    for summary in &view.file.summaries {
        let columns = ["<prompt", "TTFT ms", "gap ms", "warm-up tokens", "trend ms per 100 tokens", "stalls"];
        let caption = format!(
            "{}: gaps between output tokens, clean pass, median over the rounds at each position. Stalls are those of all passes.",
            view.subject(summary)
        );
        let mut table = Table::new(caption, &columns);
        table.rows.extend(view.cases(summary).filter_map(|case| Some(row(case, case.series.as_ref()?))));
        section.add_table(table);
    }
    stalls(view, &mut section);
    if !section.blocks.is_empty() {
        section.add_sentence("Warm-up tokens are the leading tokens that are more than 10 % slower than the median. The trend is the least-squares slope after them with its 95 % interval, where at least 100 gaps follow them and the interval excludes 0: each token reads a longer context than the one before. A stall is a gap of more than three times the median gap of its request.");
        section.add_chart_note("The charts begin with the second token: the first one ends prefill. Stalls that are longer than the chart is high are drawn at its edge.");
    }
    section
}

fn row(case: &Case, series: &Series) -> Vec<String> {
    let ttft = mean(&case.clean_samples().filter_map(|sample| sample.ttft_s.value()).collect::<Vec<f64>>());
    vec![
        case.prompt.clone(),
        or_absent(ttft.map(milliseconds)),
        or_absent(median(&series.median_gap_s).map(milliseconds)),
        series.warm_up_tokens.to_string(),
        or_absent(supported_trend(series).map(trend)),
        series.stall_count.to_string(),
    ]
}

/// The slope in milliseconds per 100 tokens, with its interval.
fn trend(slope: Slope) -> String {
    let [value, low, high] = [slope.value, slope.low, slope.high].map(|s_per_1000| milliseconds(s_per_1000 / 10.0));
    format!("{value}\n[{low}, {high}]")
}

/// The gaps of the case with most tokens.
fn chart(view: &RunView<'_>, summary: &Summary) -> Option<Chart> {
    let known = view.cases(summary).filter_map(|case| Some((case, case.series.as_ref()?)));
    // The first of equally long cases.
    let (case, series) =
        known.reduce(|best, next| if next.1.median_gap_s.len() > best.1.median_gap_s.len() { next } else { best })?;
    let middle = median(&series.median_gap_s)?;
    let range = |place: usize| series.low_gap_s.get(place).copied().zip(series.high_gap_s.get(place).copied());
    let points = series.median_gap_s.iter().enumerate().map(|(place, &gap)| Point {
        x: (place + 2) as f64,
        y: gap * 1e3,
        range: range(place).map(|(low, high)| (low * 1e3, high * 1e3)),
    });
    let marks: Vec<(f64, f64)> = series
        .stalls
        .iter()
        .filter(|stall| stall.pass == Pass::Clean)
        .map(|stall| (stall.token as f64, stall.gap_s * 1e3))
        .collect();
    let highest = series.high_gap_s.iter().copied().fold(0.0, f64::max);
    let ttft = mean(&case.clean_samples().filter_map(|sample| sample.ttft_s.value()).collect::<Vec<f64>>());
    let facts = [
        Some(format!("median gap {} ms", milliseconds(middle))),
        ttft.map(|ttft| format!("first token after {} ms", milliseconds(ttft))),
        supported_trend(series).map(|slope| format!("trend {} ms per 100 tokens", trend(slope).replace('\n', " "))),
        Some(match series.stall_count {
            0 => "no stall".to_owned(),
            count => format!("stalls in all passes: {count}"),
        }),
    ];
    let subject = view.subject(summary);
    Some(Chart {
        title: format!("Gap before each token, {}: {subject}", case.prompt),
        summary: format!("{subject}, {}: {}.", case.prompt, facts.into_iter().flatten().collect::<Vec<_>>().join("; ")),
        figure: Figure::Lines(Lines {
            x: "output token".to_owned(),
            y: "gap in ms".to_owned(),
            lines: vec![Line {
                name: "median over the rounds, with its range".to_owned(),
                points: points.collect(),
                dots: false,
            }],
            marks: Some(("stall".to_owned(), marks)),
            top: (highest > middle * TOP).then_some(middle * TOP * 1e3),
        }),
        numbers: None,
    })
}

/// The longest stalls of the run with their positions in the trace.
fn stalls(view: &RunView<'_>, section: &mut Section) {
    let of_case = |case: &'_ Case| {
        let stalls = case.series.iter().flat_map(|series| &series.stalls);
        stalls.map(|stall| (case.id.clone(), stall.clone())).collect::<Vec<(String, Stall)>>()
    };
    let mut all: Vec<(String, Stall)> = view.file.cases.iter().flat_map(of_case).collect();
    let count = all.len();
    all.sort_by(|a, b| b.1.gap_s.total_cmp(&a.1.gap_s));
    all.truncate(MOST_STALLS);
    let caption = format!(
        "Stalls{}. The median and the start are those of the same request.",
        if count > MOST_STALLS { format!(", the {MOST_STALLS} longest of {count}") } else { String::new() }
    );
    let columns = ["<case", "<pass", "round", "token", "gap ms", "gap / median", "s after start", "s in trace.json"];
    let mut table = Table::new(caption, &columns);
    table.rows.extend(all.into_iter().map(|(case, stall)| {
        vec![
            case,
            stall.pass.name().to_owned(),
            (stall.round + 1).to_string(),
            stall.token.to_string(),
            milliseconds(stall.gap_s),
            if stall.median_s > 0.0 { format!("{:.1}", stall.gap_s / stall.median_s) } else { ABSENT.to_owned() },
            significant(stall.at_s),
            or_absent(stall.trace_us.value().map(|at| format!("{:.3}", at / 1e6))),
        ]
    }));
    if !table.rows.is_empty() {
        section.blocks.push(Block::Sortable(table));
    }
}
