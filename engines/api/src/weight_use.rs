//! How an engine keeps and multiplies weights: what estimates of its memory and times need beside the shape of a model.

use models::cost::{WeightTypes, matrix_bytes};
use models::{Bytes, DType, Spec};
use serde::{Deserialize, Serialize};

/// How an engine keeps and multiplies weights under its default settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightUse {
    /// The matrices that it keeps twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<Copies>,
    /// Whether products with experts compute one row of activations after the other, however many rows an expert has. A row then takes
    /// the arithmetic of a product of one row. Otherwise all rows of an expert are computed together.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub experts_by_row: bool,
}

/// Matrices that are in memory twice: in the mapped file, and in a layout of the engine that products read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copies {
    /// The types of which copies are made.
    pub types: Vec<DType>,
    /// The setting without which no copies are made, as users write it: `repack=off`.
    pub avoided_by: String,
}

impl WeightUse {
    /// Whether nothing is to be said: each matrix is in memory once, and the rows of an expert are computed together.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// The same under settings of the engine, given as keys and values.
    #[must_use]
    pub fn under<'a>(mut self, settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut settings = settings.into_iter();
        self.copies
            .take_if(|copies| settings.any(|(key, value)| copies.avoided_by.split_once('=') == Some((key, value))));
        self
    }

    /// The bytes of the copies:
    ///
    /// ```text
    /// sum over the copied types of the bytes of the matrices that products read
    /// ```
    #[must_use]
    pub fn copied_bytes(&self, spec: &Spec, types: &WeightTypes) -> Bytes {
        let Some(Copies { types: copied, .. }) = &self.copies else { return Bytes(0) };
        let matrices = matrix_bytes(spec, types);
        copied.iter().filter_map(|dtype| matrices.get(dtype)).fold(Bytes(0), |sum, bytes| sum + *bytes)
    }
}

#[cfg(test)]
mod tests {
    use models::registry;

    use super::*;

    #[test]
    fn only_the_matrices_of_copied_types_count() {
        let spec = registry::find("llama-3.2-1b").unwrap().spec();
        let types = WeightTypes::by_name(&spec, |name| if name.contains("ffn") { DType::Q4_0 } else { DType::Q6_K });
        let copying = |types: &[DType]| WeightUse {
            copies: Some(Copies { types: types.to_vec(), avoided_by: "repack=off".to_owned() }),
            experts_by_row: false,
        };
        let feed_forward = Bytes(16 * 3 * 2048 * 8192 / 32 * 18);
        assert_eq!(copying(&[DType::Q4_0]).copied_bytes(&spec, &types), feed_forward);
        assert_eq!(copying(&[DType::Q8_0]).copied_bytes(&spec, &types), Bytes(0));
        assert_eq!(WeightUse::default().copied_bytes(&spec, &types), Bytes(0));
    }

    #[test]
    fn a_setting_avoids_the_copies() {
        let copies = Copies { types: vec![DType::Q4_0], avoided_by: "repack=off".to_owned() };
        let own = WeightUse { copies: Some(copies), experts_by_row: true };
        assert_eq!(own.clone().under([("repack", "on"), ("mmap", "off")]), own);
        assert_eq!(own.under([("repack", "off")]), WeightUse { copies: None, experts_by_row: true });
    }

    #[test]
    fn a_plain_use_is_not_written() {
        assert!(WeightUse::default().is_plain());
        assert_eq!(serde_json::to_string(&WeightUse::default()).unwrap(), "{}");
        assert_eq!(serde_json::from_str::<WeightUse>("{}").unwrap(), WeightUse::default());
    }
}
