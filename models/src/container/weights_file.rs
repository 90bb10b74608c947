//! A file of weights: mapping it read-only, and identifying its format from the first bytes, so that the error about a wrong file
//! names what it is.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::error::Error;

/// Maps the file at `path`. Nothing is read yet: pages are loaded when they are accessed.
pub(crate) fn map(path: &Path) -> Result<Arc<Mmap>, Error> {
    // Checked before the file is opened: opening a named pipe would block until something writes to it.
    let metadata = std::fs::metadata(path).map_err(|source| Error::io("open", path, source))?;
    let refused = |found: &str, advice: &str| Error::NotAModel {
        path: path.to_path_buf(),
        found: found.to_owned(),
        advice: advice.to_owned(),
    };
    if !metadata.is_file() {
        return Err(refused("it is not a regular file", "give a .gguf file or a folder with config.json"));
    }
    if metadata.len() == 0 {
        return Err(refused("the file is empty", "the download failed: fetch it again"));
    }
    let file = File::open(path).map_err(|source| Error::io("open", path, source))?;
    map_file(&file).map(Arc::new).map_err(|source| Error::io("map", path, source))
}

#[allow(unsafe_code, reason = "a mapping is the only way to share the weights with the page cache")]
fn map_file(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the mapping is private, read-only and owned, so nothing in this process changes it. Another process may: if it
    // truncates the file while it is mapped, touching a page past the new end raises SIGBUS and ends the process; if it
    // overwrites the file, weights change under the engine. Both hold for every engine that maps its weights (llama.cpp too).
    // Downloads never do it: they write to another file and rename it. Every value is valid for the types read from here (plain
    // integers and floats), and text is checked once, when it is copied out.
    unsafe { Mmap::map(file) }
}

/// The format of a file according to its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileFormat {
    /// GGUF, according to the magic number.
    Gguf,
    /// safetensors: a length of eight bytes and a JSON object.
    Safetensors,
    /// Another known format, which is not supported.
    Other {
        /// What the file is.
        name: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// No known format.
    Unknown,
}

const FETCH_AGAIN: &str = "fetch the model again, from the file's download address";
const CONVERT: &str = "convert it to GGUF, or take the safetensors files of the same model";
const OLD: &str = "convert the model again with a current llama.cpp, or fetch a GGUF file of it";
const UNPACK: &str = "unpack it first";

const fn other(name: &'static str, advice: &'static str) -> FileFormat {
    FileFormat::Other { name, advice }
}

/// Signatures at offset 0; the first match is taken.
const SIGNATURES: [(&[u8], FileFormat); 17] = [
    (b"GGUF", FileFormat::Gguf),
    (b"FUGG", other("a GGUF file with its bytes swapped", "take the little-endian file of this model")),
    (b"lmgg", other("a GGML file, the format before GGUF", OLD)),
    (b"fmgg", other("a GGMF file, the format before GGUF", OLD)),
    (b"tjgg", other("a GGJT file, the format before GGUF", OLD)),
    (b"algg", other("a GGLA adapter, the format before GGUF", OLD)),
    (b"PK\x03\x04", other("a zip archive (a PyTorch checkpoint is one)", CONVERT)),
    (b"\x80\x02", other("a Python pickle (an old PyTorch checkpoint)", CONVERT)),
    (b"\x80\x03", other("a Python pickle", CONVERT)),
    (b"\x80\x04", other("a Python pickle", CONVERT)),
    (b"\x80\x05", other("a Python pickle", CONVERT)),
    (b"\x93NUMPY", other("a NumPy array", CONVERT)),
    (b"\x89HDF", other("an HDF5 file (a Keras checkpoint)", CONVERT)),
    (b"\x1f\x8b", other("a gzip archive", UNPACK)),
    (b"\x28\xb5\x2f\xfd", other("a Zstandard archive", UNPACK)),
    (b"\x7fELF", other("a program", "give a .gguf file or a folder with config.json")),
    (
        b"version https://git-lfs.github.com/spec/",
        other("a Git LFS pointer, not the file itself", "run `git lfs pull`, or fetch the file"),
    ),
];

/// Identifies the format of a file from `bytes`, its beginning.
pub(crate) fn identify(bytes: &[u8]) -> FileFormat {
    // Checked first: the length at the start of such a file can equal another signature (640 is that of a pickle).
    if bytes.get(8) == Some(&b'{') && bytes.get(4..8) == Some(&[0; 4]) {
        return FileFormat::Safetensors;
    }
    if let Some((_, format)) = SIGNATURES.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return *format;
    }
    let text: Vec<u8> = bytes.iter().take(512).copied().skip_while(u8::is_ascii_whitespace).take(16).collect();
    let text = text.to_ascii_lowercase();
    if [&b"<!doctype"[..], b"<html", b"<head", b"<body"].iter().any(|tag| text.starts_with(tag)) {
        return other("a web page, likely an error page of the server", FETCH_AGAIN);
    }
    match text.first() {
        Some(b'<') => other("an XML document, likely an error message of the server", FETCH_AGAIN),
        Some(b'{' | b'[') => {
            other("a JSON document", "give the folder that holds config.json and the weights, or a .gguf file")
        }
        _ => FileFormat::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_formats_are_identified() {
        let named = |bytes: &[u8]| match identify(bytes) {
            FileFormat::Other { name, .. } => name,
            format => panic!("{format:?}"),
        };
        assert_eq!(identify(b"GGUF\x03\0\0\0"), FileFormat::Gguf);
        assert!(named(b"FUGG\0\0\0\x03").contains("swapped"));
        assert!(named(b"\n  <!DOCTYPE HTML><title>503").contains("web page"));
        assert!(named(b"<?xml version='1.0'?><Error>").contains("XML"));
        assert_eq!(identify(b"\x80\x02\0\0\0\0\0\0{\"__metadata__\""), FileFormat::Safetensors);
        assert!(named(b"PK\x03\x04....").contains("zip"));
        assert!(named(b"\x80\x02}q\0").contains("pickle"));
        assert!(named(b"{\"error\": \"not found\"}").contains("JSON"));
        assert!(named(b"version https://git-lfs.github.com/spec/v1\noid").contains("LFS"));
        assert_eq!(identify(b""), FileFormat::Unknown);
        assert_eq!(identify(b"GGU"), FileFormat::Unknown);
        assert_eq!(identify(b"hello"), FileFormat::Unknown);
    }
}
