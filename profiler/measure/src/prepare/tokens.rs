//! Prompts of an exact length: random ordinary tokens.
//!
//! Never special ones, which end texts or switch modes; never one token repeated, which caches and sparse attention patterns
//! make cheaper than text.

use models::Tokenizer;
use rand::seq::IndexedRandom;

use record::Error;

/// The tokens of a vocabulary that stand for text.
#[derive(Debug)]
pub struct Ordinary(Vec<u32>);

/// What lies in the context before the prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filler(Vec<u32>);

impl Filler {
    /// Its length.
    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// Its ids.
    pub fn ids(&self) -> &[u32] {
        &self.0
    }
}

/// Fewer different tokens than this are no text.
const FEWEST: usize = 16;

impl Ordinary {
    /// The ordinary tokens below `vocab`: those that decode to something, and end nothing.
    ///
    /// # Errors
    /// When there are hardly any.
    pub fn of(tokenizer: &Tokenizer, vocab: usize) -> Result<Self, Error> {
        let special = [tokenizer.bos(), tokenizer.eos()];
        let ordinary = |id: &u32| {
            let shown = tokenizer.decode(&[*id]).is_ok_and(|text| !text.is_empty());
            shown && !tokenizer.ends_generation(*id) && !special.contains(&Some(*id))
        };
        let count = u32::try_from(vocab.min(tokenizer.vocab_size())).unwrap_or(u32::MAX);
        Self::from_ids((0..count).filter(ordinary).collect())
    }

    fn from_ids(ids: Vec<u32>) -> Result<Self, Error> {
        if ids.len() < FEWEST {
            return Err(Error::usage(
                format!("the vocabulary has {} ordinary tokens: expected at least {FEWEST}", ids.len()),
                "choose another model or tokenizer",
            ));
        }
        Ok(Self(ids))
    }

    /// So many of them, the same for the same seed and purpose.
    pub fn draw(&self, count: usize, seed: u64, purpose: &str) -> Vec<u32> {
        let mut random = statistics::rounds::random(seed, purpose);
        let last = self.0.last().copied().unwrap_or_default();
        (0..count).map(|_| self.0.choose(&mut random).copied().unwrap_or(last)).collect()
    }

    /// What fills a context to a depth.
    pub fn filler(&self, depth: usize, seed: u64) -> Filler {
        Filler(self.draw(depth, seed, "filler"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_seeded_varied_and_ordinary() {
        let ordinary = Ordinary::from_ids((100..1000).collect()).unwrap();
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
        assert!(Ordinary::from_ids(vec![1, 2]).is_err());
    }
}
