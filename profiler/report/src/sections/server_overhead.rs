//! The same model in this process and through a server: which parts make up the difference.
//!
//! ```text
//! row                        in process                              through the server
//! until the first token      TTFT                                    TTFT
//!   HTTP                     none                                    measured separately
//!   chat template            none: rendered before the request       measured separately - HTTP
//!   tokenize                 tokenize                                measured separately - HTTP
//!   queue and remainder      none                                    TTFT - its own prefill - the known ones of these three
//!   prefill                  TTFT - tokenize                         its own prefill
//! after the first token      latency - TTFT                          latency - TTFT
//!   decode                   latency - TTFT - detokenize - other     its own decode
//!   text and transport       detokenize + other                      latency - TTFT - its own decode   (text, HTTP)
//! latency                    latency                                 latency
//! ```
//! On both sides the first token is sampled in prefill, and the indented rows add up to the row above them.

use super::RunView;
use crate::content::Section;
use crate::figures::or_absent;
use crate::table::Table;
use record::figures::milliseconds;
use record::{Case, Preprocessing, Sample, Summary};
use statistics::mean;

/// A time in seconds of one request of a case.
type Time = fn(&Case, &Sample) -> Option<f64>;

/// A row of the table.
struct Row {
    name: &'static str,
    /// In process; `None` if there is no such part.
    in_process: Option<Time>,
    /// Through the server.
    server: Time,
}

const fn row(name: &'static str, in_process: Time, server: Time) -> Row {
    Row { name, in_process: Some(in_process), server }
}

/// A part that only a server has.
const fn server_only(name: &'static str, server: Time) -> Row {
    Row { name, in_process: None, server }
}

const ROWS: &[Row] = &[
    row("until the first token", |_, s| s.ttft_s.value(), |_, s| s.ttft_s.value()),
    server_only("  HTTP", |c, _| before(c)?.round_trip_s),
    server_only("  chat template", |c, _| before(c)?.template_s),
    row("  tokenize", |_, s| s.tokenize_s.value(), |c, _| before(c)?.tokenize_s),
    server_only("  queue and remainder", |c, s| Some(s.ttft_s.value()? - s.server.as_ref()?.prefill_s? - known(c))),
    row("  prefill", |_, s| Some(s.ttft_s.value()? - s.tokenize_s.value()?), |_, s| s.server.as_ref()?.prefill_s),
    row("after the first token", |_, s| rest(s), |_, s| rest(s)),
    row(
        "  decode",
        |_, s| Some(rest(s)? - s.detokenize_s.value()? - s.other_s.value()?),
        |_, s| s.server.as_ref()?.decode_s,
    ),
    row(
        "  text and transport",
        |_, s| Some(s.detokenize_s.value()? + s.other_s.value()?),
        |_, s| Some(rest(s)? - s.server.as_ref()?.decode_s?),
    ),
    row("latency", |_, s| s.latency_s.value(), |_, s| s.latency_s.value()),
];

fn rest(sample: &Sample) -> Option<f64> {
    Some(sample.latency_s.value()? - sample.ttft_s.value()?)
}

fn before(case: &Case) -> Option<&Preprocessing> {
    case.server.as_ref()?.before_model.as_ref()
}

/// The known time before the model. An unknown part is in the remainder.
fn known(case: &Case) -> f64 {
    let parts = |found: &Preprocessing| [found.round_trip_s, found.template_s, found.tokenize_s];
    before(case).map(parts).into_iter().flatten().flatten().sum()
}

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::new("In process and through a server");
    let has_server = |summary: &&Summary| view.cases(summary).any(|case| case.server.is_some());
    for server in view.file.summaries.iter().filter(has_server) {
        let same = |other: &&Summary| {
            !has_server(other)
                && (&other.model, other.threads, other.depth) == (&server.model, server.threads, server.depth)
        };
        let in_process: Vec<&Summary> = view.file.summaries.iter().filter(same).collect();
        for summary in &in_process {
            section.add_table(table(view, summary, server));
        }
        if !in_process.is_empty() {
            unknown(view, server).into_iter().for_each(|sentence| section.add_sentence(sentence));
        }
    }
    if !section.blocks.is_empty() {
        section.add_sentence("Means in ms over the prompts that both answered. Preprocessing by a server is HTTP, chat template and tokenizing. It was measured separately, outside of the measured requests. Queue and remainder is the rest of TTFT. In process, the text is rendered before the request. On both sides the first token is sampled in prefill. Prefill and decode of the server are its own figures; without them the rows are empty. Answers may differ in length.");
    }
    section
}

/// Why parts of the time before the model are unknown, one sentence per part.
fn unknown(view: &RunView<'_>, server: &Summary) -> Vec<String> {
    let parts = [("HTTP", "round_trip_s"), ("chat template", "template_s"), ("tokenize", "tokenize_s")];
    let of_part = |(name, field): (&str, &str)| {
        let mut reasons = view.cases(server).filter_map(|case| before(case)?.reasons.get(field));
        reasons.next().map(|reason| {
            format!("{}: {name} was not measured separately and is part of the remainder: {reason}.", server.engine)
        })
    };
    parts.into_iter().filter_map(of_part).collect()
}

fn table(view: &RunView<'_>, in_process: &Summary, server: &Summary) -> Table {
    let caption = format!("{}, and {}.", view.subject(in_process), view.subject(server));
    let mut table =
        Table::new(caption, &["<part", "in process", "through the server", "difference", "share of difference"]);
    let pairs: Vec<(&Case, &Case)> = view
        .cases(in_process)
        .filter_map(|one| view.cases(server).find(|other| other.prompt == one.prompt).map(|other| (one, other)))
        .filter(|(one, other)| one.clean_samples().next().is_some() && other.clean_samples().next().is_some())
        .collect();
    let of = |time: Time, pick: fn(&(&Case, &Case)) -> usize| {
        let cases = pairs.iter().map(|pair| if pick(pair) == 0 { pair.0 } else { pair.1 });
        let of_case =
            |case: &Case| mean(&case.clean_samples().filter_map(|sample| time(case, sample)).collect::<Vec<f64>>());
        cases.map(of_case).collect::<Option<Vec<f64>>>().and_then(|means| mean(&means))
    };
    let both = |row: &Row| (row.in_process.map_or(Some(0.0), |time| of(time, |_| 0)), of(row.server, |_| 1));
    let whole = ROWS.last().map(both).and_then(|(one, other)| Some(other? - one?));
    for row in ROWS {
        let (one, other) = both(row);
        let difference = one.zip(other).map(|(one, other)| other - one);
        let share = difference.zip(whole.filter(|whole| whole.abs() > 0.0)).map(|(part, whole)| part / whole);
        table.rows.push(vec![
            row.name.to_owned(),
            if row.in_process.is_none() { "none".to_owned() } else { or_absent(one.map(milliseconds)) },
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
    use record::{RunFile, ServerFile, ServerSample};

    /// One engine in process, and one through a server with these times before its model.
    fn run(before_model: Option<Preprocessing>) -> RunFile {
        let in_process = Sample {
            latency_s: 1.0.into(),
            ttft_s: 0.22.into(),
            tokenize_s: 0.01.into(),
            prefill_s: 0.2.into(),
            decode_s: 0.7.into(),
            sample_s: 0.05.into(),
            detokenize_s: 0.03.into(),
            other_s: 0.01.into(),
            ..Sample::absent("not measured")
        };
        let through_server = Sample {
            latency_s: 1.5.into(),
            ttft_s: 0.4.into(),
            server: Some(ServerSample { prefill_s: Some(0.3), decode_s: Some(0.9), ..ServerSample::default() }),
            ..Sample::absent("not measured")
        };
        let case = |engine: &str, sample: Sample, server: Option<ServerFile>| Case {
            engine: engine.to_owned(),
            model: "m".to_owned(),
            prompt: "p".to_owned(),
            samples: vec![sample],
            server,
            ..Case::default()
        };
        let server = ServerFile { before_model, ..ServerFile::default() };
        let cases = vec![case("a", in_process, None), case("b", through_server, Some(server))];
        let summaries = analyse::summary::summarise(&cases, 1);
        RunFile { cases, summaries, ..RunFile::default() }
    }

    fn cells(file: &RunFile) -> Vec<String> {
        let found = table(&RunView { file }, &file.summaries[0], &file.summaries[1]);
        found.rows.iter().map(|row| row[1..].join(" ")).collect()
    }

    #[test]
    fn the_parts_add_up_to_the_difference() {
        let separate = Preprocessing {
            round_trip_s: Some(0.01),
            template_s: Some(0.02),
            tokenize_s: Some(0.005),
            ..Preprocessing::default()
        };
        let file = run(Some(separate));
        assert_eq!(
            cells(&file),
            [
                "220.0 400.0 180.0 36 %",
                "none 10.00 10.00 2 %",
                "none 20.00 20.00 4 %",
                "10.00 5.000 -5.000 -1 %",
                "none 65.00 65.00 13 %",
                "210.0 300.0 90.00 18 %",
                "780.0 1100 320.0 64 %",
                "740.0 900.0 160.0 32 %",
                "40.00 200.0 160.0 32 %",
                "1000 1500 500.0 100 %"
            ]
        );
        assert_eq!(section(&RunView { file: &file }).blocks.len(), 2);
    }

    #[test]
    fn an_unmeasured_part_is_in_the_remainder_with_its_reason() {
        let reason = |field: &str| (field.to_owned(), "x has no such endpoint".to_owned());
        let reasons = [reason("template_s"), reason("tokenize_s")].into();
        let file = run(Some(Preprocessing { round_trip_s: Some(0.01), reasons, ..Preprocessing::default() }));
        assert_eq!(
            cells(&file)[1..5],
            ["none 10.00 10.00 2 %", "none – – –", "10.00 – – –", "none 90.00 90.00 18 %"].map(str::to_owned)
        );
        let sentences = unknown(&RunView { file: &file }, &file.summaries[1]);
        assert_eq!(
            sentences[0],
            "b: chat template was not measured separately and is part of the remainder: x has no such endpoint."
        );
        assert_eq!(sentences.len(), 2);
        assert_eq!(cells(&run(None))[4], "none 100.0 100.0 20 %", "a run without separate measurements");
    }
}
