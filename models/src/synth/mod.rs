//! Synthetic models: seeded random weights in the exact shape and types of a real model, as a GGUF file.
//!
//! Speed and memory depend on shapes and types, not on values, so such a file measures like the real one without a download. A key in
//! its header marks it as synthetic ([`SYNTHETIC_KEY`]). Its output is noise.
//!
//! The same recipe gives the same bytes on every machine and with any number of threads: each chunk of each tensor has its own random
//! stream, seeded by the recipe's seed, the tensor's name and the chunk's number.

mod file_type;
mod plan;
mod random;
mod random_blocks;
mod recipe;
mod vocabulary;
mod write;

pub use file_type::Quant;
pub use plan::{Plan, PlannedTensor, plan};
pub use recipe::{Recipe, SEED_KEY, SYNTHETIC_KEY, TokenizerSource, VERSION_KEY};
pub(crate) use vocabulary::tokenizer_for;
pub use write::{Written, cache_folder, write, write_cached};

#[cfg(test)]
mod tests {
    use super::{Quant, Recipe, TokenizerSource};
    use crate::spec::{Arch, Attention, Layer, Rope, RopeLayout, Spec};

    /// A small model whose rows are multiples of 256.
    pub(super) fn tiny() -> Spec {
        Spec {
            arch: Arch::LLAMA,
            hidden: 256,
            vocab: 640,
            context_length: 128,
            norm_eps: 1e-5,
            norm_offset: 0.0,
            tied_embeddings: false,
            embedding_scale: None,
            per_layer_width: None,
            logit_cap: None,
            layers: vec![
                Layer::plain(
                    Attention::plain(
                        4,
                        2,
                        64,
                        Some(Rope { theta: 10_000.0, dim: 64, layout: RopeLayout::Interleaved, scaling: None })
                    ),
                    512
                );
                3
            ],
        }
    }

    pub(super) fn recipe(spec: &Spec, quant: Quant) -> Recipe<'_> {
        Recipe { name: "tiny", spec, quant, seed: 1, tokenizer: TokenizerSource::default() }
    }
}
