//! The header of a GGUF file, versions 2 and 3, little-endian. Everything is checked before anything is allocated for it, and
//! whatever is allocated is at most as large as the part of the file that it comes from. Tensor data is placed, never read.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod cursor;
mod limits;
mod metadata;
mod open;
mod tensors;
mod value;
mod write;

use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

pub use metadata::Metadata;
pub use tensors::Entry;
pub use value::{Array, Strings, Value};

pub(crate) use self::cursor::shown;
use self::cursor::{CONVERT_AGAIN, Cursor, FETCH_AGAIN, signed};
pub(crate) use self::open::{file_type, open, token_text};
pub(crate) use self::write::{ALIGNMENT, Pairs, Slot, header};
use super::{mapping, sniff};
use crate::error::{Error, Fault};

/// A GGUF file: its header, and its bytes as a mapping.
#[derive(Clone, Debug)]
pub struct File {
    /// What the header says.
    pub header: Header,
    /// The whole file.
    pub map: Arc<Mmap>,
}

/// A header that passed every check.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Format version, 2 or 3.
    pub version: u32,
    /// Bytes that offsets of tensors are a multiple of.
    pub alignment: u32,
    /// Keys and values.
    pub metadata: Metadata,
    /// Tensors, in the order of the file.
    pub tensors: Vec<Entry>,
    /// Byte where the data of the tensors begins.
    pub data_start: u64,
}

impl File {
    /// Maps the file at `path` and reads its header. A file without tensors (a vocabulary) is fine here.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let map = mapping::map(path)?;
        let header = Header::parse(path, &map)?;
        Ok(Self { header, map })
    }
}

impl Header {
    /// Reads the header of the GGUF file whose bytes are `bytes`, all of them; `file` is for messages only.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Self, Error> {
        match sniff::sniff(bytes) {
            sniff::Kind::Gguf => Self::read(file, bytes).map_err(Error::Gguf),
            sniff::Kind::Foreign(found, advice) => Err(Error::NotAModel {
                path: file.to_path_buf(),
                found: format!("it is {found}"),
                advice: advice.to_owned(),
            }),
            sniff::Kind::Safetensors => Err(Error::NotAModel {
                path: file.to_path_buf(),
                found: "it is a safetensors file".to_owned(),
                advice: "give the folder that holds it together with config.json".to_owned(),
            }),
            sniff::Kind::Unknown => {
                let start: Vec<String> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
                let found = if start.is_empty() { "nothing".to_owned() } else { start.join(" ") };
                Err(Error::Gguf(Fault::at(
                    file,
                    "byte 0, magic",
                    "`GGUF` (47 47 55 46)",
                    found,
                    "give a .gguf file or a folder with config.json",
                )))
            }
        }
    }

    fn read(file: &Path, bytes: &[u8]) -> Result<Self, Box<Fault>> {
        let mut cursor = Cursor::new(file, bytes);
        cursor.take(4, "magic")?;
        let version = version(&mut cursor)?;
        let counts_at = cursor.at();
        let tensor_count = cursor.u64("number of tensors")?;
        let entry_count = cursor.u64("number of metadata keys")?;
        let too_many = |what: &str, at: usize, size: u64, count: u64, left: u64| {
            let fits = format!("at most {} (the rest of the file)", left / size);
            cursor.fault(at, what, fits, signed(count), FETCH_AGAIN)
        };
        let left = cursor.left();
        let tensors_take = tensor_count.checked_mul(limits::TENSOR).filter(|bytes| *bytes <= left);
        let Some(tensors_take) = tensors_take else {
            return Err(too_many("number of tensors", counts_at, limits::TENSOR, tensor_count, left));
        };
        if entry_count.checked_mul(limits::ENTRY).is_none_or(|bytes| bytes > left - tensors_take) {
            return Err(too_many(
                "number of metadata keys",
                counts_at + 8,
                limits::ENTRY,
                entry_count,
                left - tensors_take,
            ));
        }
        let metadata = Metadata::read(&mut cursor, file, entry_count)?;
        let alignment = alignment(file, &metadata)?;
        let tensors = tensors::read(&mut cursor, tensor_count)?;
        let data_start = (cursor.at() as u64).next_multiple_of(u64::from(alignment));
        let tensors = tensors::place(file, tensors, data_start, alignment, bytes.len() as u64)?;
        Ok(Self { version, alignment, metadata, tensors, data_start })
    }
}

fn version(cursor: &mut Cursor<'_>) -> Result<u32, Box<Fault>> {
    let at = cursor.at();
    let version = cursor.u32("version")?;
    let (found, advice) = match version {
        2 | 3 => return Ok(version),
        0 => ("0".to_owned(), FETCH_AGAIN),
        1 => (
            "1, the first draft of the format".to_owned(),
            "convert the model again with a current llama.cpp, or take a newer file",
        ),
        // The version of a big-endian file, read as little-endian, has its low half empty.
        _ if version.trailing_zeros() >= 16 => {
            (format!("{} in big-endian order", version.swap_bytes()), "take the little-endian file of this model")
        }
        _ => (version.to_string(), "the file is newer than this program, or damaged"),
    };
    Err(cursor.fault(at, "version", "2 or 3", found, advice))
}

fn alignment(file: &Path, metadata: &Metadata) -> Result<u32, Box<Fault>> {
    const KEY: &str = "general.alignment";
    let fault = |found: String| {
        let expected = format!("a U32 that is a power of two, at most {}", limits::ALIGNMENT);
        Fault::at(file, format!("key `{KEY}`"), expected, found, CONVERT_AGAIN)
    };
    match metadata.get(KEY) {
        None => Ok(limits::DEFAULT_ALIGNMENT),
        Some(Value::U32(alignment)) if alignment.is_power_of_two() && *alignment <= limits::ALIGNMENT => Ok(*alignment),
        Some(Value::U32(alignment)) => Err(fault(alignment.to_string())),
        Some(other) => Err(fault(format!("{other}, of another type"))),
    }
}
