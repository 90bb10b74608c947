//! Measured servers: identity, their own figures beside the client's, and inconsistencies.

use super::RunView;
use crate::content::{Block, Section};
use crate::figures::{ABSENT, count, marked, megabytes, or_absent};
use crate::table::Table;
use analyse::summary::mean_of;
use record::figures::{milliseconds, significant};
use record::{Case, METRICS, Reason, Recorded, Sample, ServerFile, ServerSample};
use statistics::{Quotient, combined, mean};

/// Maximal length of a detail; `run.json` has all of it.
const DETAIL: usize = 120;

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Servers");
    for summary in &view.file.summaries {
        let cases: Vec<&Case> = view.cases(summary).filter(|case| case.server.is_some()).collect();
        let Some(server) = cases.first().and_then(|case| case.server.as_ref()) else { continue };
        section.blocks.push(Block::Properties(properties(&view.subject(summary), server, &cases)));
        let columns = [
            "<prompt",
            "TTFT ms",
            "  server: prefill",
            "  server: queued",
            "decode tokens/s",
            "  server: decode",
            "in",
            "  cached",
            "out",
            "  chunks",
        ];
        let mut table = Table::new(
            "Clean pass, means over the samples. Columns of the server are its own figures; of these, only the counts of tokens are used elsewhere, where they agree with what arrived.",
            &columns,
        );
        table.rows.extend(cases.iter().map(|case| row(case)));
        section.add_table(table);
        section.add_table(own_figures(&cases));
        section.add_table(before_model(&cases));
        section.add_table(processes(&cases));
        section.add_table(findings(&cases));
    }
    section
}

/// Identity and inconsistencies for the short report, impossible figures first.
pub(super) fn short(view: &RunView<'_>) -> Section {
    let mut section = Section::short("Server");
    for summary in &view.file.summaries {
        let cases: Vec<&Case> = view.cases(summary).filter(|case| case.server.is_some()).collect();
        let Some(server) = cases.first().and_then(|case| case.server.as_ref()) else { continue };
        section.add_sentence(format!(
            "{}: {} at {}, with the model {}.",
            summary.engine,
            named(server),
            server.url,
            server.model
        ));
        let all = || {
            cases
                .iter()
                .flat_map(|case| case.server.iter().flat_map(|server| &server.findings).map(|found| (*case, found)))
        };
        let mut reported: Vec<&str> = Vec::new();
        for impossible in [true, false] {
            for (case, finding) in all().filter(|(_, finding)| finding.impossible == impossible) {
                if reported.contains(&finding.rule.as_str()) {
                    continue;
                }
                reported.push(&finding.rule);
                let what = if impossible { "Impossible" } else { "Note" };
                let (requests, of) = (finding.requests, count(finding.of, "request"));
                section.add_sentence(format!("{what}: {} ({}, {requests} of {of}).", finding.text, case.prompt));
            }
        }
    }
    section
}

fn named(server: &ServerFile) -> String {
    let version = server.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    server.software.as_deref().map_or_else(|| "unknown software".to_owned(), |name| format!("{name}{version}"))
}

/// How the prefix cache was bypassed, and what the server's counts say about it.
fn prefix_cache(server: &ServerFile, cases: &[&Case]) -> String {
    let meant = match server.cache {
        engine_api::CacheBypass::None => "not bypassed",
        engine_api::CacheBypass::Switch => "bypassed by a field of each request",
        engine_api::CacheBypass::Nonce => {
            "bypassed by twelve digits in front of each prompt, so prompts differ and answers too"
        }
    };
    let samples = || cases.iter().flat_map(|case| case.clean_samples()).filter_map(|sample| sample.server.as_ref());
    let all = samples().count();
    let counts: Vec<(usize, Option<usize>)> =
        samples().filter_map(|server| Some((server.cached_tokens.value()?, server.prompt_tokens.value()))).collect();
    let found = match counts.iter().max_by_key(|(cached, _)| *cached) {
        None if all == 0 => return meant.to_owned(),
        None => "the server does not report the tokens from it".to_owned(),
        Some((0, _)) => format!("the server reports no token from it ({} of {})", counts.len(), count(all, "request")),
        Some((cached, prompt)) => {
            let of = prompt.map_or_else(String::new, |prompt| format!(" of {prompt}"));
            let hits = counts.iter().filter(|(cached, _)| *cached > 0).count();
            format!(
                "the server reports up to {cached}{of} prompt tokens from it ({hits} of {}), which do not count as prefill",
                count(all, "request")
            )
        }
    };
    format!("{meant}; {found}")
}

fn properties(subject: &str, server: &ServerFile, cases: &[&Case]) -> Vec<(String, String)> {
    let process = match &server.pid {
        Recorded::Present(pid) => {
            format!("{pid} and its children{}", if server.started_here { ", started by this run" } else { "" })
        }
        Recorded::Absent(reason) if *reason == Reason::unrecorded() => "not measured".to_owned(),
        Recorded::Absent(reason) => format!("not measured: {reason}"),
    };
    let mut properties = vec![
        ("subject".to_owned(), subject.to_owned()),
        ("server".to_owned(), format!("{} at {}", named(server), server.url)),
        ("model".to_owned(), server.model.clone()),
        ("process".to_owned(), process),
        ("prefix cache".to_owned(), prefix_cache(server, cases)),
    ];
    let reasons = [
        ("software", "software"),
        ("version", "version"),
        ("models", "list of models"),
        ("other_requests", "other clients"),
    ];
    let reasons_of = server.reasons();
    let reason = |(field, name): (&str, &str)| {
        reasons_of.get(field).map(|reason| (name.to_owned(), format!("not known: {reason}")))
    };
    properties.extend(reasons.into_iter().filter_map(reason));
    let short = |text: &String| {
        let cut: String = text.chars().take(DETAIL).collect();
        if cut.len() < text.len() { format!("{cut} ... (complete in run.json)") } else { cut }
    };
    properties.extend(server.details.iter().map(|(name, text)| (name.clone(), short(text))));
    properties
}

fn row(case: &Case) -> Vec<String> {
    let of_sample =
        |value: fn(&Sample) -> Option<f64>| mean(&case.clean_samples().filter_map(value).collect::<Vec<f64>>());
    let of_server = |value: OfServer| mean_value(case, value);
    let decode_tps = METRICS.iter().find(|metric| metric.name == "decode_tps");
    vec![
        case.prompt.clone(),
        or_absent(of_sample(|sample| sample.ttft_s.value()).map(milliseconds)),
        or_absent(of_server(|server| server.prefill_s.value()).map(milliseconds)),
        or_absent(of_server(|server| server.queued_s.value()).map(milliseconds)),
        marked(
            or_absent(decode_tps.and_then(|metric| mean_of(metric, [case])).map(significant)),
            case.clean_samples().any(|sample| sample.estimated.contains_key("decode_tps")),
        ),
        or_absent(mean_rate(case, |server| server.decode_tps.value()).map(significant)),
        or_absent(of_server(|server| server.prompt_tokens.value().map(|n| n as f64)).map(significant)),
        or_absent(of_server(|server| server.cached_tokens.value().map(|n| n as f64)).map(significant)),
        or_absent(of_server(|server| server.output_tokens.value().map(|n| n as f64)).map(significant)),
        or_absent(of_server(|server| Some(server.chunks as f64)).map(significant)),
    ]
}

/// A value of a server's report.
type OfServer = fn(&ServerSample) -> Option<f64>;

/// The mean of a value that a server reports.
fn mean_value(case: &Case, value: OfServer) -> Option<f64> {
    mean(&case.clean_samples().filter_map(|sample| value(sample.server.as_ref()?)).collect::<Vec<f64>>())
}

/// The mean of a rate that a server reports, over requests of the same number of tokens.
fn mean_rate(case: &Case, rate: OfServer) -> Option<f64> {
    let rates = case.clean_samples().filter_map(|sample| rate(sample.server.as_ref()?));
    combined(&[rates.map(|rate| Quotient::of_rate(1.0, rate)).collect()])
}

/// A column of further figures: its values, their mean, and how it is read.
type OwnFigure = (&'static str, OfServer, fn(&Case, OfServer) -> Option<f64>, fn(f64) -> String);

/// Figures that only some servers report. A column without any figure is left out.
fn own_figures(cases: &[&Case]) -> Table {
    let all: [OwnFigure; 9] = [
        ("first token ms", |server| server.first_token_s, mean_value, milliseconds),
        ("queue ms", |server| server.queue_s, mean_value, milliseconds),
        ("prefill tokens/s", |server| server.prefill_tps.value(), mean_rate, significant),
        ("decode ms", |server| server.decode_s.value(), mean_value, milliseconds),
        ("whole ms", |server| server.whole_s, mean_value, milliseconds),
        ("load ms", |server| server.load_s.value(), mean_value, milliseconds),
        ("drafted", |server| server.drafted_tokens.map(|n| n as f64), mean_value, significant),
        ("accepted", |server| server.accepted_tokens.map(|n| n as f64), mean_value, significant),
        ("other requests", |server| server.other_requests.map(|n| n as f64), mean_value, significant),
    ];
    let known: Vec<&OwnFigure> =
        all.iter().filter(|(_, value, mean, _)| cases.iter().any(|case| mean(case, *value).is_some())).collect();
    let columns: Vec<&str> = ["<prompt"].into_iter().chain(known.iter().map(|(name, ..)| *name)).collect();
    let mut table = Table::new(
        "Further figures that the server reports: clean pass, means over the samples. Other requests are those of other clients that it worked on meanwhile.",
        &columns,
    );
    if !known.is_empty() {
        table.rows.extend(cases.iter().map(|case| {
            let figures = known.iter().map(|(_, value, mean, shown)| or_absent(mean(case, *value).map(shown)));
            [case.prompt.clone()].into_iter().chain(figures).collect()
        }));
    }
    table
}

/// The time before the model by part, measured separately, and whether the server's tokens equal this program's.
fn before_model(cases: &[&Case]) -> Table {
    let columns = ["<prompt", "HTTP ms", "chat template ms", "tokenize ms", "tokens", "<same tokens"];
    let mut table = Table::new(
        "Preprocessing by the server, measured separately from the requests above. Chat template and tokenize are without HTTP. Same tokens: whether this program makes the same tokens of the prompt.",
        &columns,
    );
    for case in cases {
        let Some(found) = case.server.as_ref().and_then(|server| server.before_model.as_ref()) else { continue };

        let same = match (&found.same_ids, &found.differs) {
            (Recorded::Present(true), _) => "yes".to_owned(),
            (Recorded::Present(false), Some(differs)) => {
                let text = if found.same_text == Recorded::Present(false) {
                    "its template renders a different text: "
                } else {
                    ""
                };
                format!("no: {text}{differs}")
            }
            (Recorded::Absent(reason), _) if *reason != Reason::unrecorded() => format!("unknown: {reason}"),
            _ => ABSENT.to_owned(),
        };
        table.rows.push(vec![
            case.prompt.clone(),
            or_absent(found.round_trip_s.value().map(milliseconds)),
            or_absent(found.template_s.value().map(milliseconds)),
            or_absent(found.tokenize_s.value().map(milliseconds)),
            or_absent(found.tokens.value().map(|tokens| tokens.to_string())),
            same,
        ]);
    }
    table
}

/// The system's figures of the server's processes, per request.
fn processes(cases: &[&Case]) -> Table {
    let columns = [
        "<prompt",
        "CPU s",
        "peak MB",
        "peak MB - before",
        "minor faults",
        "major faults",
        "voluntary switches",
        "involuntary switches",
        "read MB",
    ];
    let mut table = Table::new("The server's processes over a request: clean pass, means over the samples.", &columns);
    let known = |case: &&&Case| case.clean_samples().any(|sample| sample.cpu_s.is_present());
    table.rows.extend(cases.iter().filter(known).map(|case| {
        let of = |value: &dyn Fn(&Sample) -> Option<f64>| {
            mean(&case.clean_samples().filter_map(value).collect::<Vec<f64>>())
        };
        let counter =
            |name: &'static str| or_absent(of(&|sample| sample.server.as_ref()?.counters.get(name)).map(significant));
        vec![
            case.prompt.clone(),
            or_absent(of(&|sample| sample.cpu_s.value()).map(significant)),
            or_absent(of(&|sample| Some(sample.memory_peak_bytes.value()? as f64)).map(megabytes)),
            or_absent(of(&|sample| Some(sample.memory_peak_delta_bytes.value()? as f64)).map(megabytes)),
            counter("minor_faults"),
            counter("major_faults"),
            counter("voluntary_switches"),
            counter("involuntary_switches"),
            or_absent(of(&|sample| sample.server.as_ref()?.counters.get("read_bytes")).map(megabytes)),
        ]
    }));
    table
}

/// Findings of one server, one row per rule.
fn findings(cases: &[&Case]) -> Table {
    let mut table = Table::new(
        "Inconsistencies of the server's figures, each with its worst request.",
        &["<rule", "<kind", "<prompts", "<finding"],
    );
    let all = || {
        cases.iter().flat_map(|case| case.server.iter().flat_map(|server| &server.findings).map(|found| (*case, found)))
    };
    let mut rules: Vec<&str> = Vec::new();
    for (_, finding) in all() {
        if !rules.contains(&finding.rule.as_str()) {
            rules.push(&finding.rule);
        }
    }
    for rule in rules {
        let of_rule: Vec<_> = all().filter(|(_, finding)| finding.rule == rule).collect();
        let Some((_, first)) = of_rule.first() else { continue };
        let prompts: Vec<&str> = of_rule.iter().map(|(case, _)| case.prompt.as_str()).collect();
        table.rows.push(vec![
            rule.replace('_', " "),
            if first.impossible { "impossible" } else { "differs" }.to_owned(),
            prompts.join(", "),
            first.text.clone(),
        ]);
    }
    table
}
