//! The sections of a report, in order: what was measured, what it says, what may disturb it, where everything lies.

mod boxes;
mod ceilings;
mod checks;
mod comparison;
mod conditions;
mod counters;
mod curves;
mod energy;
mod guide;
mod headline;
mod machine;
mod memory;
mod ops;
mod phases;
mod precision;
mod prompts;
mod roofline;
mod server;
mod subject;
mod timeline;
mod tokens;
mod verdicts;
mod what_if;

pub use ceilings::blocks as ceilings_blocks;
pub use conditions::facts as condition_facts;
pub use machine::facts as environment_facts;
pub(super) use roofline::{Ops as RooflineOps, lines as roofline_lines};

use super::content::Content;
use super::figures::count;
use record::{Case, RunFile, Summary};

/// Charts of one kind in a report; the tables hold the rest.
const MOST_CHARTS: usize = 6;

/// What the run file says, in words and tables.
pub fn content(file: &RunFile) -> Content {
    let view = View { file };
    let mut memory = memory::section(&view);
    memory.blocks.splice(0..0, timeline::charts(&view));
    let sections = [
        headline::section(&view).sortable(),
        precision::section(&view),
        verdicts::section(&view),
        server::short(&view),
        checks::warnings(&view),
        checks::failures(&view),
        subject::section(&view),
        phases::section(&view),
        verdicts::evidence(&view).folded(),
        roofline::section(&view),
        tokens::section(&view),
        headline::gaps(&view).sortable(),
        memory,
        memory::load(&view),
        ops::section(&view).sortable(),
        comparison::section(&view),
        server::section(&view),
        boxes::section(&view),
        curves::section(&view),
        what_if::section(&view),
        prompts::section(&view).sortable(),
        counters::section(&view).folded(),
        energy::section(&view),
        phases::probe(&view),
        checks::outputs(&view),
        ceilings::section(&view),
        conditions::section(&view).folded(),
        machine::section(&view).folded(),
        guide::files(&view).folded(),
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
        let is_label = self.cases(summary).any(|case| case.reasons.contains_key(record::plan::THREADS));
        let threads = if is_label { "threads of its own".to_owned() } else { count(summary.threads, "thread") };
        format!("{} on {}, {threads}{depth}", self.model(&summary.model), summary.engine)
    }
}
