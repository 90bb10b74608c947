//! Servers that were watched: who they are, what they say of themselves beside what the client measured, and what does not fit.

use super::View;
use crate::content::{Block, Section, Table};
use crate::figures::{count, megabytes, or_absent};
use record::figures::{milliseconds, significant};
use record::{Case, Sample, ServerFile, ServerSample};
use statistics::mean;

/// Longest detail that is shown; `run.json` has all of it.
const DETAIL: usize = 120;

pub(super) fn section(view: &View<'_>) -> Section {
    let mut section = Section::new("Servers");
    for summary in &view.file.summaries {
        let cases: Vec<&Case> = view.cases(summary).filter(|case| case.server.is_some()).collect();
        let Some(server) = cases.first().and_then(|case| case.server.as_ref()) else { continue };
        section.blocks.push(Block::Facts(facts(&view.subject(summary), server)));
        let columns = [
            "<prompt",
            "TTFT ms",
            "  of it prefill, it says",
            "  queued, it says",
            "decode/s",
            "  it says",
            "in",
            "  cached",
            "out",
            "  pieces",
        ];
        let mut table = Table::new(
            "Means over the clean samples; what the server says is its own and enters no other figure.",
            &columns,
        );
        table.rows.extend(cases.iter().map(|case| row(case)));
        section.show(table);
        section.show(before_model(&cases));
        section.show(processes(&cases));
        section.show(findings(&cases));
    }
    section
}

/// Who was asked and what does not fit, for the short report: what cannot be first.
pub(super) fn short(view: &View<'_>) -> Section {
    let mut section = Section::short("Who answered");
    for summary in &view.file.summaries {
        let cases: Vec<&Case> = view.cases(summary).filter(|case| case.server.is_some()).collect();
        let Some(server) = cases.first().and_then(|case| case.server.as_ref()) else { continue };
        section.say(format!(
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
        let mut told: Vec<&str> = Vec::new();
        for impossible in [true, false] {
            for (case, finding) in all().filter(|(_, finding)| finding.impossible == impossible) {
                if told.contains(&finding.rule.as_str()) {
                    continue;
                }
                told.push(&finding.rule);
                let what = if impossible { "Cannot be" } else { "Note" };
                let (requests, of) = (finding.requests, count(finding.of, "request"));
                section.say(format!("{what}: {} ({}, {requests} of {of}).", finding.text, case.prompt));
            }
        }
    }
    section
}

fn named(server: &ServerFile) -> String {
    let version = server.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    format!("{}{version}", server.software)
}

fn facts(subject: &str, server: &ServerFile) -> Vec<(String, String)> {
    let process = match (server.pid, server.reasons.get("pid")) {
        (Some(pid), _) => {
            format!("{pid} and its children{}", if server.started_here { ", started by this run" } else { "" })
        }
        (None, Some(reason)) => format!("not measured: {reason}"),
        (None, None) => "not measured".to_owned(),
    };
    let cache = match server.cache {
        engine_api::CacheDefence::None => "not kept out",
        engine_api::CacheDefence::Switch => "kept out by the server's own switch",
        engine_api::CacheDefence::Nonce => {
            "kept out by twelve digits in front of each prompt: prompts are that much longer, and answers differ"
        }
    };
    let mut facts = vec![
        ("subject".to_owned(), subject.to_owned()),
        ("server".to_owned(), format!("{} at {}", named(server), server.url)),
        ("its model".to_owned(), server.model.clone()),
        ("process".to_owned(), process),
        ("prefix cache".to_owned(), cache.to_owned()),
    ];
    let short = |text: &String| {
        let cut: String = text.chars().take(DETAIL).collect();
        if cut.len() < text.len() { format!("{cut} ... (all of it in run.json)") } else { cut }
    };
    facts.extend(server.details.iter().map(|(name, text)| (name.clone(), short(text))));
    facts
}

fn row(case: &Case) -> Vec<String> {
    let of_sample =
        |value: fn(&Sample) -> Option<f64>| mean(&case.clean_samples().filter_map(value).collect::<Vec<f64>>());
    let of_server = |value: fn(&ServerSample) -> Option<f64>| {
        mean(&case.clean_samples().filter_map(|sample| value(sample.server.as_ref()?)).collect::<Vec<f64>>())
    };
    vec![
        case.prompt.clone(),
        or_absent(of_sample(|sample| sample.ttft_s).map(milliseconds)),
        or_absent(of_server(|server| server.prefill_s).map(milliseconds)),
        or_absent(of_server(|server| server.queued_s).map(milliseconds)),
        or_absent(of_sample(|sample| sample.decode_tps).map(significant)),
        or_absent(of_server(|server| server.decode_tps).map(significant)),
        or_absent(of_server(|server| server.prompt_tokens.map(|n| n as f64)).map(significant)),
        or_absent(of_server(|server| server.cached_tokens.map(|n| n as f64)).map(significant)),
        or_absent(of_server(|server| server.output_tokens.map(|n| n as f64)).map(significant)),
        or_absent(of_server(|server| Some(server.chunks as f64)).map(significant)),
    ]
}

/// What comes before its model, each part asked for alone, and whether it is what this program makes of the prompt.
fn before_model(cases: &[&Case]) -> Table {
    let columns = ["<prompt", "HTTP alone ms", "chat template ms", "tokens ms", "tokens", "<same tokens as here"];
    let mut table = Table::new(
        "What the server does before its model, asked for alone outside of the measured requests; template and tokens less HTTP alone.",
        &columns,
    );
    for case in cases {
        let Some(found) = case.server.as_ref().and_then(|server| server.before_model.as_ref()) else { continue };

        let same = match (found.same_ids, &found.differs) {
            (Some(true), _) => "yes".to_owned(),
            (Some(false), Some(differs)) => {
                let text = if found.same_text == Some(false) { "its template gives another text: " } else { "" };
                format!("no: {text}{differs}")
            }
            _ => or_absent(found.reasons.get("same_ids").map(|reason| format!("not known: {reason}"))),
        };
        table.rows.push(vec![
            case.prompt.clone(),
            or_absent(found.round_trip_s.map(milliseconds)),
            or_absent(found.template_s.map(milliseconds)),
            or_absent(found.tokenize_s.map(milliseconds)),
            or_absent(found.tokens.map(|tokens| tokens.to_string())),
            same,
        ]);
    }
    table
}

/// What the system says of the server's processes, a request.
fn processes(cases: &[&Case]) -> Table {
    let columns = [
        "<prompt",
        "CPU s",
        "peak MB",
        "peak less before",
        "minor faults",
        "major faults",
        "voluntary switches",
        "involuntary",
        "read MB",
    ];
    let mut table = Table::new("The server's processes over a request: means over the clean samples.", &columns);
    let known = |case: &&&Case| case.clean_samples().any(|sample| sample.cpu_s.is_some());
    table.rows.extend(cases.iter().filter(known).map(|case| {
        let of = |value: &dyn Fn(&Sample) -> Option<f64>| {
            mean(&case.clean_samples().filter_map(value).collect::<Vec<f64>>())
        };
        let counter = |name: &'static str| {
            or_absent(of(&|sample| sample.server.as_ref()?.counters.get(name).copied()).map(significant))
        };
        vec![
            case.prompt.clone(),
            or_absent(of(&|sample| sample.cpu_s).map(significant)),
            or_absent(of(&|sample| Some(sample.memory_peak_bytes? as f64)).map(megabytes)),
            or_absent(of(&|sample| Some(sample.memory_peak_delta_bytes? as f64)).map(megabytes)),
            counter("minor_faults"),
            counter("major_faults"),
            counter("voluntary_switches"),
            counter("involuntary_switches"),
            or_absent(of(&|sample| sample.server.as_ref()?.counters.get("read_bytes").copied()).map(megabytes)),
        ]
    }));
    table
}

/// Findings of one server, equal rules of several prompts in one row.
fn findings(cases: &[&Case]) -> Table {
    let mut table = Table::new(
        "What does not fit together (the request where it is worst).",
        &["<rule", "<kind", "<prompts", "<what"],
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
