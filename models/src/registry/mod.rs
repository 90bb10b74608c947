//! The models that are known by name. To add one, add an entry to the data in `entries`.

mod entries;
mod entry;

pub use entries::MODELS;
pub use entry::{ChatStyle, Entry, Mirror, Source};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, nearest, printable};
use crate::spec::Spec;

/// The default model.
pub const DEFAULT: &str = "smollm2-135m";

/// The entry of this name or alias, ignoring case; else an error with the nearest name and the list of names.
pub fn find(name: &str) -> Result<&'static Entry, Error> {
    let wanted = name.trim();
    let known = |entry: &&Entry| entry.names().any(|known| known.eq_ignore_ascii_case(wanted));
    MODELS.iter().find(known).ok_or_else(|| Error::UnknownModel {
        name: printable(name),
        near: nearest(wanted, MODELS.iter().flat_map(Entry::names)),
        known: MODELS.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", "),
    })
}

/// The sliding window that a checkpoint should have, but lacks: that of the registered model with the same shape, rotary base and name
/// (in the header or the file name). Mistral's GGUF files need it; v0.2 and later have another base and no window.
#[must_use]
pub fn missing_window(checkpoint: &Checkpoint) -> Option<usize> {
    let spec = checkpoint.spec();
    let metadata = |key: &str| checkpoint.metadata().and_then(|metadata| metadata.text(key).ok()?).unwrap_or_default();
    let path = checkpoint.path().file_name().unwrap_or_default().to_string_lossy();
    let names = [checkpoint.name(), metadata("general.basename"), &path].map(str::to_lowercase);
    let has_name = |entry: &Entry| names.iter().any(|name| name.contains(entry.spec.arch.name()));
    let entry =
        MODELS.iter().find(|entry| entry.spec.window.is_some() && same_shape(&entry.spec, spec) && has_name(entry))?;
    if spec.window.is_some() { None } else { entry.spec.window }
}

/// Whether two shapes have the same layers and frequencies. Vocabularies may differ: fine-tuned models add tokens.
fn same_shape(one: &Spec, other: &Spec) -> bool {
    let sizes = |spec: &Spec| [spec.layers, spec.hidden, spec.ffn, spec.heads, spec.kv_heads, spec.head_dim];
    sizes(one) == sizes(other) && (one.rope.theta - other.rope.theta).abs() < 1.0
}
