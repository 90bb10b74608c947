//! The files of a run, and how to read the numbers.

use super::RunView;
use crate::content::{Block, Section};
use record::{Action, Document, files};

pub(super) fn files(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Files");
    let mut properties = vec![
        (files::RUN.to_owned(), "everything: environment, plan, cases, samples, summaries".to_owned()),
        (files::TABLE.to_owned(), "one row per sample".to_owned()),
        (files::SAMPLES.to_owned(), "one line per request, written during the run".to_owned()),
        (format!("{}/", files::OUTPUTS), "text and token ids of each case".to_owned()),
    ];
    let traced: Vec<&str> = view.file.cases.iter().filter_map(|case| case.trace.as_deref()).collect();
    if view.file.plan.trace != record::plan::TraceLevel::Off {
        let own = traced.iter().filter(|&&name| name != files::TRACE).count();
        let others = if own > 0 {
            format!("; the operations of each case are in a separate file ({})", traced.first().unwrap_or(&""))
        } else {
            String::new()
        };
        properties.insert(1, (files::TRACE.to_owned(), format!("requests, phases and memory on one timeline{others}")));
    }
    section.blocks.push(Block::Properties(properties));
    if view.file.plan.trace != record::plan::TraceLevel::Off {
        section.add_sentence(format!(
            "To view a trace, open ui.perfetto.dev in a browser and drop the file on the page (nothing is uploaded); {} prints these steps, and {} prints self and total times.",
            Action::OpenTrace,
            Action::SummariseTrace
        ));
    }
    section
}

pub(super) fn reading() -> Section {
    let mut section = Section::new("How to read the numbers");
    section.add_sentence("Prefill processes all prompt tokens at once and is usually limited by compute. Decode processes one token at a time, reads all weights for it, and is usually limited by memory bandwidth.");
    section.add_sentence("Two results differ if their intervals do not overlap. An interval over few prompts is too narrow. No interval covers other machines, other days or other prompt sets.");
    section.add_sentence("The first request of a fresh session touches memory that later requests reuse, so it is reported separately. Its times are in samples.jsonl (fresh); its memory is in Results.");
    section.add_sentence(format!(
        "Every number in this report can be recomputed from run.json. {} links to the formulas.",
        Document::Methodology
    ));
    section
}
