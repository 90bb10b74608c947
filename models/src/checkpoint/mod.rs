//! A checkpoint: weights on disk and the shape that they have, from a GGUF file or a folder of safetensors. Opening one checks
//! every tensor against the shape and reads no weights: they are mapped.

mod folder;
mod mapping;
mod safetensors;
mod scheme;
mod sniff;

pub(crate) mod config;
pub mod gguf;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use crate::arch;
use crate::dtype::DType;
use crate::error::{Error, nearest};
use crate::spec::Spec;
use crate::units::Bytes;

/// Weights on disk, mapped, and what they are. Cheap to clone parts of: views share the mappings.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    name: String,
    spec: Spec,
    source: Source,
    files: Vec<PathBuf>,
    maps: Vec<Arc<Mmap>>,
    tensors: Vec<TensorInfo>,
    /// Where each of `tensors` lies: which of `maps`, which bytes.
    places: Vec<(usize, Range<usize>)>,
    index: HashMap<String, usize>,
}

/// Where everything that is no tensor comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// The metadata of a GGUF file.
    Gguf(gguf::Metadata),
    /// A folder with config.json, tokenizer.json and the rest, and what was read of its texts.
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The chat template and the texts of bos and eos.
        texts: folder::Texts,
    },
}

/// The format of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One GGUF file.
    Gguf,
    /// A folder in the Hugging Face layout.
    Safetensors,
}

/// What a tensor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name in the manner of GGUF, in both formats, such as `blk.0.attn_q.weight`. Scales and biases of a matrix in MLX's
    /// form are tensors of their own: `blk.0.attn_q.scales` and `.biases`, `[rows, groups]`.
    pub name: String,
    /// How its elements are stored.
    pub dtype: DType,
    /// Row-major: `[rows (out), cols (in)]` of a matrix, `[elements]` of a vector.
    pub shape: Vec<usize>,
    /// Its size on disk, without scales and biases of their own.
    pub bytes: Bytes,
}

/// A tensor's bytes in the mapping. They may begin at any address that the file's alignment allows.
#[derive(Clone, Debug)]
pub struct TensorView<'a> {
    info: &'a TensorInfo,
    map: &'a Arc<Mmap>,
    range: Range<usize>,
}

/// What a format's reader hands over; [`Checkpoint::assemble`] checks it against the shape.
pub(crate) struct Parts {
    pub(crate) path: PathBuf,
    pub(crate) name: String,
    pub(crate) spec: Spec,
    pub(crate) source: Source,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) maps: Vec<Arc<Mmap>>,
    pub(crate) tensors: Vec<(TensorInfo, usize, Range<usize>)>,
}

impl Checkpoint {
    /// Opens a .gguf file, or a folder with config.json and safetensors.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let metadata = std::fs::metadata(path).map_err(|source| Error::io("open", path, source))?;
        if metadata.is_dir() { Self::assemble(folder::open(path)?) } else { Self::assemble(gguf::open(path)?) }
    }

    /// Checks every tensor against the shape and indexes them by name.
    fn assemble(parts: Parts) -> Result<Self, Error> {
        let Parts { path, name, spec, source, files, maps, tensors } = parts;
        let format = source.format();
        arch::check(&path, format, &spec, tensors.iter().map(|(info, ..)| info))?;
        let index = tensors.iter().enumerate().map(|(at, (info, ..))| (info.name.clone(), at)).collect();
        let (tensors, places) = tensors.into_iter().map(|(info, map, range)| (info, (map, range))).unzip();
        Ok(Self { path, name, spec, source, files, maps, tensors, places, index })
    }

    /// The file or folder that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model's name as the checkpoint gives it, else the name of the file or folder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shape.
    #[must_use]
    pub const fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Sets the sliding window, for a GGUF file that does not carry its own (Mistral's say `llama`): the caller knows the model
    /// from the registry.
    #[must_use]
    pub fn with_window(mut self, window: Option<usize>) -> Self {
        self.spec = self.spec.with_window(window);
        self
    }

    /// The format.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.source.format()
    }

    /// The files that hold the weights.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Size of those files together.
    #[must_use]
    pub fn file_bytes(&self) -> Bytes {
        self.maps.iter().map(|map| Bytes(map.len() as u64)).sum()
    }

    /// All tensors, in the order of the files.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Bits per parameter: the bytes of all tensors x 8 / parameters. Scales, norms and tables count as what they take.
    #[must_use]
    pub fn bits_per_weight(&self) -> f64 {
        let bytes: Bytes = self.tensors.iter().map(|info| info.bytes).sum();
        bytes.as_f64() * 8.0 / self.spec.parameters().as_f64()
    }

    /// The tensor of this name, in the manner of GGUF whatever the format.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>, Error> {
        let Some(&at) = self.index.get(name) else {
            let near = nearest(name, self.tensors.iter().map(|info| info.name.as_str()));
            return Err(Error::UnknownTensor { file: self.path.clone(), name: name.to_owned(), near });
        };
        let (map, range) = &self.places[at];
        Ok(TensorView { info: &self.tensors[at], map: &self.maps[*map], range: range.clone() })
    }

    /// Metadata of the GGUF file; `None` for a folder. (Tokenizers are built from it.)
    #[must_use]
    pub const fn metadata(&self) -> Option<&gguf::Metadata> {
        match &self.source {
            Source::Gguf(metadata) => Some(metadata),
            Source::Folder { .. } => None,
        }
    }

    /// The folder, of a checkpoint that is one. (tokenizer.json lies there.)
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match &self.source {
            Source::Gguf(_) => None,
            Source::Folder { folder, .. } => Some(folder),
        }
    }

    /// The chat template (Jinja), if the checkpoint carries one.
    #[must_use]
    pub fn chat_template(&self) -> Option<&str> {
        match &self.source {
            Source::Gguf(metadata) => metadata.get("tokenizer.chat_template")?.as_str(),
            Source::Folder { texts, .. } => texts.chat_template.as_deref(),
        }
    }

    /// The text of the beginning-of-sequence token, as chat templates want it.
    #[must_use]
    pub fn bos_text(&self) -> Option<&str> {
        match &self.source {
            Source::Gguf(metadata) => gguf::token_text(metadata, "tokenizer.ggml.bos_token_id"),
            Source::Folder { texts, .. } => texts.bos.as_deref(),
        }
    }

    /// The text of the end-of-sequence token, as chat templates want it.
    #[must_use]
    pub fn eos_text(&self) -> Option<&str> {
        match &self.source {
            Source::Gguf(metadata) => gguf::token_text(metadata, "tokenizer.ggml.eos_token_id"),
            Source::Folder { texts, .. } => texts.eos.as_deref(),
        }
    }

    /// The quantisation in one word, such as `Q4_1` or `Q4_K_M`: what the file says of itself, else the type of most bytes.
    #[must_use]
    pub fn quantisation(&self) -> String {
        if let Some(name) = self.metadata().and_then(gguf::file_type) {
            return name.to_owned();
        }
        let bytes_of =
            |dtype: DType| self.tensors.iter().filter(|info| info.dtype == dtype).map(|info| info.bytes).sum::<Bytes>();
        let all = DType::ALL.into_iter().chain(DType::MLX);
        all.max_by_key(|dtype| bytes_of(*dtype)).map_or_else(String::new, |dtype| dtype.to_string())
    }
}

impl Source {
    const fn format(&self) -> Format {
        match self {
            Self::Gguf(_) => Format::Gguf,
            Self::Folder { .. } => Format::Safetensors,
        }
    }
}

impl<'a> TensorView<'a> {
    /// What the tensor is.
    #[must_use]
    pub const fn info(&self) -> &'a TensorInfo {
        self.info
    }

    /// Its bytes, `info().bytes` of them.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        // Readers check that the range lies in the mapping.
        &self.map[self.range.clone()]
    }

    /// The mapping that the bytes lie in, at [`Self::range`]: kept alive by the clone.
    #[must_use]
    pub fn owner(&self) -> Arc<Mmap> {
        Arc::clone(self.map)
    }

    /// The bytes of [`Self::owner`] that are this tensor.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }
}
