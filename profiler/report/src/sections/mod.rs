//! The sections of a report, in their order.

mod ceilings;
mod checks;
mod comparison;
mod conditions;
mod counters;
mod energy;
mod experts;
mod headline;
mod machine;
mod memory;
mod ops;
mod passes;
mod phases;
mod precision;
mod prompts;
mod reference;
mod roofline;
mod scaling;
mod server;
mod server_overhead;
mod setup;
mod timeline;
mod tokens;
mod verdicts;
mod what_if;

pub use ceilings::blocks as ceilings_blocks;
pub use conditions::properties as condition_properties;
pub use machine::properties as environment_properties;
pub(super) use roofline::{OpTotals, lines as roofline_lines};

use super::content::Content;
use super::figures::count;
use record::{Case, CaseNote, RunFile, Summary};

/// Maximal number of charts of one kind in a report. Tables have all values.
const MOST_CHARTS: usize = 6;

/// The report of a run as sentences, tables and charts.
pub fn content(file: &RunFile) -> Content {
    let view = RunView { file };
    let mut memory = memory::section(&view);
    memory.blocks.splice(0..0, timeline::charts(&view));
    let sections = [
        checks::failures(&view),
        headline::section(&view).sortable(),
        precision::section(&view),
        verdicts::section(&view),
        experts::short(&view),
        server::short(&view),
        checks::warnings(&view),
        setup::section(&view),
        passes::section(&view),
        phases::section(&view),
        verdicts::evidence(&view).collapsed(),
        roofline::section(&view),
        tokens::section(&view),
        headline::gaps(&view).sortable(),
        memory,
        memory::load(&view),
        ops::section(&view).sortable(),
        experts::section(&view).sortable().collapsed(),
        comparison::section(&view),
        server::section(&view),
        server_overhead::section(&view),
        scaling::section(&view),
        what_if::section(&view),
        prompts::section(&view).sortable(),
        counters::section(&view).collapsed(),
        energy::section(&view),
        phases::probe(&view),
        checks::outputs(&view),
        ceilings::section(&view),
        conditions::section(&view).collapsed(),
        machine::section(&view).collapsed(),
        reference::files(&view).collapsed(),
        reference::reading(),
    ];
    let sections = sections.into_iter().filter(|section| !section.blocks.is_empty()).collect();
    Content { title: format!("inferometer: {}", file.name), sections }
}

/// A run file with the texts that its sections share.
struct RunView<'a> {
    file: &'a RunFile,
}

impl RunView<'_> {
    /// The name of a model, marked if its weights are random, or those that only a server could know.
    fn model(&self, name: &str) -> String {
        match self.file.plan.models.iter().find(|model| model.name == name) {
            // Nobody read the file: the server may have other weights.
            Some(model) if self.file.uses_only_servers() && model.parameters.is_present() => {
                format!("{name} (on your word)")
            }
            Some(model) if model.synthetic => format!("{name} (synthetic weights)"),
            _ => name.to_owned(),
        }
    }

    /// The cases of a summary.
    fn cases<'b>(&'b self, summary: &'b Summary) -> impl Iterator<Item = &'b Case> {
        let same = |case: &&Case| {
            case.engine == summary.engine
                && case.model == summary.model
                && case.threads == summary.threads
                && case.depth == summary.depth
        };
        self.file.cases.iter().filter(same)
    }

    /// The subject of a table: engine, model, threads, depth.
    fn subject(&self, summary: &Summary) -> String {
        let Summary { engine, model, threads, depth, .. } = summary;
        self.subject_of(engine, model, *threads, *depth)
    }

    fn subject_of(&self, engine: &str, model: &str, threads: usize, depth: usize) -> String {
        let threads = self.threads(engine, threads);
        let depth = if depth == 0 { String::new() } else { format!(", depth {depth}") };
        format!("{} on {engine}, {threads}{depth}", self.model(model))
    }

    /// `2 threads`; a server has threads of its own, and the number of the plan is only a name.
    fn threads(&self, engine: &str, threads: usize) -> String {
        let is_name = |case: &Case| case.engine == engine && case.notes.has(CaseNote::Threads);
        if self.file.cases.iter().any(is_name) { "its own threads".to_owned() } else { count(threads, "thread") }
    }
}
