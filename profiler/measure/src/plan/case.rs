//! The plan: blocks of one model, the workers of each, and its cases.

use engine_api::{Caps, Identity};

use super::Options;
use record::PlanFile;

use crate::prepare::{Filler, PreparedModel, PreparedPrompt};

/// Everything that a run will do.
#[derive(Debug)]
pub struct Plan {
    /// What was asked for.
    pub options: Options,
    /// The same with every default filled in, as `run.json` holds it.
    pub file: PlanFile,
    /// The engines in the order of the command line.
    pub engines: Vec<EngineChoice>,
    /// One block a model: only its workers are alive at a time.
    pub blocks: Vec<Block>,
}

/// An engine that takes part.
#[derive(Debug, Clone)]
pub struct EngineChoice {
    /// What it is called in this run: the engine as the user typed it, or the name that the user gave it.
    pub label: String,
    /// What is opened: `name` or `name:variant`.
    pub engine: String,
    /// Who it is.
    pub identity: Identity,
    /// What it can do.
    pub caps: Caps,
    /// Whether it runs the last block, behind its attention, for the last token alone.
    pub prunes_last_block: bool,
}

/// The cases of one model.
#[derive(Debug)]
pub struct Block {
    /// The model.
    pub model: PreparedModel,
    /// Its workers.
    pub seats: Vec<Seat>,
    /// Its cases in the order of the plan.
    pub cases: Vec<CasePlan>,
    /// Whether all workers may be alive together.
    pub together: bool,
}

/// A worker's place: one engine with one thread count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Place in [`Plan::engines`].
    pub engine: usize,
    /// Threads that compute.
    pub threads: usize,
}

/// One case.
#[derive(Debug, Clone)]
pub struct CasePlan {
    /// Its id.
    pub id: String,
    /// Place in [`Block::seats`].
    pub seat: usize,
    /// Place in the model's prompts.
    pub prompt: usize,
    /// What lies in the context before the prompt.
    pub filler: Filler,
}

impl Block {
    /// The prompt of a case.
    pub fn prompt(&self, case: &CasePlan) -> Option<&PreparedPrompt> {
        self.model.prompts.get(case.prompt)
    }
}

impl Plan {
    /// Requests of the whole run, warm-up included as far as it is known before: for an estimate of the time left.
    pub fn requests(&self) -> usize {
        self.file.cases.len() * self.requests_of_case() + self.examinations()
    }

    /// The same of one case.
    pub fn requests_of_case(&self) -> usize {
        let passes = usize::from(self.options.trace == record::plan::TraceLevel::Ops) + 1;
        1 + self.options.warmup.unwrap_or(1) + self.file.runs + passes * self.file.instrumented_runs
    }

    /// Texts in which engines are examined: each case's answer, and the passage once a seat.
    fn examinations(&self) -> usize {
        let lends = |seat: &&Seat| self.engines.get(seat.engine).is_some_and(|engine| engine.caps.steps);
        let of_block = |block: &Block| {
            let cases = block.cases.iter().filter_map(|case| block.seats.get(case.seat)).filter(lends).count();
            cases + block.seats.iter().filter(lends).count()
        };
        self.blocks.iter().map(of_block).sum()
    }
}

/// `engine/model/prompt/tTHREADS/dDEPTH`.
pub fn case_id(engine: &str, model: &str, prompt: &str, threads: usize, depth: usize) -> String {
    format!("{engine}/{model}/{prompt}/t{threads}/d{depth}")
}
