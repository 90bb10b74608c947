//! The vocabulary of a file as llama.cpp reads it, without the weights.

use std::path::Path;

use super::raw::{Model, Part};
use super::settings::Settings;
use crate::{EncodedText, EngineError, Vocabulary, VocabularyFacts};

/// A loaded vocabulary.
pub(super) struct LlamaVocabulary(Model);

impl LlamaVocabulary {
    pub(super) fn load(path: &Path) -> Result<Self, EngineError> {
        Model::load(path, Part::Vocabulary, &Settings::default()).map(Self)
    }
}

impl Vocabulary for LlamaVocabulary {
    fn facts(&self) -> VocabularyFacts {
        let (model, ends, has_texts) = (&self.0, self.0.end_of_generation(), self.0.has_texts());
        let is_ordinary = |id: &u32| {
            let has_text = || model.piece(*id).is_ok_and(|piece| !piece.is_empty());
            !has_texts || (!model.is_control(*id) && !ends.contains(id) && model.bos() != Some(*id) && has_text())
        };
        let ordinary = (0..u32::try_from(model.vocab()).unwrap_or(u32::MAX)).filter(is_ordinary).collect();
        VocabularyFacts { ordinary, ends, has_texts }
    }

    fn encode(&self, text: &str, parse_special: bool) -> Result<EncodedText, EngineError> {
        let mut ids = self.0.tokenize(text, false, parse_special)?;
        let bos = self.0.bos().filter(|bos| self.0.adds_bos() && ids.first() != Some(bos));
        ids.splice(0..0, bos);
        Ok(EncodedText { ids, add_bos: bos.is_some() })
    }
}
