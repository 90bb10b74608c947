//! The models that are known by name. To add one, add an entry to the data in `entries`.

mod entries;
mod entry;
mod shapes;

pub use entries::MODELS;
pub use entry::{Entry, Mirror, Source, Wheel};

use crate::checkpoint::{Checkpoint, Description};
use crate::error::{Error, nearest, printable};
use crate::spec::{Attention, Layer, Mixer, Spec};

/// The default model.
pub const DEFAULT: &str = "smollm2-135m";

/// The models that predictions of a run are shown for: those that the tool was built for.
#[must_use]
pub fn reference_models() -> &'static [Entry] {
    MODELS.split_at(entries::REFERENCE).0
}

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
    let Description::Described(spec) = checkpoint.description() else { return None };
    let metadata = |key: &str| checkpoint.metadata().and_then(|metadata| metadata.text(key).ok()?).unwrap_or_default();
    let path = checkpoint.path().file_name().unwrap_or_default().to_string_lossy();
    let names = [checkpoint.name(), metadata("general.basename"), &path].map(str::to_lowercase);
    let has_name = |spec: &Spec| names.iter().any(|name| name.contains(spec.arch.name()));
    let found = MODELS.iter().find_map(|entry| {
        let known = entry.spec();
        let window = known.smallest_window()?;
        (same_shape(&known, spec) && has_name(&known)).then_some(window)
    });
    found.filter(|_| spec.smallest_window().is_none())
}

/// Whether two shapes have the same layers and frequencies, apart from windows and from the order of rotated elements, which a file may
/// lack or change. Vocabularies may differ: fine-tuned models add tokens.
fn same_shape(one: &Spec, other: &Spec) -> bool {
    let same = |one: &Layer, other: &Layer| {
        let base = |attention: &Attention| attention.rope.as_ref().map_or(0.0, |rope| rope.theta);
        let same_mixer = match (&one.mixer, &other.mixer) {
            (Mixer::Attention(a), Mixer::Attention(b)) => {
                (a.heads, a.kv_heads, a.head_dim) == (b.heads, b.kv_heads, b.head_dim)
                    && (base(a) - base(b)).abs() < 1.0
            }
            (one, other) => one == other,
        };
        same_mixer && one.feed_forward == other.feed_forward
    };
    one.hidden == other.hidden
        && one.layers.len() == other.layers.len()
        && one.layers.iter().zip(&other.layers).all(|(one, other)| same(one, other))
}
