//! Estimates without a run: speed, memory and loading of a model of known shape, from the ceilings of the machine and from models that
//! are fitted to earlier runs of the engine.
//!
//! ```text
//! runs -> select -> observe (ops, tokens, memory, loads) -> fitted models (by `fit`) -> estimate -> Prediction
//!                                                                                              check: compared with a measurement
//!                                                                                              what_if: the table of a run
//! ```
//! Formulas are above the functions and in docs/prediction.md.

#[cfg(test)]
mod beyond_tests;
mod call;
mod ceiling_basis;
mod check;
mod estimate;
mod extrapolation;
mod fit;
mod fitted_models;
mod memory;
mod observe;
mod prediction;
mod rates;
mod select;
mod target;
#[cfg(test)]
pub(crate) mod tests;
mod what_if;

pub use ceiling_basis::CeilingBasis;
pub use check::{CheckedFigure, PredictionCheck, check, parse};
pub use estimate::{Settings, Target, predict};
pub use prediction::{Extrapolation, Figure, MemoryParts, PREDICTION_VERSION, Prediction, Shortage, TimeParts};
pub use select::Runs;
pub use what_if::what_if;
