//! What a model is: registry, architecture, checkpoint readers, tokenizer, chat template, cost model, fetching, synthetic weights.

mod error;
mod units;

pub mod chat;
mod checkpoint;
pub mod cost;
mod dtype;
pub mod fetch;
pub mod registry;
mod spec;
pub mod synth;
mod tokenizer;
