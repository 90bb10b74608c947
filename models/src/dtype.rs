//! The element types of tensors: three float formats, the block formats of ggml, and those of MLX's checkpoints: their sizes
//! and names. Conversions are in `blocks`.

use std::fmt;

use crate::units::Bytes;

/// How the elements of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[allow(non_camel_case_types, reason = "the usual names of the types")]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    BF16,
    /// 32 elements: scale (f16), 4 bits each.
    Q4_0,
    /// 32 elements: scale and minimum (f16), 4 bits each.
    Q4_1,
    /// 32 elements: scale (f16), 5 bits each.
    Q5_0,
    /// 32 elements: scale and minimum (f16), 5 bits each.
    Q5_1,
    /// 32 elements: scale (f16), 8 bits each.
    Q8_0,
    /// 32 elements: scale and sum (f16), 8 bits each; for activations.
    Q8_1,
    /// 256 elements: 16 sub-blocks of 2 bits.
    Q2_K,
    /// 256 elements: 16 sub-blocks of 3 bits.
    Q3_K,
    /// 256 elements: 8 sub-blocks of 4 bits.
    Q4_K,
    /// 256 elements: 8 sub-blocks of 5 bits.
    Q5_K,
    /// 256 elements: 16 sub-blocks of 6 bits.
    Q6_K,
    /// 256 elements: scale (f32), 8 bits each, 16 sums; for activations.
    Q8_K,
    /// 32 elements: scale (f16), indices of 4 bits in a table.
    IQ4_NL,
    /// 256 elements: scale (f16), 8 scales of 6 bits, indices of 4 bits in a table.
    IQ4_XS,
    /// 32 elements: a power of two, floats of 4 bits (E2M1).
    MXFP4,
    /// MLX's affine quantisation: 2 bits in groups of 32.
    MLX2_32,
    /// MLX's affine quantisation: 2 bits in groups of 64.
    MLX2_64,
    /// MLX's affine quantisation: 2 bits in groups of 128.
    MLX2_128,
    /// MLX's affine quantisation: 3 bits in groups of 32.
    MLX3_32,
    /// MLX's affine quantisation: 3 bits in groups of 64.
    MLX3_64,
    /// MLX's affine quantisation: 3 bits in groups of 128.
    MLX3_128,
    /// MLX's affine quantisation: 4 bits in groups of 32.
    MLX4_32,
    /// MLX's affine quantisation: 4 bits in groups of 64.
    MLX4_64,
    /// MLX's affine quantisation: 4 bits in groups of 128.
    MLX4_128,
    /// MLX's affine quantisation: 5 bits in groups of 32.
    MLX5_32,
    /// MLX's affine quantisation: 5 bits in groups of 64.
    MLX5_64,
    /// MLX's affine quantisation: 5 bits in groups of 128.
    MLX5_128,
    /// MLX's affine quantisation: 6 bits in groups of 32.
    MLX6_32,
    /// MLX's affine quantisation: 6 bits in groups of 64.
    MLX6_64,
    /// MLX's affine quantisation: 6 bits in groups of 128.
    MLX6_128,
    /// MLX's affine quantisation: 8 bits in groups of 32.
    MLX8_32,
    /// MLX's affine quantisation: 8 bits in groups of 64.
    MLX8_64,
    /// MLX's affine quantisation: 8 bits in groups of 128.
    MLX8_128,
}

/// One row of the table of types.
struct Row {
    dtype: DType,
    name: &'static str,
    /// The number that GGUF files use (`enum ggml_type`), or [`NO_ID`].
    id: u32,
    /// Elements per block.
    elems: usize,
    /// Bytes per block.
    bytes: usize,
}

/// The number of a type that GGUF does not have.
const NO_ID: u32 = u32::MAX;

/// All supported types: name, number, elements and bytes per block.
/// Source: `ggml.h` (numbers) and the `block_*` structs of `ggml-common.h` (sizes); MLX's `quantize`, mode affine.
const TABLE: [Row; 36] = [
    Row { dtype: DType::F32, name: "F32", id: 0, elems: 1, bytes: 4 },
    Row { dtype: DType::F16, name: "F16", id: 1, elems: 1, bytes: 2 },
    Row { dtype: DType::BF16, name: "BF16", id: 30, elems: 1, bytes: 2 },
    Row { dtype: DType::Q4_0, name: "Q4_0", id: 2, elems: 32, bytes: 18 },
    Row { dtype: DType::Q4_1, name: "Q4_1", id: 3, elems: 32, bytes: 20 },
    Row { dtype: DType::Q5_0, name: "Q5_0", id: 6, elems: 32, bytes: 22 },
    Row { dtype: DType::Q5_1, name: "Q5_1", id: 7, elems: 32, bytes: 24 },
    Row { dtype: DType::Q8_0, name: "Q8_0", id: 8, elems: 32, bytes: 34 },
    Row { dtype: DType::Q8_1, name: "Q8_1", id: 9, elems: 32, bytes: 36 },
    Row { dtype: DType::Q2_K, name: "Q2_K", id: 10, elems: 256, bytes: 84 },
    Row { dtype: DType::Q3_K, name: "Q3_K", id: 11, elems: 256, bytes: 110 },
    Row { dtype: DType::Q4_K, name: "Q4_K", id: 12, elems: 256, bytes: 144 },
    Row { dtype: DType::Q5_K, name: "Q5_K", id: 13, elems: 256, bytes: 176 },
    Row { dtype: DType::Q6_K, name: "Q6_K", id: 14, elems: 256, bytes: 210 },
    Row { dtype: DType::Q8_K, name: "Q8_K", id: 15, elems: 256, bytes: 292 },
    Row { dtype: DType::IQ4_NL, name: "IQ4_NL", id: 20, elems: 32, bytes: 18 },
    Row { dtype: DType::IQ4_XS, name: "IQ4_XS", id: 23, elems: 256, bytes: 136 },
    Row { dtype: DType::MXFP4, name: "MXFP4", id: 39, elems: 32, bytes: 17 },
    mlx(DType::MLX2_32, "MLX2_32", 2, 32),
    mlx(DType::MLX2_64, "MLX2_64", 2, 64),
    mlx(DType::MLX2_128, "MLX2_128", 2, 128),
    mlx(DType::MLX3_32, "MLX3_32", 3, 32),
    mlx(DType::MLX3_64, "MLX3_64", 3, 64),
    mlx(DType::MLX3_128, "MLX3_128", 3, 128),
    mlx(DType::MLX4_32, "MLX4_32", 4, 32),
    mlx(DType::MLX4_64, "MLX4_64", 4, 64),
    mlx(DType::MLX4_128, "MLX4_128", 4, 128),
    mlx(DType::MLX5_32, "MLX5_32", 5, 32),
    mlx(DType::MLX5_64, "MLX5_64", 5, 64),
    mlx(DType::MLX5_128, "MLX5_128", 5, 128),
    mlx(DType::MLX6_32, "MLX6_32", 6, 32),
    mlx(DType::MLX6_64, "MLX6_64", 6, 64),
    mlx(DType::MLX6_128, "MLX6_128", 6, 128),
    mlx(DType::MLX8_32, "MLX8_32", 8, 32),
    mlx(DType::MLX8_64, "MLX8_64", 8, 64),
    mlx(DType::MLX8_128, "MLX8_128", 8, 128),
];

/// A group of an MLX type: its elements, and a 16-bit scale and bias, which are in separate tensors.
const fn mlx(dtype: DType, name: &'static str, bits: usize, group: usize) -> Row {
    Row { dtype, name, id: NO_ID, elems: group, bytes: group * bits / 8 + 4 }
}

/// Types of `enum ggml_type` that are not supported, for the names in errors.
const UNSUPPORTED: [(u32, &str); 16] = [
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (31, "Q4_0_4_4"),
    (40, "NVFP4"),
];

impl DType {
    /// The types of GGUF files: the float formats and ggml's types, in the order of the table.
    pub const ALL: [Self; 18] = {
        let mut all = [Self::F32; 18];
        let mut at = 0;
        while at < all.len() {
            all[at] = TABLE[at].dtype;
            at += 1;
        }
        all
    };

    /// The types of MLX's checkpoints.
    pub const MLX: [Self; 18] = {
        let mut all = [Self::MLX2_32; 18];
        let mut at = 0;
        while at < all.len() {
            all[at] = TABLE[Self::ALL.len() + at].dtype;
            at += 1;
        }
        all
    };

    const fn row(self) -> &'static Row {
        // The table is in the order of the enum, which a test checks.
        &TABLE[self as usize]
    }

    /// Elements per block; 1 for the float formats.
    #[must_use]
    pub const fn block_elems(self) -> usize {
        self.row().elems
    }

    /// Bytes per block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        self.row().bytes
    }

    /// The MLX type with this number of bits in groups of this number of elements.
    #[must_use]
    pub fn mlx(bits: usize, group: usize) -> Option<Self> {
        Self::MLX.into_iter().find(|dtype| dtype.mlx_bits_and_group_size() == Some((bits, group)))
    }

    /// Bits per element and elements per group of an MLX type.
    #[must_use]
    pub const fn mlx_bits_and_group_size(self) -> Option<(usize, usize)> {
        let Row { id, elems, bytes, .. } = self.row();
        if *id == NO_ID { Some(((*bytes - 4) * 8 / *elems, *elems)) } else { None }
    }

    /// The number of the type in GGUF files; `u32::MAX` for an MLX type, which GGUF files cannot contain.
    #[must_use]
    pub const fn ggml_id(self) -> u32 {
        self.row().id
    }

    /// The name in ggml, such as `Q4_K`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Whether elements are stored in blocks that share a scale.
    #[must_use]
    pub const fn is_quantised(self) -> bool {
        self.row().elems > 1
    }

    /// Bytes per element on average: block bytes / block elements.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "both are below 512")]
    pub const fn bytes_per_elem(self) -> f64 {
        self.row().bytes as f64 / self.row().elems as f64
    }

    /// Bytes of a row of `elems` elements, rounded up to complete blocks. Readers refuse rows that are not a multiple of the block.
    #[must_use]
    pub const fn row_bytes(self, elems: usize) -> Bytes {
        Bytes((elems.div_ceil(self.row().elems) as u64).saturating_mul(self.row().bytes as u64))
    }

    /// The type with this number in GGUF files, if it is supported.
    #[must_use]
    pub fn from_ggml_id(id: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.id == id && id != NO_ID).map(|row| row.dtype)
    }

    /// The type of this name, ignoring case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name.eq_ignore_ascii_case(name)).map(|row| row.dtype)
    }

    /// The name of type number `id` in ggml, whether it is supported or not.
    #[must_use]
    pub fn ggml_name(id: u32) -> Option<&'static str> {
        let supported = Self::from_ggml_id(id).map(Self::name);
        supported.or_else(|| UNSUPPORTED.iter().find(|row| row.0 == id).map(|row| row.1))
    }
}

impl fmt::Display for DType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(row.dtype as usize, at, "{}", row.name);
            assert_eq!(DType::from_ggml_id(row.id), (row.id != NO_ID).then_some(row.dtype));
            assert_eq!(DType::from_name(&row.name.to_lowercase()), Some(row.dtype));
            assert!(UNSUPPORTED.iter().all(|(id, name)| *id != row.id && *name != row.name));
        }
    }

    #[test]
    fn blocks_have_the_sizes_of_their_parts() {
        // scale f16 + 32 x 4 bits; scales and minima of a K block: see ggml-common.h.
        assert_eq!(DType::Q4_0.block_bytes(), 2 + 32 / 2);
        assert_eq!(DType::Q5_1.block_bytes(), 2 + 2 + 4 + 32 / 2);
        assert_eq!(DType::Q8_1.block_bytes(), 2 + 2 + 32);
        assert_eq!(DType::Q2_K.block_bytes(), 256 / 16 + 256 / 4 + 2 + 2);
        assert_eq!(DType::Q3_K.block_bytes(), 256 / 8 + 256 / 4 + 12 + 2);
        assert_eq!(DType::Q4_K.block_bytes(), 2 + 2 + 12 + 256 / 2);
        assert_eq!(DType::Q5_K.block_bytes(), 2 + 2 + 12 + 256 / 8 + 256 / 2);
        assert_eq!(DType::Q6_K.block_bytes(), 256 / 2 + 256 / 4 + 256 / 16 + 2);
        assert_eq!(DType::Q8_K.block_bytes(), 4 + 256 + 256 / 16 * 2);
        assert_eq!(DType::IQ4_NL.block_bytes(), 2 + 32 / 2);
        assert_eq!(DType::IQ4_XS.block_bytes(), 2 + 2 + 256 / 64 + 256 / 2);
        assert_eq!(DType::MXFP4.block_bytes(), 1 + 32 / 2);
    }

    #[test]
    fn mlx_types_are_found_by_bits_and_group_size() {
        assert_eq!(DType::mlx(4, 64), Some(DType::MLX4_64));
        assert_eq!(
            (DType::MLX3_128.mlx_bits_and_group_size(), DType::Q4_0.mlx_bits_and_group_size()),
            (Some((3, 128)), None)
        );
        assert_eq!(DType::mlx(7, 64), None);
        // 64 elements of 4 bits, a scale and a bias.
        assert_eq!(DType::MLX4_64.row_bytes(128), Bytes(2 * (32 + 2 + 2)));
        assert_eq!(DType::from_ggml_id(DType::MLX8_32.ggml_id()), None);
    }

    #[test]
    fn row_sizes_and_names() {
        assert_eq!(DType::Q4_1.row_bytes(576), Bytes(18 * 20));
        assert_eq!(DType::F16.row_bytes(3), Bytes(6));
        assert_eq!(DType::ggml_name(20), Some("IQ4_NL"));
        assert_eq!(DType::ggml_name(999), None);
    }
}
