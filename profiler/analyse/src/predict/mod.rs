//! Estimates for what was not run: speed, memory and loading of a model of known shape, from the ceilings of the machine and from
//! what earlier runs have taught about the engine.
//!
//! ```text
//! runs -> select -> observe (ops, tokens, memory, loads) -> knowledge (laws, fitted by `fit`) -> estimate -> Prediction
//!                                                                                              check: beside what was measured
//!                                                                                              what_if: the table of a run
//! ```
//! It measures nothing and prints nothing. Formulas stand above the functions and in METHODOLOGY.md.

#[cfg(test)]
mod beyond_tests;
mod call;
mod check;
mod estimate;
mod fit;
mod ground;
mod knowledge;
mod observe;
mod prediction;
mod rates;
mod reach;
mod select;
mod subject;
#[cfg(test)]
mod tests;
mod what_if;

pub use check::{Checked, Comparison, compare, read};
pub use estimate::{Settings, Subject, predict};
pub use ground::Ground;
pub use prediction::{Basis, Extrapolation, Figure, PREDICTION_VERSION, Parts, Prediction};
pub use select::{Runs, below, named};
pub use what_if::what_if;
