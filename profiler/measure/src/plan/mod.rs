//! What is to be measured: the options, the cases that they make, and the checks before anything is done.

mod case;
mod check;
mod cores;
mod dry_run;
mod folder;
mod label;
mod options;

pub use case::{Block, CasePlan, EngineChoice, Plan, Seat, case_id};
pub use check::check;
pub use cores::physical_cores;
pub use dry_run::dry_run;
pub use folder::{folder_name, new_folder};
pub use label::Asked;
pub(crate) use label::owner;
pub use options::{
    DEFAULT_BUDGET, DEFAULT_ENGINE, DEFAULT_MODEL, DEFAULT_NEW_TOKENS, DEFAULT_RUNS, DEFAULT_SEED, Options,
};
