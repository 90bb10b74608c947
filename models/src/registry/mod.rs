//! The models that are known by name. The data is in `models`; adding a model is adding an entry there.

mod entry;
mod models;

pub use entry::{ChatStyle, Entry, Mirror, Source};
pub use models::MODELS;

use crate::checkpoint::Checkpoint;
use crate::error::{Error, nearest};
use crate::spec::Spec;

/// The model that is measured when none is named.
pub const DEFAULT: &str = "smollm2-135m";

/// The entry of this name or alias, in either case; else an error with the nearest name and the list.
pub fn find(name: &str) -> Result<&'static Entry, Error> {
    let wanted = name.trim();
    let known = |entry: &&Entry| entry.names().any(|known| known.eq_ignore_ascii_case(wanted));
    MODELS.iter().find(known).ok_or_else(|| Error::UnknownModel {
        name: crate::checkpoint::gguf::shown(name),
        near: nearest(wanted, MODELS.iter().flat_map(Entry::names)),
        known: MODELS.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", "),
    })
}

/// The sliding window that a checkpoint lacks and should have: that of the registered model whose shape and base of frequencies
/// it has and whose name it carries (in the header or in the file's name). Mistral's GGUF files need it; v0.2 and later have
/// another base and no window.
#[must_use]
pub fn window(checkpoint: &Checkpoint) -> Option<usize> {
    let spec = checkpoint.spec();
    let metadata =
        |key: &str| checkpoint.metadata().and_then(|metadata| metadata.get(key)?.as_str()).unwrap_or_default();
    let path = checkpoint.path().file_name().unwrap_or_default().to_string_lossy();
    let names = [checkpoint.name(), metadata("general.basename"), &path].map(str::to_lowercase);
    let named = |entry: &Entry| names.iter().any(|name| name.contains(entry.spec.arch.name()));
    let entry =
        MODELS.iter().find(|entry| entry.spec.window.is_some() && same_shape(&entry.spec, spec) && named(entry))?;
    if spec.window.is_some() { None } else { entry.spec.window }
}

/// Whether two shapes have the same weights and frequencies. (Vocabularies may differ: fine-tuned models add tokens.)
fn same_shape(one: &Spec, other: &Spec) -> bool {
    let sizes = |spec: &Spec| [spec.layers, spec.hidden, spec.ffn, spec.heads, spec.kv_heads, spec.head_dim];
    sizes(one) == sizes(other) && (one.rope.theta - other.rope.theta).abs() < 1.0
}

impl Entry {
    /// Its name and its aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// The GGUF file in this quantisation, in either case, as far as its repository is known to have it.
    #[must_use]
    pub fn quant(&self, quant: &str) -> Option<Source> {
        let (_, file) = self.quants.iter().find(|(name, _)| name.eq_ignore_ascii_case(quant))?;
        let same = *file == self.gguf.file;
        Some(if same { self.gguf } else { Source { file, sha256: None, bytes: None, ..self.gguf } })
    }
}
