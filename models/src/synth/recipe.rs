//! The recipe of a synthetic file, and the plan and header that follow from it.

use std::path::Path;

use super::file_type::Quant;
use super::plan::{self, Plan, PlannedTensor};
use super::vocabulary;
use crate::arch;
use crate::container::gguf::{self, ALIGNMENT, KeyValues, Value};
use crate::error::Error;
use crate::spec::Spec;
use crate::tokenizer::TokenizerFamily;
use crate::units::Bytes;

/// Set to true in every synthetic file, so that it cannot be confused with a trained model.
pub const SYNTHETIC_KEY: &str = "inferometer.synthetic";
/// The seed of the weights.
pub const SEED_KEY: &str = "inferometer.synthetic.seed";
/// The version of the generator.
pub const VERSION_KEY: &str = "inferometer.synthetic.version";

/// The version of the generator. It must change when the same recipe gives other weights, types or metadata; the cache distinguishes
/// files by it.
const VERSION: u32 = 2;

/// Everything that determines the bytes of a synthetic file.
#[derive(Clone, Copy, Debug)]
pub struct Recipe<'a> {
    /// The name of the model: the registry's name, or that of the config.json.
    pub name: &'a str,
    /// Its shape.
    pub spec: &'a Spec,
    /// Its file type.
    pub quant: Quant,
    /// The seed of its weights.
    pub seed: u64,
    /// Its tokenizer.
    pub tokenizer: TokenizerSource<'a>,
}

/// Where the tokenizer and the chat template of a synthetic file come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenizerSource<'a> {
    /// A generated vocabulary of this family and of the right size, and a plain template.
    Generated(TokenizerFamily),
    /// Copied from a GGUF file; a vocabulary alone is sufficient.
    CopyOf(&'a Path),
}

impl<'a> TokenizerSource<'a> {
    /// A copy of that of `file`; without a file, a generated one of this family.
    #[must_use]
    pub fn copy_or_generated(file: Option<&'a Path>, family: TokenizerFamily) -> Self {
        file.map_or(Self::Generated(family), Self::CopyOf)
    }
}

impl Default for TokenizerSource<'_> {
    /// A generated one of the default family.
    fn default() -> Self {
        Self::Generated(TokenizerFamily::default())
    }
}

/// A recipe with its tensors planned and its header encoded.
pub(super) struct Prepared {
    pub(super) plan: Plan,
    pub(super) header: Vec<u8>,
}

impl Recipe<'_> {
    /// Plans the tensors and encodes the header.
    pub(super) fn prepare(&self) -> Result<Prepared, Error> {
        let plan = plan::plan(self.spec, self.quant)?;
        let mut metadata = self.metadata();
        metadata.extend(match self.tokenizer {
            TokenizerSource::CopyOf(path) => vocabulary::tokenizer_for(path, self.spec.vocab)?,
            TokenizerSource::Generated(family) => vocabulary::generated(family, self.spec.vocab)?,
        });
        let header = gguf::header(&metadata, plan.tensors.iter().map(PlannedTensor::header_entry));
        Ok(Prepared { plan, header })
    }

    /// The keys of the file except those of the tokenizer, which follow them.
    fn metadata(&self) -> KeyValues {
        let Self { name, spec, quant, seed, .. } = self;
        let mut metadata: KeyValues = vec![
            ("general.architecture".into(), Value::String(arch::gguf_name(spec).into())),
            ("general.name".into(), Value::String(format!("{name} (synthetic)"))),
            (
                "general.description".into(),
                Value::String(format!("synthetic weights: random numbers of seed {seed} in the shape of {name}")),
            ),
            ("general.file_type".into(), Value::U32(quant.file_type())),
            ("general.quantization_version".into(), Value::U32(2)),
            ("general.alignment".into(), Value::U32(ALIGNMENT as u32)),
            (SYNTHETIC_KEY.into(), Value::Bool(true)),
            (SEED_KEY.into(), Value::U64(*seed)),
            (VERSION_KEY.into(), Value::U32(VERSION)),
        ];
        metadata.extend(arch::shape_keys(spec));
        metadata
    }

    /// The exact size of the file, including the header.
    ///
    /// # Errors
    /// [`Error::Synth`] for an impossible recipe; errors of reading the file `header`.
    pub fn file_bytes(&self) -> Result<Bytes, Error> {
        Ok(Bytes(self.prepare()?.file_bytes()))
    }
}

impl Prepared {
    pub(super) fn file_bytes(&self) -> u64 {
        self.header.len() as u64 + self.plan.data_bytes.get()
    }
}
