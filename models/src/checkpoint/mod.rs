//! A checkpoint: weights on disk and their shape, from a GGUF file or a folder of safetensors. Opening one checks every tensor
//! against the shape. The weights are mapped, not read.

mod description;
mod folder;
mod fused_experts;
mod gguf_file;
mod gguf_kind;
mod joined_latent;
mod listing;
mod parts;
mod quantisation;
mod rearranged;
mod resolve;
mod safetensors;
mod split;
mod templates;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use crate::arch;
use crate::chat::SpecialToken;
use crate::container::gguf::Metadata;
use crate::container::json::{self, CONFIG_LIMIT, Object};
use crate::dtype::DType;
use crate::error::{Cause, Error, Mismatch, NotModelled, nearest};
use crate::spec::{EMBEDDING, Spec, expert_part};
use crate::tensor::{TensorInfo, TensorView};
use crate::units::{Bytes, Params};

pub use self::description::{Description, Outline};
use self::parts::{Parts, Place, PlacedTensor, Source};
pub use self::resolve::repository_name;
pub(crate) use self::resolve::resolve;
pub(crate) use self::split::Part;
pub use self::templates::TemplateSource;

/// Weights on disk, mapped, and their description. Views of tensors share the mappings.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    name: String,
    description: Description,
    source: Source,
    files: Vec<PathBuf>,
    maps: Vec<Arc<Mmap>>,
    tensors: Vec<TensorInfo>,
    /// Where each of `tensors` is.
    places: Vec<Place>,
    /// Index of each tensor by its name.
    index: HashMap<String, usize>,
    otherwise_stored: Option<NotModelled>,
    has_other_parts: bool,
}

/// The format of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One GGUF file, or the parts of one.
    Gguf,
    /// A folder in the Hugging Face layout.
    Safetensors,
}

impl Checkpoint {
    /// Opens what `resolve` finds at `path`: a .gguf file (of a model in parts: the first), or a folder with config.json and
    /// safetensors.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let path = &resolve(path)?;
        Self::assemble(if path.is_dir() { folder::open(path)? } else { gguf_file::open(path)? })
    }

    /// Checks every tensor against the shape and indexes them by name.
    fn assemble(parts: Parts) -> Result<Self, Error> {
        let Parts { path, name, description, source, files, maps, tensors, otherwise_stored, has_other_parts } = parts;
        let description = match description {
            Description::Described(spec) => check(&path, spec, &source, &tensors)?,
            opaque @ Description::Opaque(_) => opaque,
        };
        let index = tensors.iter().enumerate().map(|(at, (info, _))| (info.name.clone(), at)).collect();
        let (tensors, places) = tensors.into_iter().unzip();
        Ok(Self {
            path,
            name,
            description,
            source,
            files,
            maps,
            tensors,
            places,
            index,
            otherwise_stored,
            has_other_parts,
        })
    }

    /// The file or folder that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model's name in the checkpoint, else the name of the file or folder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the model has parts beside the text, such as one for images, which are not read.
    #[must_use]
    pub const fn has_other_parts(&self) -> bool {
        self.has_other_parts
    }

    /// What is known of the model.
    #[must_use]
    pub const fn description(&self) -> &Description {
        &self.description
    }

    /// Why the description does not hold for an engine that computes with the tensors as they are stored, such as llama.cpp: the model is
    /// the same, and its operations and its cache are others. `None`: it holds.
    #[must_use]
    pub const fn otherwise_stored(&self) -> Option<&NotModelled> {
        self.otherwise_stored.as_ref()
    }

    /// The shape.
    ///
    /// # Errors
    /// [`Error::NotModelled`] if the architecture is not described.
    pub fn spec(&self) -> Result<&Spec, Error> {
        match &self.description {
            Description::Described(spec) => Ok(spec),
            Description::Opaque(reason) => Err(Error::NotModelled { reason: Box::new(reason.clone()) }),
        }
    }

    /// What the checkpoint states about its model, whether it is described or not.
    #[must_use]
    pub fn outline(&self) -> Outline {
        match &self.description {
            Description::Described(spec) => Outline {
                architecture: spec.arch.name().to_owned(),
                layers: Some(spec.layers.len()),
                context_length: Some(spec.context_length),
                vocab: Some(spec.vocab),
                parameters: spec.parameters(),
                has_experts: spec.layers.iter().any(|layer| layer.feed_forward.experts().is_some()),
            },
            Description::Opaque(NotModelled { architecture, .. }) => {
                let key = |rest: &str| self.metadata()?.count(&format!("{architecture}.{rest}")).ok()?;
                let rows = self.index.get(EMBEDDING).and_then(|at| self.tensors[*at].shape.first().copied());
                Outline {
                    architecture: architecture.clone(),
                    layers: key("block_count"),
                    context_length: key("context_length"),
                    vocab: rows.or_else(|| key("vocab_size")),
                    parameters: Params(self.tensors.iter().map(TensorInfo::elements).sum()),
                    // The names that llama.cpp gives to the weights of all experts of a layer: `ffn_up_exps`, `ffn_up_chexps`, ...
                    has_experts: key("expert_count").is_some_and(|count| count > 0)
                        || self.tensors.iter().any(|tensor| tensor.name.contains("exps.")),
                }
            }
        }
    }

    /// Sets the sliding window of a GGUF file that lacks it (Mistral's files say `llama`). The caller knows it from the registry.
    #[must_use]
    pub fn with_window(mut self, window: Option<usize>) -> Self {
        if let Description::Described(spec) = self.description {
            self.description = Description::Described(spec.with_window(window));
        }
        self
    }

    /// The format.
    #[must_use]
    pub const fn format(&self) -> Format {
        match self.source {
            Source::Gguf(_) => Format::Gguf,
            Source::Folder(_) => Format::Safetensors,
        }
    }

    /// The files that contain the weights.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The total size of those files.
    #[must_use]
    pub fn file_bytes(&self) -> Bytes {
        self.maps.iter().map(|map| Bytes(map.len() as u64)).sum()
    }

    /// All tensors, in the order of the files.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Bits per parameter: the bytes of all tensors x 8 / parameters, including scales, norms and tables.
    #[must_use]
    pub fn bits_per_weight(&self) -> f64 {
        let bytes: Bytes = self.tensors.iter().map(|info| info.bytes).sum();
        bytes.as_f64() * 8.0 / self.outline().parameters.as_f64()
    }

    /// The tensor of this GGUF name, in both formats. Its bytes are in the mapped file, except for those that files store in another order,
    /// such as the experts of gpt-oss in a folder: they are copied at each call.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>, Error> {
        let Some(&at) = self.index.get(name) else {
            let near = nearest(name, self.tensors.iter().map(|info| info.name.as_str()));
            return Err(Error::UnknownTensor { file: self.path.clone(), name: name.to_owned(), near });
        };
        let (info, Place { map, range, arrangement }) = (&self.tensors[at], &self.places[at]);
        let map = &self.maps[*map];
        let Some(arrangement) = arrangement else { return Ok(TensorView::new(info, map, range.clone())) };
        let own = arrangement.apply(&map[range.clone()], &self.maps);
        let own = own.map_err(|error| Error::io("take memory for a tensor of", &self.path, error))?;
        Ok(TensorView::of_own(info, own))
    }

    /// The weights of each expert, of the tensor of this GGUF name: matrices `[rows, columns]` or vectors `[elements]`. A GGUF file has
    /// one tensor for all experts, a folder one for each.
    ///
    /// # Errors
    /// If there is neither.
    pub fn experts(&self, name: &str) -> Result<Vec<TensorView<'_>>, Error> {
        if !self.index.contains_key(name) && self.index.contains_key(&expert_part(name, 0)) {
            let parts = (0..).map(|expert| expert_part(name, expert)).take_while(|part| self.index.contains_key(part));
            return parts.map(|part| self.tensor(&part)).collect();
        }
        let all = self.tensor(name)?;
        let count = all.info().shape.first().copied().unwrap_or(0);
        let part = |expert: usize| {
            all.part(expert).ok_or_else(|| {
                let (place, found) =
                    (format!("tensor `{name}`"), format!("{:?} {}", all.info().shape, all.info().dtype));
                Error::Gguf(Mismatch::at(
                    &self.path,
                    place,
                    "complete blocks for each expert",
                    found,
                    Cause::WrittenWrongly,
                ))
            })
        };
        (0..count).map(part).collect()
    }

    /// The metadata of the GGUF file; `None` for a folder. Tokenizers are built from it.
    #[must_use]
    pub const fn metadata(&self) -> Option<&Metadata> {
        match &self.source {
            Source::Gguf(metadata) => Some(metadata),
            Source::Folder(_) => None,
        }
    }

    /// The folder of a checkpoint in safetensors form, which also contains tokenizer.json; `None` for a GGUF file.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match &self.source {
            Source::Gguf(_) => None,
            Source::Folder(folder) => Some(folder),
        }
    }

    /// The chat template, if the checkpoint has one: of several, the one called `default`.
    ///
    /// # Errors
    /// If there are several and none is called `default`, or a file that has templates cannot be read.
    pub fn chat_template(&self) -> Result<Option<TemplateSource>, Error> {
        match &self.source {
            Source::Gguf(metadata) => templates::of_gguf(metadata),
            Source::Folder(folder) => templates::of_folder(folder),
        }
    }

    /// The special tokens that chat templates may name, such as `bos_token`.
    ///
    /// # Errors
    /// If a file that names them cannot be read.
    pub fn special_tokens(&self) -> Result<Vec<SpecialToken>, Error> {
        match &self.source {
            Source::Gguf(metadata) => templates::tokens_of_gguf(metadata),
            Source::Folder(folder) => templates::tokens_of_folder(folder),
        }
    }

    /// The name of the quantisation, such as `Q4_1` or `Q4_K_M`: as the file names it, else the type with the most bytes.
    #[must_use]
    pub fn quantisation(&self) -> String {
        if let Some(name) = self.metadata().and_then(gguf_file::file_type) {
            return name.to_owned();
        }
        let bytes_of =
            |dtype: DType| self.tensors.iter().filter(|info| info.dtype == dtype).map(|info| info.bytes).sum::<Bytes>();
        let all = DType::ALL.into_iter().chain(DType::MLX);
        all.max_by_key(|dtype| bytes_of(*dtype)).map_or_else(String::new, |dtype| dtype.to_string())
    }
}

/// Checks the tensors against the shape. Tensors of a GGUF file that belong to another variant of the architecture make its model opaque.
fn check(path: &Path, spec: Spec, source: &Source, tensors: &[PlacedTensor]) -> Result<Description, Error> {
    let missing = match source {
        Source::Gguf(_) => Cause::WrittenWrongly.advice(),
        Source::Folder(_) => {
            "files are missing, or config.json is of another model: compare the folder with its source"
        }
    };
    match (arch::check(path, &spec, tensors.iter().map(|(info, ..)| info), missing), source) {
        (Ok(()), _) => Ok(Description::Described(spec)),
        (Err(mismatch), Source::Gguf(_)) => {
            NotModelled::of(arch::gguf_name(&spec), path, Error::Gguf(mismatch)).map(Description::Opaque)
        }
        (Err(mismatch), Source::Folder(_)) => Err(Error::Safetensors(mismatch)),
    }
}

impl Spec {
    /// The shape that a config.json describes, without weights (for synthetic ones).
    pub fn from_config(path: &Path) -> Result<Self, Error> {
        let json = json::read(path, CONFIG_LIMIT)?;
        arch::from_config(&Object::new(path, &json))
    }
}
