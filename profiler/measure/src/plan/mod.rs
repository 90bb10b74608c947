//! What a run measures, as plain data: the options, the plan that is made from them, and the checks of options.

mod case;
mod check;
mod cores;
mod engine;
mod folder;
mod model;
mod option_error;
mod options;
mod prompt;

pub use case::{CasePlan, ModelBlock, Plan, WorkerSlot, case_id};
pub use check::check;
pub(crate) use check::counter;
pub use cores::physical_cores;
pub(crate) use engine::setting_owner;
pub use engine::{EngineArgument, EngineChoice};
pub use folder::{folder_name, new_folder};
pub use model::{ModelledShape, PreparedModel, Shape, Weights};
pub use option_error::OptionError;
pub use options::{
    DEFAULT_BUDGET, DEFAULT_ENGINE, DEFAULT_MODEL, DEFAULT_NEW_TOKENS, DEFAULT_RUNS, DEFAULT_SEED, Design,
    EngineOptions, Instruments, Options, Output, ServerOptions, Subject, Workload,
};
pub use prompt::{Filler, PreparedPrompt, PromptInput};
