//! The sections of a report, in order: what was measured, what it says, what may disturb it, where everything lies.

mod ceilings;
mod checks;
mod counters;
mod guide;
mod headline;
mod machine;
mod memory;
mod ops;
mod phases;
mod prompts;
mod subject;
mod verdicts;
mod what_if;

pub use ceilings::blocks as ceilings_blocks;
pub use machine::facts as environment_facts;

use super::content::Content;
use crate::results::{Case, RunFile, Summary};

/// What the run file says, in words and tables.
pub fn content(file: &RunFile) -> Content {
    let view = View { file };
    let sections = [
        subject::section(&view),
        headline::section(&view),
        verdicts::section(&view),
        checks::warnings(&view),
        checks::failures(&view),
        prompts::section(&view),
        phases::section(&view),
        verdicts::evidence(&view),
        headline::gaps(&view),
        ops::section(&view),
        memory::section(&view),
        memory::load(&view),
        what_if::section(&view),
        counters::section(&view),
        phases::probe(&view),
        checks::outputs(&view),
        ceilings::section(&view),
        machine::section(&view),
        guide::files(&view),
        guide::reading(&view),
    ];
    let sections = sections.into_iter().filter(|section| !section.blocks.is_empty()).collect();
    Content { title: format!("inferometer: {}", file.name), sections }
}

/// A run file with the names that its sections share.
struct View<'a> {
    file: &'a RunFile,
}

impl View<'_> {
    /// A model's name, marked where its weights are random: every number of it rests on them.
    fn model(&self, name: &str) -> String {
        match self.file.plan.models.iter().any(|model| model.name == name && model.synthetic) {
            true => format!("{name} (synthetic weights)"),
            false => name.to_owned(),
        }
    }

    /// The cases of a summary that have samples or a status to tell.
    fn cases<'b>(&'b self, summary: &'b Summary) -> impl Iterator<Item = &'b Case> {
        let same = |case: &&Case| {
            case.engine == summary.engine
                && case.model == summary.model
                && case.threads == summary.threads
                && case.depth == summary.depth
        };
        self.file.cases.iter().filter(same)
    }

    /// What a table is about: engine, model, threads, depth.
    fn subject(&self, summary: &Summary) -> String {
        let depth = if summary.depth == 0 { String::new() } else { format!(", depth {}", summary.depth) };
        let threads = super::figures::count(summary.threads, "thread");
        format!("{} on {}, {threads}{depth}", self.model(&summary.model), summary.engine)
    }
}
