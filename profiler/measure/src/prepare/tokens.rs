//! Prompts of an exact length: random ordinary tokens.
//!
//! Special tokens are left out, because they end texts or switch modes. Tokens are not repeated on purpose, because caches and sparse
//! attention patterns would make repeated tokens cheaper than text.

use rand::seq::IndexedRandom;

use super::prepare_error::PrepareError;
use super::vocabulary::Vocabulary;
use crate::plan::Filler;

/// The tokens of a vocabulary that represent text.
#[derive(Debug)]
pub(super) struct OrdinaryTokens(Vec<u32>);

/// With fewer different tokens a prompt would not be like text.
const FEWEST: usize = 16;

impl OrdinaryTokens {
    /// The ordinary tokens of a vocabulary, below the `rows` of the model's embedding table.
    ///
    /// # Errors
    /// When there are too few.
    pub(super) fn of(vocabulary: &Vocabulary, rows: Option<usize>) -> Result<Self, PrepareError> {
        Self::from_ids(vocabulary.ordinary(rows))
    }

    fn from_ids(ids: Vec<u32>) -> Result<Self, PrepareError> {
        if ids.len() < FEWEST {
            return Err(PrepareError::FewTokens { found: ids.len(), needed: FEWEST });
        }
        Ok(Self(ids))
    }

    /// `count` random tokens, the same for the same seed and purpose.
    pub(super) fn draw(&self, count: usize, seed: u64, purpose: &str) -> Vec<u32> {
        let mut random = statistics::rounds::random(seed, purpose);
        // `choose` finds no token only in an empty list, and there are at least FEWEST.
        let last = self.0.last().copied().unwrap_or_default();
        (0..count).map(|_| self.0.choose(&mut random).copied().unwrap_or(last)).collect()
    }

    /// The tokens that fill a context to a depth.
    pub(super) fn filler(&self, depth: usize, seed: u64) -> Filler {
        Filler::new(self.draw(depth, seed, "filler"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_seeded_varied_and_ordinary() {
        let ordinary = OrdinaryTokens::from_ids((100..1000).collect()).unwrap();
        let ids = ordinary.draw(512, 7, "pp512");
        assert_eq!(ids, ordinary.draw(512, 7, "pp512"));
        assert_ne!(ids, ordinary.draw(512, 8, "pp512"));
        assert_ne!(ids, ordinary.draw(512, 7, "pp513"));
        let different: std::collections::BTreeSet<_> = ids.iter().collect();
        assert!(different.len() > 300 && ids.iter().all(|id| (100..1000).contains(id)));
        assert_eq!(ordinary.filler(64, 7).depth(), 64);
    }

    #[test]
    fn a_vocabulary_without_text_is_refused() {
        assert!(OrdinaryTokens::from_ids(vec![1, 2]).is_err());
    }
}
