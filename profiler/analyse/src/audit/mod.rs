//! The audit of servers: what a server says of its requests against what its client measured and what the machine can do.
//!
//! Nothing here changes a figure: each rule that some request breaks is told with the request where it is worst. What a rule cannot be
//! asked of (the server does not tell, a ceiling was not measured) it does not judge.

mod rules;

use std::path::Path;

use crate::attribution::{Limits, limits};
use record::{Case, Finding, RunFile, Sample, ServerSample};

use rules::{Broken, RULES};

/// One request as the rules see it.
struct Asked<'a> {
    case: &'a Case,
    sample: &'a Sample,
    server: &'a ServerSample,
    /// Size of the model's file on this disk, where there is one and the server runs on this machine.
    file_bytes: Option<u64>,
    limits: Option<&'a Limits>,
    /// Where that file lies.
    file: Option<&'a Path>,
    /// Tokens of the prompt by the tokenizer of that file.
    own_prompt_tokens: Option<usize>,
}

/// Fills in the findings of every case that a server computed.
pub fn place(file: &mut RunFile) {
    let findings: Vec<Option<Vec<Finding>>> =
        file.cases.iter().map(|case| case.server.as_ref().map(|_| of_case(file, case))).collect();
    for (case, findings) in file.cases.iter_mut().zip(findings) {
        if let Some((server, findings)) = case.server.as_mut().zip(findings) {
            server.findings = findings;
        }
    }
}

fn of_case(file: &RunFile, case: &Case) -> Vec<Finding> {
    let limits = limits(file, case);
    let is_here = case.server.as_ref().is_some_and(|server| server.pid.is_some());
    let model = file.plan.models.iter().find(|model| model.name == case.model);
    let planned = file.plan.prompts.iter().find(|prompt| prompt.model == case.model && prompt.id == case.prompt);
    let asked: Vec<Asked<'_>> = case
        .clean_samples()
        .filter_map(|sample| {
            Some(Asked {
                case,
                sample,
                server: sample.server.as_ref()?,
                file_bytes: model.and_then(|model| model.file_bytes).filter(|_| is_here),
                limits: limits.as_ref(),
                file: model.map(|model| Path::new(&model.path)).filter(|path| !path.as_os_str().is_empty()),
                own_prompt_tokens: planned.map(|prompt| prompt.prompt_tokens).filter(|&tokens| tokens > 0),
            })
        })
        .collect();
    RULES.iter().filter_map(|rule| finding(rule, &asked)).collect()
}

fn finding(rule: &rules::Rule, asked: &[Asked<'_>]) -> Option<Finding> {
    let answers: Vec<Option<Broken>> = asked.iter().filter_map(|one| (rule.ask)(one)).collect();
    let of = answers.len();
    let broken: Vec<Broken> = answers.into_iter().flatten().collect();
    let requests = broken.len();
    let worst = broken.into_iter().max_by(|a, b| a.excess.total_cmp(&b.excess))?;
    Some(Finding { rule: rule.name.to_owned(), impossible: rule.impossible, text: worst.text, requests, of })
}

#[cfg(test)]
mod tests;
