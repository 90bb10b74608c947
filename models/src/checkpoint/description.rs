//! What is known of a checkpoint's model: its whole shape, or an outline alone.

use crate::error::NotModelled;
use crate::spec::Spec;
use crate::units::Params;

/// What is known of a model.
#[derive(Clone, Debug, PartialEq)]
pub enum Description {
    /// Its shape: the decoder, the cost model, sizes of caches and predictions follow from it.
    Described(Spec),
    /// Its outline alone: a valid model of an architecture, or of a variant of one, that is not described. An engine that reads the
    /// file itself can run it.
    Opaque(NotModelled),
}

/// What every checkpoint states about its model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The architecture.
    pub architecture: String,
    /// The number of layers; `None` if the file does not state it.
    pub layers: Option<usize>,
    /// The number of positions that the model was trained for; `None` if the file does not state it.
    pub context_length: Option<usize>,
    /// The number of rows of the embedding table; `None` if the file does not state it.
    pub vocab: Option<usize>,
    /// The number of parameters.
    pub parameters: Params,
    /// Whether it has experts, of which a token uses a part: a pass then reads less than all weights.
    pub has_experts: bool,
}
