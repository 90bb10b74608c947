//! Where everything lies, and how to read it.

use super::View;
use crate::content::{Block, Section};
use record::files;

pub(super) fn files(view: &View<'_>) -> Section {
    let mut section = Section::new("Files");
    let mut facts = vec![
        (files::RUN.to_owned(), "everything: environment, plan, cases, samples, summaries".to_owned()),
        (files::TABLE.to_owned(), "one row per sample".to_owned()),
        (files::SAMPLES.to_owned(), "one line per request, written as it happened".to_owned()),
        (format!("{}/", files::OUTPUTS), "the text and the token ids that each case produced".to_owned()),
    ];
    let traced: Vec<&str> = view.file.cases.iter().filter_map(|case| case.trace.as_deref()).collect();
    if view.file.plan.trace != record::plan::TraceLevel::Off {
        let own = traced.iter().filter(|&&name| name != files::TRACE).count();
        let others = if own > 0 {
            format!("; the ops of each case in its own file ({})", traced.first().unwrap_or(&""))
        } else {
            String::new()
        };
        facts.insert(1, (files::TRACE.to_owned(), format!("requests, phases and memory on one time line{others}")));
    }
    section.blocks.push(Block::Facts(facts));
    if view.file.plan.trace != record::plan::TraceLevel::Off {
        section.say("To look at a trace, open ui.perfetto.dev in a browser and drop the file on it (nothing is sent anywhere), or let `inferometer trace open FILE` say how; `inferometer trace summary FILE` sums it up.");
    }
    section
}

pub(super) fn reading(view: &View<'_>) -> Section {
    let mut section = Section::new("How to read the numbers");
    section.say("Prefill works on all prompt tokens at once and is usually limited by arithmetic; decode works on one token at a time, reads all weights for it, and is usually limited by memory bandwidth. Compare each with its like.");
    section.say("Two results differ when their intervals lie apart. An interval over few prompts is narrower than it should be, and it knows nothing of another machine, another day or another prompt set.");
    section.say("The first request of a fresh session is kept apart from the warm ones: it touches memory that the later ones find ready. Its times are in samples.jsonl (fresh), its memory is the headline.");
    if view.file.environment.host.virtualised == Some(true) {
        section.say("This machine is virtual: what others do on the same hardware changes the numbers and cannot be seen. Compare what was measured interleaved, in one run.");
    }
    section.say("Every number here can be computed again from run.json; the formulas are in METHODOLOGY.md.");
    section
}
