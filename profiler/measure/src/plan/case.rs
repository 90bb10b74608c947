//! [`Plan`]: one block per model, with its workers and its cases.

use record::PlanFile;

use super::engine::EngineChoice;
use super::model::PreparedModel;
use super::options::Options;
use super::prompt::{Filler, PreparedPrompt};

/// Everything that a run will do.
#[derive(Debug)]
pub struct Plan {
    /// The options.
    pub options: Options,
    /// The same with every default filled in, as `run.json` holds it.
    pub file: PlanFile,
    /// The engines in the order of the command line.
    pub engines: Vec<EngineChoice>,
    /// One block per model: only the workers of one block are alive at a time.
    pub blocks: Vec<ModelBlock>,
}

/// The cases of one model.
#[derive(Debug)]
pub struct ModelBlock {
    /// The model.
    pub model: PreparedModel,
    /// Its worker slots.
    pub slots: Vec<WorkerSlot>,
    /// Its cases in the order of the plan.
    pub cases: Vec<CasePlan>,
    /// Whether all workers may be alive together.
    pub together: bool,
}

/// The place of a worker in the plan: one engine with one thread count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerSlot {
    /// Index in [`Plan::engines`].
    pub engine: usize,
    /// Threads of the engine.
    pub threads: usize,
}

/// One case.
#[derive(Debug, Clone)]
pub struct CasePlan {
    /// Its id.
    pub id: String,
    /// Index in [`ModelBlock::slots`].
    pub slot: usize,
    /// Index in the model's prompts.
    pub prompt: usize,
    /// Tokens in the context before the prompt.
    pub filler: Filler,
}

impl ModelBlock {
    /// The prompt of a case of this block.
    pub fn prompt(&self, case: &CasePlan) -> &PreparedPrompt {
        &self.model.prompts[case.prompt]
    }

    /// The worker slot of a case of this block.
    pub fn slot(&self, case: &CasePlan) -> WorkerSlot {
        self.slots[case.slot]
    }
}

impl Plan {
    /// The engine of a worker slot of this plan.
    pub fn engine(&self, slot: WorkerSlot) -> &EngineChoice {
        &self.engines[slot.engine]
    }

    /// Requests of the whole run, to estimate the time left. Warm-up is included as far as it is known before.
    pub fn requests(&self) -> usize {
        self.file.cases.len() * self.requests_of_case() + self.examinations()
    }

    /// The same of one case.
    pub fn requests_of_case(&self) -> usize {
        let passes = usize::from(self.options.instruments.trace == record::plan::TraceLevel::Ops) + 1;
        1 + self.options.design.warmup.unwrap_or(1) + self.file.runs + passes * self.file.instrumented_runs
    }

    /// Texts that are examined: the answer of each case, and the passage once per worker slot.
    fn examinations(&self) -> usize {
        let has_steps = |slot: WorkerSlot| self.engine(slot).caps.steps;
        let of_block = |block: &ModelBlock| {
            let answers = block.cases.iter().filter(|case| has_steps(block.slot(case))).count();
            answers + block.slots.iter().filter(|slot| has_steps(**slot)).count()
        };
        self.blocks.iter().map(of_block).sum()
    }
}

/// `engine/model/prompt/tTHREADS/dDEPTH`.
pub fn case_id(engine: &str, model: &str, prompt: &str, threads: usize, depth: usize) -> String {
    format!("{engine}/{model}/{prompt}/t{threads}/d{depth}")
}
