//! Prompt sets: the prompts of a run, as TOML data.
//!
//! [`SETS`] has the built-in sets. [`Set::named`] finds one of them, [`Set::from_file`] reads a set from a file. This crate does
//! not apply chat templates and does not tokenize: a text is a user message, an exact length is a number of tokens that the
//! caller chooses.
//!
//! To add a set, add a file to `sets/` and a line to [`SETS`].
//!
//! ```toml
//! name = "mine"                      # optional; the default is the name of the file
//! description = "What I ask daily"   # optional
//!
//! [[prompt]]
//! id = "capital"                     # unique; letters, digits, '-', '_', '.'
//! tests = "Tests one fact"           # optional: the purpose of the prompt
//! text = "What is the capital of France?"
//! system = "Answer in one word."     # optional, only with a text
//! new_tokens = 16                    # optional: tokens to generate; the default is the run's setting
//!
//! [[prompt]]
//! id = "pp512"
//! prompt_tokens = 512                # instead of a text: an exact length
//! ```

mod error;
mod set;

pub use error::{Error, Position};
pub use set::{Input, Prompt, Set};

/// A set that is compiled into the program.
#[derive(Debug, Clone, Copy)]
pub struct BuiltInSet {
    /// Its name.
    pub name: &'static str,
    /// Its TOML text.
    pub toml: &'static str,
}

/// The set that a run uses by default.
pub const DEFAULT: &str = "seed";

/// All built-in sets, sorted by name.
pub const SETS: &[BuiltInSet] = &[
    BuiltInSet { name: "lengths", toml: include_str!("../sets/lengths.toml") },
    BuiltInSet { name: "long", toml: include_str!("../sets/long.toml") },
    BuiltInSet { name: "seed", toml: include_str!("../sets/seed.toml") },
    BuiltInSet { name: "smoke", toml: include_str!("../sets/smoke.toml") },
];
