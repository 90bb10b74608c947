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
//! A remainder below zero is no time: the server's own figure then covers another interval than the client's, and the row has no value.
//! On both sides the first token is sampled in prefill, and the indented rows add up to the row above them.
//!
//! Times are subtracted only where they are those of the same amount of work: prompts of other lengths are left out, and answers of
//! other lengths leave only the time until the first token.

use super::RunView;
use crate::content::Section;
use crate::figures::or_absent;
use crate::table::Table;
use record::figures::milliseconds;
use record::{Case, Preprocessing, Reason, Recorded, Sample, Summary};
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
    /// Whether the length of the answer changes it.
    is_after_first_token: bool,
}

const fn row(name: &'static str, in_process: Time, server: Time) -> Row {
    Row { name, in_process: Some(in_process), server, is_after_first_token: false }
}

const fn row_after(name: &'static str, in_process: Time, server: Time) -> Row {
    Row { name, in_process: Some(in_process), server, is_after_first_token: true }
}

/// A part that only a server has.
const fn server_only(name: &'static str, server: Time) -> Row {
    Row { name, in_process: None, server, is_after_first_token: false }
}

const ROWS: &[Row] = &[
    row("until the first token", |_, s| s.ttft_s.value(), |_, s| s.ttft_s.value()),
    server_only("  HTTP", |c, _| before(c)?.round_trip_s.value()),
    server_only("  chat template", |c, _| before(c)?.template_s.value()),
    row("  tokenize", |_, s| s.tokenize_s.value(), |c, _| before(c)?.tokenize_s.value()),
    server_only("  queue and remainder", |c, s| {
        Some(s.ttft_s.value()? - s.server.as_ref()?.prefill_s.value()? - known(c))
    }),
    row(
        "  prefill",
        |_, s| Some(s.ttft_s.value()? - s.tokenize_s.value()?),
        |_, s| s.server.as_ref()?.prefill_s.value(),
    ),
    row_after("after the first token", |_, s| rest(s), |_, s| rest(s)),
    row_after(
        "  decode",
        |_, s| Some(rest(s)? - s.detokenize_s.value()? - s.other_s.value()?),
        |_, s| s.server.as_ref()?.decode_s.value(),
    ),
    row_after(
        "  text and transport",
        |_, s| Some(s.detokenize_s.value()? + s.other_s.value()?),
        |_, s| Some(rest(s)? - s.server.as_ref()?.decode_s.value()?),
    ),
    row_after("latency", |_, s| s.latency_s.value(), |_, s| s.latency_s.value()),
];

/// Whether a row is what remains of the client's time without the server's own.
fn is_remainder(row: &Row) -> bool {
    ["  queue and remainder", "  text and transport"].contains(&row.name)
}

fn rest(sample: &Sample) -> Option<f64> {
    Some(sample.latency_s.value()? - sample.ttft_s.value()?)
}

fn before(case: &Case) -> Option<&Preprocessing> {
    case.server.as_ref()?.before_model.as_ref()
}

/// The known time before the model. An unknown part is in the remainder.
fn known(case: &Case) -> f64 {
    let parts =
        |found: &Preprocessing| [&found.round_trip_s, &found.template_s, &found.tokenize_s].map(Recorded::value);
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
            let pairs = Pairs::new(view, summary, server);
            section.add_table(table(view, (summary, server), &pairs));
            pairs.left_out(&server.engine).into_iter().for_each(|sentence| section.add_sentence(sentence));
        }
        if !in_process.is_empty() {
            let sentences = unknown(view, server).into_iter().chain(contradictions(view, server));
            sentences.for_each(|sentence| section.add_sentence(sentence));
        }
    }
    if !section.blocks.is_empty() {
        section.add_sentence("Clean pass, means in ms over the prompts that both answered. Preprocessing by a server is HTTP, chat template and tokenizing. It was measured separately, outside of the measured requests. Queue and remainder is the rest of TTFT. In process, the text is rendered before the request. On both sides the first token is sampled in prefill. Prefill and decode of the server are its own figures; without them the rows are empty.");
    }
    section
}

/// A part of the time before the model.
type Part = fn(&Preprocessing) -> &Recorded<f64>;

/// Why parts of the time before the model are unknown, one sentence per part.
fn unknown(view: &RunView<'_>, server: &Summary) -> Vec<String> {
    let parts: [(&str, Part); 3] = [
        ("HTTP", |found| &found.round_trip_s),
        ("chat template", |found| &found.template_s),
        ("tokenize", |found| &found.tokenize_s),
    ];
    let of_part = |(name, part): (&str, Part)| {
        let reasons = view.cases(server).filter_map(|case| part(before(case)?).reason());
        let mut reasons = reasons.filter(|reason| **reason != Reason::unrecorded());
        reasons.next().map(|reason| {
            format!("{}: {name} was not measured separately and is part of the remainder: {reason}.", server.engine)
        })
    };
    parts.into_iter().filter_map(of_part).collect()
}

/// The prompts that both sides answered, by what their times can be held against.
struct Pairs<'a> {
    /// Prompts of the same length on both sides: in process, and through the server.
    same: Vec<(&'a Case, &'a Case)>,
    /// Whether the answers of these have the same length too.
    has_answers: bool,
    /// Prompts of other lengths, in words.
    other_prompts: Vec<String>,
    /// Prompts whose length is unknown on a side.
    unknown_prompts: Vec<String>,
    /// Answers of other lengths, in words.
    other_answers: Vec<String>,
}

impl<'a> Pairs<'a> {
    fn new(view: &'a RunView<'a>, in_process: &'a Summary, server: &'a Summary) -> Self {
        let mut found = Self {
            same: Vec::new(),
            has_answers: false,
            other_prompts: Vec::new(),
            unknown_prompts: Vec::new(),
            other_answers: Vec::new(),
        };
        let has_samples = |case: &Case| case.clean_samples().next().is_some();
        let all = view.cases(in_process).filter_map(|one| {
            let other = view.cases(server).find(|other| other.prompt == one.prompt)?;
            (has_samples(one) && has_samples(other)).then_some((one, other))
        });
        let (mut equal, mut longer) = (Vec::new(), Vec::new());
        for (one, other) in all {
            let prompt = &one.prompt;
            match (tokens(one, |s| s.prompt_tokens.value()), tokens(other, |s| s.prompt_tokens.value())) {
                (Some(a), Some(b)) if a == b => {}
                (Some(a), Some(b)) => {
                    found.other_prompts.push(format!("{prompt} ({a} and {b})"));
                    continue;
                }
                _ => {
                    found.unknown_prompts.push(prompt.clone());
                    continue;
                }
            }
            match (tokens(one, |s| s.output_tokens.value()), tokens(other, |s| s.output_tokens.value())) {
                (Some(a), Some(b)) if a == b => equal.push((one, other)),
                (a, b) => {
                    let text_of = |n: Option<usize>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
                    found.other_answers.push(format!("{prompt} ({} and {})", text_of(a), text_of(b)));
                    longer.push((one, other));
                }
            }
        }
        found.has_answers = !equal.is_empty();
        found.same = if found.has_answers { equal } else { longer };
        found
    }

    /// Which prompts are not in the table, and why, one sentence for each cause.
    fn left_out(&self, engine: &str) -> Vec<String> {
        let mut sentences = Vec::new();
        if !self.other_prompts.is_empty() {
            sentences.push(format!(
                "{engine}: left out, because the numbers of prompt tokens differ, in process and through the server: {}.",
                self.other_prompts.join(", ")
            ));
        }
        if !self.unknown_prompts.is_empty() {
            sentences.push(format!(
                "{engine}: left out, because the number of prompt tokens is unknown on a side: {}.",
                self.unknown_prompts.join(", ")
            ));
        }
        if !self.other_answers.is_empty() {
            let what = if self.has_answers { "left out" } else { "no times after the first token" };
            sentences.push(format!(
                "{engine}: {what}, because the numbers of output tokens differ or are unknown, in process and through the server: {}.",
                self.other_answers.join(", ")
            ));
        }
        sentences
    }
}

/// The median number of tokens of the requests of a case that count; `None` where a request has no number.
fn tokens(case: &Case, of: fn(&Sample) -> Option<usize>) -> Option<usize> {
    let mut counts: Vec<usize> = case.clean_samples().map(of).collect::<Option<_>>()?;
    counts.sort_unstable();
    counts.get(counts.len().saturating_sub(1) / 2).copied()
}

fn table(view: &RunView<'_>, (in_process, server): (&Summary, &Summary), pairs: &Pairs<'_>) -> Table {
    let caption = format!("{}, and {}.", view.subject(in_process), view.subject(server));
    let mut table =
        Table::new(caption, &["<part", "in process", "through the server", "difference", "share of difference"]);
    if pairs.same.is_empty() {
        return table;
    }
    let of = |time: Time, pick: fn(&(&Case, &Case)) -> usize| {
        let cases = pairs.same.iter().map(|pair| if pick(pair) == 0 { pair.0 } else { pair.1 });
        let of_case =
            |case: &Case| mean(&case.clean_samples().filter_map(|sample| time(case, sample)).collect::<Vec<f64>>());
        cases.map(of_case).collect::<Option<Vec<f64>>>().and_then(|means| mean(&means))
    };
    let both = |row: &Row| {
        let server = of(row.server, |_| 1).filter(|&time| time >= 0.0 || !is_remainder(row));
        (row.in_process.map_or(Some(0.0), |time| of(time, |_| 0)), server)
    };
    let rows = || ROWS.iter().filter(|row| pairs.has_answers || !row.is_after_first_token);
    let whole = ROWS.last().filter(|_| pairs.has_answers).map(both).and_then(|(one, other)| Some(other? - one?));
    for row in rows() {
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
    table
}

/// The parts in which the server's own times are longer than the client's, as a sentence; `None` where there are none.
fn contradictions(view: &RunView<'_>, server: &Summary) -> Option<String> {
    let is_negative = |row: &&Row| {
        let of_case = |case: &Case| {
            mean(&case.clean_samples().filter_map(|sample| (row.server)(case, sample)).collect::<Vec<f64>>())
        };
        view.cases(server)
            .map(of_case)
            .collect::<Option<Vec<f64>>>()
            .and_then(|means| mean(&means))
            .is_some_and(|time| time < 0.0)
    };
    let remainders = ROWS.iter().filter(|row| is_remainder(row));
    let parts: Vec<&str> = remainders.filter(is_negative).map(|row| row.name.trim()).collect();
    (!parts.is_empty()).then(|| {
        format!(
            "{}: no value for {}: by its own figures the server computed longer than the client waited, so they cover another interval.",
            server.engine,
            parts.join(" and ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{RunFile, ServerFile, ServerSample};

    /// One engine in process, and one through a server with these times before its model.
    fn run(before_model: Option<Preprocessing>) -> RunFile {
        let in_process = Sample {
            latency_s: 1.0.into(),
            prompt_tokens: 33.into(),
            output_tokens: 8.into(),
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
            prompt_tokens: 33.into(),
            output_tokens: 8.into(),
            ttft_s: 0.4.into(),
            server: Some(ServerSample {
                prefill_s: 0.3.into(),
                decode_s: 0.9.into(),
                ..ServerSample::absent("not reported")
            }),
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
        let server = ServerFile { before_model, ..ServerFile::absent("not reported") };
        let cases = vec![case("a", in_process, None), case("b", through_server, Some(server))];
        let summaries = analyse::summary::summarise(&cases, 1);
        RunFile { cases, summaries, ..RunFile::default() }
    }

    fn cells(file: &RunFile) -> Vec<String> {
        let view = RunView { file };
        let both = (&file.summaries[0], &file.summaries[1]);
        let found = table(&view, both, &Pairs::new(&view, both.0, both.1));
        found.rows.iter().map(|row| row[1..].join(" ")).collect()
    }

    #[test]
    fn the_parts_add_up_to_the_difference() {
        let separate = Preprocessing {
            round_trip_s: 0.01.into(),
            template_s: 0.02.into(),
            tokenize_s: 0.005.into(),
            ..Preprocessing::absent("not measured")
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
    fn a_time_below_zero_is_no_time() {
        let mut file = run(None);
        for sample in file.cases[1].samples.iter_mut() {
            // The client sees 1.1 s after the first token.
            if let Some(server) = &mut sample.server {
                server.decode_s = 1.2.into();
            }
        }
        assert_eq!(cells(&file)[8], "40.00 – – –");
        let sentence = contradictions(&RunView { file: &file }, &file.summaries[1]).unwrap();
        assert!(sentence.starts_with("b: no value for text and transport: "), "{sentence}");
        assert_eq!(contradictions(&RunView { file: &file }, &file.summaries[0]), None);
        assert_eq!(contradictions(&RunView { file: &run(None) }, &file.summaries[1]), None);
    }

    #[test]
    fn an_unmeasured_part_is_in_the_remainder_with_its_reason() {
        let separate = Preprocessing { round_trip_s: 0.01.into(), ..Preprocessing::absent("x has no such endpoint") };
        let file = run(Some(separate));
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

    #[test]
    fn prompts_and_answers_of_other_lengths_are_not_subtracted() {
        let mut file = run(None);
        file.cases[1].samples[0].output_tokens = 7.into();
        let until_first_token = cells(&file);
        assert_eq!((until_first_token.len(), until_first_token[0].as_str()), (6, "220.0 400.0 180.0 –"));
        let sentences = |file: &RunFile| {
            let view = RunView { file };
            Pairs::new(&view, &file.summaries[0], &file.summaries[1]).left_out("b")
        };
        let found = sentences(&file);
        assert!(
            found[0].starts_with("b: no times after the first token") && found[0].ends_with("p (8 and 7)."),
            "{found:?}"
        );
        file.cases[1].samples[0].prompt_tokens = 46.into();
        assert!(cells(&file).is_empty());
        let found = sentences(&file);
        assert!(found.len() == 1 && found[0].ends_with("through the server: p (33 and 46)."), "{found:?}");
        file.cases[1].samples[0].prompt_tokens = Recorded::absent("not counted");
        let found = sentences(&file);
        assert!(cells(&file).is_empty() && found[0].contains("is unknown on a side: p."), "{found:?}");
    }
}
