//! The audit of servers: the figures that a server reports, compared with those that its client measured and with the ceilings.
//!
//! The audit changes no figure. For each rule that some requests violate it reports the worst of them. A rule is not applied where a
//! figure is missing: the server does not report it, or a ceiling was not measured.

mod rules;

use std::path::Path;

use crate::attribution::CaseCeilings;
use crate::experts::{WeightsRead, weights_read};
use record::{AuditFinding, Case, Reason, RunFile, Sample, ServerSample};

use rules::{Check, RULES, Violation};

/// One request with the facts that the rules use.
struct AuditedRequest<'a> {
    case: &'a Case,
    sample: &'a Sample,
    server: &'a ServerSample,
    /// Size of the model file on this disk, where there is one and the server runs on this machine.
    file_bytes: Option<u64>,
    /// Bytes of weights that a token reads of a file with experts, where the file is described.
    used_bytes: Option<f64>,
    ceilings: Option<&'a CaseCeilings>,
    /// The path of that file.
    file: Option<&'a Path>,
    /// Tokens of the prompt by the tokenizer of that file.
    own_prompt_tokens: Option<usize>,
}

/// The rules that requests of a case violate; `None` where no server computed.
pub(crate) fn audit(file: &RunFile, case: &Case, ceilings: &Result<CaseCeilings, Reason>) -> Option<Vec<AuditFinding>> {
    case.server.as_ref().map(|_| of_case(file, case, ceilings.as_ref().ok()))
}

fn of_case(file: &RunFile, case: &Case, ceilings: Option<&CaseCeilings>) -> Vec<AuditFinding> {
    let is_here = case.server.as_ref().is_some_and(|server| server.pid.is_present());
    let model = file.plan.models.iter().find(|model| model.name == case.model);
    let planned = file.plan.prompts.iter().find(|prompt| prompt.model == case.model && prompt.id == case.prompt);
    let read = model.map(|model| weights_read(model, 1.0));
    let requests: Vec<AuditedRequest<'_>> = case
        .clean_samples()
        .filter_map(|sample| {
            Some(AuditedRequest {
                case,
                sample,
                server: sample.server.as_ref()?,
                // Of a model with experts whose part is unknown, no bytes are known to be read.
                file_bytes: model
                    .filter(|_| is_here && read != Some(WeightsRead::Unknown))
                    .and_then(|model| model.file_bytes.value()),
                used_bytes: match read {
                    Some(WeightsRead::Part(work)) => Some(work.weight_bytes),
                    Some(WeightsRead::Whole | WeightsRead::Unknown) | None => None,
                },
                ceilings,
                file: model.map(|model| Path::new(&model.path)).filter(|path| !path.as_os_str().is_empty()),
                own_prompt_tokens: planned.map(|prompt| prompt.prompt_tokens).filter(|&tokens| tokens > 0),
            })
        })
        .collect();
    RULES.iter().filter_map(|rule| finding(rule, &requests)).collect()
}

fn finding(rule: &rules::Rule, requests: &[AuditedRequest<'_>]) -> Option<AuditFinding> {
    let checks: Vec<Check> = requests.iter().filter_map(|request| (rule.check)(request)).collect();
    let of = checks.len();
    let violations: Vec<Violation> = checks.into_iter().filter_map(Check::violation).collect();
    let requests = violations.len();
    let worst = violations.into_iter().max_by(|a, b| a.excess.total_cmp(&b.excess))?;
    Some(AuditFinding { rule: rule.name.to_owned(), impossible: rule.impossible, text: worst.text, requests, of })
}

#[cfg(test)]
mod tests;
