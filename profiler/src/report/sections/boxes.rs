//! White box against black box: the same model in this process and through a server, the difference split.
//!
//! ```text
//! row                        in process                              through the server
//! until the first token      TTFT                                    TTFT
//!   before the model         tokenize                                TTFT - its own prefill            (template, tokens, queue, HTTP)
//!   prefill                  TTFT - tokenize                         its own prefill
//! after the first token      latency - TTFT                          latency - TTFT
//!   decode                   latency - TTFT - detokenize - other     its own decode
//!   text and transport       detokenize + other                      latency - TTFT - its own decode   (text, HTTP)
//! latency                    latency                                 latency
//! ```
//! Either way the first token is sampled in prefill, and the indented rows add up to the one above them.

use super::View;
use crate::report::content::{Section, Table};
use crate::report::figures::{milliseconds, or_absent};
use crate::results::{Case, Sample, Summary};
use crate::statistics::{clean, mean};

/// A row: its name, and its time in seconds on either side.
type Row = (&'static str, fn(&Sample) -> Option<f64>, fn(&Sample) -> Option<f64>);

const ROWS: &[Row] = &[
    ("until the first token", |s| s.ttft_s, |s| s.ttft_s),
    ("  before the model", |s| s.tokenize_s, |s| Some(s.ttft_s? - s.server.as_ref()?.prefill_s?)),
    ("  prefill", |s| Some(s.ttft_s? - s.tokenize_s?), |s| s.server.as_ref()?.prefill_s),
    ("after the first token", rest, rest),
    ("  decode", |s| Some(rest(s)? - s.detokenize_s? - s.other_s?), |s| s.server.as_ref()?.decode_s),
    ("  text and transport", |s| Some(s.detokenize_s? + s.other_s?), |s| Some(rest(s)? - s.server.as_ref()?.decode_s?)),
    ("latency", |s| s.latency_s, |s| s.latency_s),
];

fn rest(sample: &Sample) -> Option<f64> {
    Some(sample.latency_s? - sample.ttft_s?)
}

pub(super) fn section(view: &View<'_>) -> Section {
    let mut section = Section::new("In process and through a server");
    let has_server = |summary: &&Summary| view.cases(summary).any(|case| case.server.is_some());
    for black in view.file.summaries.iter().filter(has_server) {
        let same = |white: &&Summary| {
            !has_server(white)
                && (&white.model, white.threads, white.depth) == (&black.model, black.threads, black.depth)
        };
        for white in view.file.summaries.iter().filter(same) {
            section.show(table(view, white, black));
        }
    }
    if !section.blocks.is_empty() {
        section.say("Means over the prompts that both answered, in ms. Before the model: encoding the prompt; through the server also the chat template, its queue and HTTP. Either way the first token is sampled in prefill. The server's prefill and decode are its own words; where it says nothing, the rows stay empty. Answers may differ in length: compare the rows with the tokens of each.");
    }
    section
}

fn table(view: &View<'_>, white: &Summary, black: &Summary) -> Table {
    let caption = format!("{}, and {}.", view.subject(white), view.subject(black));
    let mut table =
        Table::new(caption, &["<part", "in process", "through the server", "difference", "of the whole difference"]);
    let pairs: Vec<(&Case, &Case)> = view
        .cases(white)
        .filter_map(|one| view.cases(black).find(|other| other.prompt == one.prompt).map(|other| (one, other)))
        .filter(|(one, other)| clean(one).next().is_some() && clean(other).next().is_some())
        .collect();
    let of = |value: fn(&Sample) -> Option<f64>, pick: fn(&(&Case, &Case)) -> usize| {
        let cases = pairs.iter().map(|pair| if pick(pair) == 0 { pair.0 } else { pair.1 });
        let means: Option<Vec<f64>> =
            cases.map(|case| mean(&clean(case).filter_map(value).collect::<Vec<f64>>())).collect();
        means.and_then(|means| mean(&means))
    };
    let both = |row: &Row| (of(row.1, |_| 0), of(row.2, |_| 1));
    let whole = ROWS.last().map(both).and_then(|(one, other)| Some(other? - one?));
    for row in ROWS {
        let (one, other) = both(row);
        let difference = one.zip(other).map(|(one, other)| other - one);
        let share = difference.zip(whole.filter(|whole| whole.abs() > 0.0)).map(|(part, whole)| part / whole);
        table.rows.push(vec![
            row.0.to_owned(),
            or_absent(one.map(milliseconds)),
            or_absent(other.map(milliseconds)),
            or_absent(difference.map(milliseconds)),
            or_absent(share.map(|share| format!("{:.0} %", share * 100.0))),
        ]);
    }
    if pairs.is_empty() {
        table.rows.clear();
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{RunFile, ServerFile, ServerSample};

    #[test]
    fn the_parts_add_up_to_the_difference() {
        let white = Sample {
            latency_s: Some(1.0),
            ttft_s: Some(0.22),
            tokenize_s: Some(0.01),
            prefill_s: Some(0.2),
            decode_s: Some(0.7),
            sample_s: Some(0.05),
            detokenize_s: Some(0.03),
            other_s: Some(0.01),
            ..Sample::default()
        };
        let black = Sample {
            latency_s: Some(1.5),
            ttft_s: Some(0.4),
            server: Some(ServerSample { prefill_s: Some(0.3), decode_s: Some(0.9), ..ServerSample::default() }),
            ..Sample::default()
        };
        let case = |engine: &str, sample: Sample, server: Option<ServerFile>| Case {
            engine: engine.to_owned(),
            model: "m".to_owned(),
            prompt: "p".to_owned(),
            samples: vec![sample],
            server,
            ..Case::default()
        };
        let cases = vec![case("a", white, None), case("b", black, Some(ServerFile::default()))];
        let summaries = crate::statistics::summarise(&cases, 1);
        let file = RunFile { cases, summaries, ..RunFile::default() };
        let view = View { file: &file };
        let found = table(&view, &file.summaries[0], &file.summaries[1]);
        let cells: Vec<String> = found.rows.iter().map(|row| row[1..].join(" ")).collect();
        assert_eq!(
            cells,
            [
                "220.0 400.0 180.0 36 %",
                "10.00 100.0 90.00 18 %",
                "210.0 300.0 90.00 18 %",
                "780.0 1100 320.0 64 %",
                "740.0 900.0 160.0 32 %",
                "40.00 200.0 160.0 32 %",
                "1000 1500 500.0 100 %"
            ]
        );
        assert_eq!(section(&view).blocks.len(), 2);
    }
}
