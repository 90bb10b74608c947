//! Writes GGUF files from raw parts, so that tests can make any field invalid.

/// Numbers of value types.
pub(crate) const U8: u32 = 0;
pub(crate) const U32: u32 = 4;
pub(crate) const F32: u32 = 6;
pub(crate) const BOOL: u32 = 7;
pub(crate) const STRING: u32 = 8;
pub(crate) const ARRAY: u32 = 9;

/// A file in parts.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u32,
    /// The number in the header; `None`: the correct one.
    pub(crate) tensor_count: Option<u64>,
    pub(crate) key_count: Option<u64>,
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) tensors: Vec<Vec<u8>>,
    /// The alignment of the data.
    pub(crate) alignment: usize,
    /// Bytes after the header.
    pub(crate) data: Vec<u8>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            magic: *b"GGUF",
            version: 3,
            tensor_count: None,
            key_count: None,
            keys: Vec::new(),
            tensors: Vec::new(),
            alignment: 32,
            data: Vec::new(),
        }
    }
}

impl File {
    /// Two small tensors (4 x 8 F32 and one row of Q4_0) and three keys.
    pub(crate) fn valid() -> Self {
        Self {
            keys: vec![
                key("general.architecture", STRING, &text("llama")),
                key("llama.block_count", U32, &2u32.to_le_bytes()),
                key("tokens", ARRAY, &array(STRING, 2, &[text("a"), text("bc")].concat())),
            ],
            tensors: vec![tensor("first", &[8, 4], 0, 0), tensor("second", &[32], 2, 128)],
            data: vec![0; 128 + 32],
            ..Self::default()
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        bytes.extend(self.key_count.unwrap_or(self.keys.len() as u64).to_le_bytes());
        bytes.extend(self.keys.concat());
        bytes.extend(self.tensors.concat());
        bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
        bytes.extend(&self.data);
        bytes
    }
}

/// A length and a text.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// A key, its type and its value.
pub(crate) fn key(name: &str, id: u32, value: &[u8]) -> Vec<u8> {
    [&text(name), &id.to_le_bytes()[..], value].concat()
}

/// The value of a key of type [`ARRAY`].
pub(crate) fn array(id: u32, count: u64, elements: &[u8]) -> Vec<u8> {
    [&id.to_le_bytes()[..], &count.to_le_bytes(), elements].concat()
}

/// An entry of the table of tensors; `dims` in the order of the file (columns first).
pub(crate) fn tensor(name: &str, dims: &[u64], id: u32, offset: u64) -> Vec<u8> {
    let mut bytes = text(name);
    bytes.extend((dims.len() as u32).to_le_bytes());
    bytes.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
    bytes.extend(id.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}
