//! Prompt sets: what is sent to a model, as TOML data.
//!
//! The sets that come with the tool stand in [`SETS`]; [`Set::named`] finds one, [`Set::from_file`] reads one of the
//! user's. This crate knows nothing of chat templates or tokens: a text is what the user would type, an exact length is
//! a number that somebody else fills with tokens.
//!
//! One more set = one file in `sets/` and one line in [`SETS`].
//!
//! ```toml
//! name = "mine"                      # optional; without it the set is called after its file
//! description = "What I ask daily"   # optional
//!
//! [[prompt]]
//! id = "capital"                     # unique; letters, digits, '-', '_', '.'
//! tests = "Tests one fact"           # optional: what the prompt is there for
//! text = "What is the capital of France?"
//! system = "Answer in one word."     # optional, with a text only
//! new_tokens = 16                    # optional: tokens to generate, else the run's setting
//!
//! [[prompt]]
//! id = "pp512"
//! prompt_tokens = 512                # instead of a text: an exact length
//! ```

mod error;
mod parse;
mod registry;
mod set;

pub use error::{Error, Position};
pub use registry::{DEFAULT, SETS, Source};
pub use set::{Input, Prompt, Set};
