//! The vocabulary of a model: that of its tokenizer here, or that of an engine where the tokenizer is not supported here.

use engine_api::{EncodedText, VocabularyFacts};
use engines::registry;
use models::{Checkpoint, EncodeOptions, Tokenizer};
use record::plan::Substitution;
use record::{Error, Reason};

use crate::plan::EngineChoice;

/// Text to token ids and back, for prompts.
pub(super) enum Vocabulary {
    /// The tokenizer of the checkpoint.
    Own(Tokenizer),
    /// The engine's own, for a tokenizer that is not supported here.
    OfEngine {
        /// The engine.
        engine: String,
        facts: VocabularyFacts,
        vocabulary: Box<dyn engine_api::Vocabulary>,
        /// Why the tokenizer is not that of the checkpoint.
        reason: Reason,
    },
}

impl Vocabulary {
    /// The tokenizer of a checkpoint, or the vocabulary of the first engine of the run that has its own.
    ///
    /// # Errors
    /// The error of the tokenizer, where no engine has a vocabulary.
    pub(super) fn of(checkpoint: &Checkpoint, engines: &[EngineChoice]) -> Result<Self, Error> {
        let error = match checkpoint.tokenizer() {
            Ok(tokenizer) => return Ok(Self::Own(tokenizer)),
            Err(error) => error,
        };
        for choice in engines {
            let selection = registry::find(&choice.engine).map_err(Error::from_advice)?;
            let engine = selection.open().map_err(Error::from_advice)?;
            let vocabulary = engine.vocabulary(checkpoint).map_err(Error::from_advice)?;
            if let Some(vocabulary) = vocabulary {
                let (facts, reason) = (vocabulary.facts(), Reason::new(error.to_string()));
                return Ok(Self::OfEngine { engine: choice.label.clone(), facts, vocabulary, reason });
            }
        }
        Err(error.into())
    }

    /// What stands in for the tokenizer of the checkpoint.
    pub(super) fn substitution(&self) -> Option<Substitution> {
        match self {
            Self::Own(_) => None,
            Self::OfEngine { engine, reason, .. } => {
                Some(Substitution::new("tokenizer", format!("that of the engine {engine} ({reason})")))
            }
        }
    }

    /// The ids below `rows` that represent ordinary text: those that decode to a text and do not end a generation.
    pub(super) fn ordinary(&self, rows: Option<usize>) -> Vec<u32> {
        match self {
            Self::Own(tokenizer) => {
                let special = [tokenizer.bos(), tokenizer.eos()];
                let ordinary = |id: &u32| {
                    let has_text = tokenizer.decode(&[*id]).is_ok_and(|text| !text.is_empty());
                    has_text && !tokenizer.ends_generation(*id) && !special.contains(&Some(*id))
                };
                let size = tokenizer.vocab_size();
                let count = u32::try_from(rows.map_or(size, |rows| rows.min(size))).unwrap_or(u32::MAX);
                (0..count).filter(ordinary).collect()
            }
            Self::OfEngine { facts, .. } => {
                let below = |id: &u32| rows.is_none_or(|rows| (*id as usize) < rows);
                facts.ordinary.iter().copied().filter(below).collect()
            }
        }
    }

    /// The ids that end a generation.
    pub(super) fn end_of_generation(&self) -> &[u32] {
        match self {
            Self::Own(tokenizer) => tokenizer.end_of_generation(),
            Self::OfEngine { facts, .. } => &facts.ends,
        }
    }

    /// The ids of a text, with exactly one BOS in front if the model expects one.
    pub(super) fn encode(&self, text: &str, parse_special: bool) -> Result<EncodedText, Error> {
        match self {
            Self::Own(tokenizer) => {
                let add_bos = tokenizer.wants_bos(text);
                let ids = tokenizer.encode(text, EncodeOptions { add_bos, parse_special })?;
                Ok(EncodedText { ids, add_bos })
            }
            Self::OfEngine { vocabulary, .. } => vocabulary.encode(text, parse_special).map_err(Error::from_advice),
        }
    }

    /// Whether it has texts: some files have ids alone.
    pub(super) fn has_texts(&self) -> bool {
        match self {
            Self::Own(_) => true,
            Self::OfEngine { facts, .. } => facts.has_texts,
        }
    }
}
