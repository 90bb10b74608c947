//! What is to be measured: the options, the cases that they make, and the checks before anything is done.

mod file;
mod options;

pub use file::{PlanFile, PlannedCase, PlannedModel, PlannedPrompt};
pub use options::{
    DEFAULT_ENGINE, DEFAULT_MODEL, DEFAULT_NEW_TOKENS, DEFAULT_PROMPTS, DEFAULT_RUNS, DEFAULT_SEED, Options, PromptChoice, TraceLevel,
};
