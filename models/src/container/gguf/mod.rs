//! GGUF files, versions 2 and 3, little-endian: reading and writing the header. Sizes are checked before memory is allocated, and
//! an allocation is at most as large as the part of the file that it holds. Tensor data is located, but not read.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod metadata;
mod reader;
mod tensors;
mod value;
mod write;

use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

pub use metadata::Metadata;
pub use tensors::TensorEntry;
pub use value::{Array, Strings, Value};

use self::reader::{Reader, limits, signed};
pub(crate) use self::write::{ALIGNMENT, KeyValues, NewTensor, header};
use super::{FileFormat, OtherFormat, by_name, identify, map};
use crate::error::{Cause, Error, Mismatch};

/// A GGUF file: its header, and its bytes as a mapping.
#[derive(Clone, Debug)]
pub struct File {
    /// The header.
    pub header: Header,
    /// The whole file.
    pub map: Arc<Mmap>,
}

/// A header that passed every check.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Format version, 2 or 3.
    pub version: u32,
    /// Alignment of the tensors in bytes.
    pub alignment: u32,
    /// Keys and values.
    pub metadata: Metadata,
    /// Tensors, in the order of the file.
    pub tensors: Vec<TensorEntry>,
    /// The byte at which the tensor data begins.
    pub data_start: u64,
}

impl File {
    /// Maps the file at `path` and reads its header. A file without tensors (a vocabulary) is valid here.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let map = map(path)?;
        let header = Header::parse(path, &map)?;
        Ok(Self { header, map })
    }
}

impl Header {
    /// Reads the header of the GGUF file whose bytes are `bytes`, all of them; `file` is for messages only.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let other = |OtherFormat { name, advice }| Error::NotAModel {
            path: file.to_path_buf(),
            found: format!("it is {name}"),
            advice: advice.to_owned(),
        };
        match identify(bytes) {
            FileFormat::Gguf => Self::read(file, bytes).map_err(Error::Gguf),
            FileFormat::Other(format) => Err(other(format)),
            FileFormat::Safetensors => {
                let folder = file.parent().filter(|folder| folder.join("config.json").is_file());
                Err(Error::NotAModel {
                    path: file.to_path_buf(),
                    found: "it is a safetensors file".to_owned(),
                    advice: match folder {
                        Some(folder) if !folder.as_os_str().is_empty() => {
                            format!("give its folder, {}", folder.display())
                        }
                        _ => "give the folder that holds it together with config.json".to_owned(),
                    },
                })
            }
            FileFormat::Unknown => {
                if let Some(format) = by_name(file) {
                    return Err(other(format));
                }
                let start: Vec<String> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
                let found = if start.is_empty() { "nothing".to_owned() } else { start.join(" ") };
                let (expected, advice) = ("`GGUF` (47 47 55 46)", "give a .gguf file or a folder with config.json");
                Err(Error::Gguf(Mismatch::at(file, "byte 0, magic", expected, found, advice)))
            }
        }
    }

    fn read(file: &Path, bytes: &[u8]) -> Result<Self, Box<Mismatch>> {
        let mut reader = Reader::new(file, bytes);
        reader.take(4, "magic")?;
        let version = version(file, &mut reader)?;
        let counts_at = reader.at();
        let tensor_count = reader.u64("number of tensors")?;
        let entry_count = reader.u64("number of metadata keys")?;
        let too_many = |what: &str, at: usize, size: u64, count: u64, left: u64| {
            let fits = format!("at most {} (the rest of the file)", left / size);
            reader.mismatch(at, what, fits, signed(count), Cause::Damaged)
        };
        let left = reader.left();
        let tensors_take = tensor_count.checked_mul(limits::SMALLEST_TENSOR).filter(|bytes| *bytes <= left);
        let Some(tensors_take) = tensors_take else {
            return Err(too_many("number of tensors", counts_at, limits::SMALLEST_TENSOR, tensor_count, left));
        };
        if entry_count.checked_mul(limits::SMALLEST_ENTRY).is_none_or(|bytes| bytes > left - tensors_take) {
            return Err(too_many(
                "number of metadata keys",
                counts_at + 8,
                limits::SMALLEST_ENTRY,
                entry_count,
                left - tensors_take,
            ));
        }
        let metadata = Metadata::read(&mut reader, file, entry_count)?;
        let alignment = alignment(file, &metadata)?;
        let tensors = tensors::read(&mut reader, tensor_count)?;
        let data_start = (reader.at() as u64).next_multiple_of(u64::from(alignment));
        let tensors = tensors::place(file, tensors, data_start, alignment, bytes.len() as u64)?;
        Ok(Self { version, alignment, metadata, tensors, data_start })
    }
}

fn version(file: &Path, reader: &mut Reader<'_>) -> Result<u32, Box<Mismatch>> {
    let place = format!("byte {}, version", reader.at());
    let version = reader.u32("version")?;
    let (found, advice) = match version {
        2 | 3 => return Ok(version),
        1 => (
            "1, the first draft of the format".to_owned(),
            "convert the model again with a current llama.cpp, or take a newer file",
        ),
        // In a big-endian file, the low half of the version is zero when it is read as little-endian.
        _ if version != 0 && version.trailing_zeros() >= 16 => {
            (format!("{} in big-endian order", version.swap_bytes()), "take the little-endian file of this model")
        }
        _ => (version.to_string(), Cause::Unexpected.advice()),
    };
    Err(Mismatch::at(file, place, "2 or 3", found, advice))
}

fn alignment(file: &Path, metadata: &Metadata) -> Result<u32, Box<Mismatch>> {
    const KEY: &str = "general.alignment";
    let mismatch = |found: String| {
        let expected = format!("a U32 that is a power of two, at most {}", limits::ALIGNMENT);
        Mismatch::at(file, format!("key `{KEY}`"), expected, found, Cause::WrittenWrongly)
    };
    match metadata.read_value(KEY)? {
        None => Ok(limits::DEFAULT_ALIGNMENT),
        Some(Value::U32(alignment)) if alignment.is_power_of_two() && *alignment <= limits::ALIGNMENT => Ok(*alignment),
        Some(Value::U32(alignment)) => Err(mismatch(alignment.to_string())),
        Some(other) => Err(mismatch(format!("{other}, of another type"))),
    }
}
