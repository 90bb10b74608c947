//! The format of a file according to its first bytes or its name, so that the error about a wrong file names what it is.

use std::path::Path;

use crate::error::printable;

/// The format of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileFormat {
    /// GGUF, according to the magic number.
    Gguf,
    /// safetensors: a length of eight bytes and a JSON object.
    Safetensors,
    /// Another known format, which is not supported.
    Other(OtherFormat),
    /// No known format.
    Unknown,
}

/// A known format that is not supported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OtherFormat {
    /// What the file is.
    pub(crate) name: String,
    /// What to do.
    pub(crate) advice: &'static str,
}

const FETCH_AGAIN: &str = "the download failed: fetch the file again, from its download address";
const TEXT: &str =
    "give the file itself; if this one was downloaded, its text is a message of the server: fetch it again";
const CONVERT: &str = "convert it to GGUF, or take the safetensors files of the same model";
const OLD: &str = "convert the model again with a current llama.cpp, or fetch a GGUF file of it";
const UNPACK: &str = "unpack it first";
const GIVE_MODEL: &str = "give a .gguf file or a folder with config.json";
const OTHER_ENGINE: &str = "take the safetensors or a GGUF file of the same model";
const LITTLE_ENDIAN: &str = "take the little-endian file of this model";

/// Signatures: where they stand, their bytes, what the file is, what to do. The first match is taken.
const SIGNATURES: [(usize, &[u8], &str, &str); 29] = [
    (0, b"FUGG", "a GGUF file with its bytes swapped", LITTLE_ENDIAN),
    (0, b"lmgg", "a GGML file, the format before GGUF", OLD),
    (0, b"fmgg", "a GGMF file, the format before GGUF", OLD),
    (0, b"tjgg", "a GGJT file, the format before GGUF", OLD),
    (0, b"algg", "a GGLA adapter, the format before GGUF", OLD),
    (0, b"PK\x03\x04", "a zip archive (a PyTorch checkpoint is one)", CONVERT),
    (0, b"\x80\x02", "a Python pickle (an old PyTorch checkpoint)", CONVERT),
    (0, b"\x80\x03", "a Python pickle", CONVERT),
    (0, b"\x80\x04", "a Python pickle", CONVERT),
    (0, b"\x80\x05", "a Python pickle", CONVERT),
    (0, b"\x93NUMPY", "a NumPy array", CONVERT),
    (0, b"\x89HDF", "an HDF5 file (a Keras checkpoint)", CONVERT),
    (0, b"\x1f\x8b", "a gzip archive", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", UNPACK),
    (0, b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (0, b"BZh", "a bzip2 archive", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (0, b"Rar!", "a RAR archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (4, b"TFL3", "a TensorFlow Lite model", OTHER_ENGINE),
    (0, b"SQLite format 3", "an SQLite database", GIVE_MODEL),
    (0, b"MZqFpD", "a llamafile, a program with the weights inside", "unpack its .gguf file with `unzip`"),
    (0, b"MZ", "a program", GIVE_MODEL),
    (0, b"\x7fELF", "a program", GIVE_MODEL),
    (0, b"#!", "a script", GIVE_MODEL),
    (
        0,
        b"\0\x05\x16\x07",
        "the macOS metadata of a file (AppleDouble), not the file itself",
        "give the file without `._` in front of its name",
    ),
    (
        0,
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer, not the file itself",
        "run `git lfs pull`, or fetch the file",
    ),
    (0, b"version https://hawser.github.com/spec/", "a Git LFS pointer, not the file itself", "run `git lfs pull`"),
    (0, &[0; 16], "a file that begins with zero bytes, as unfinished downloads do", FETCH_AGAIN),
];

/// Formats that only the name shows: how the file's name ends, what the file is, what to do.
const NAMES: [(&str, &str, &str); 19] = [
    (".bin", "PyTorch weights", CONVERT),
    (".ckpt", "a PyTorch checkpoint", CONVERT),
    (".engine", "a TensorRT engine", OTHER_ENGINE),
    (".ggml", "a GGML file, the format before GGUF", OLD),
    (".h5", "Keras or TensorFlow weights", CONVERT),
    (".litertlm", "a LiteRT model", OTHER_ENGINE),
    (".mlmodel", "a Core ML model", OTHER_ENGINE),
    (".mlmodelc", "a Core ML model", OTHER_ENGINE),
    (".mlpackage", "a Core ML model", OTHER_ENGINE),
    (".msgpack", "Flax weights", CONVERT),
    (".nemo", "a NeMo checkpoint", CONVERT),
    (".npz", "NumPy arrays, as old MLX models have them", CONVERT),
    (".onnx", "an ONNX model", OTHER_ENGINE),
    (".pt", "PyTorch weights", CONVERT),
    (".pte", "an ExecuTorch model", OTHER_ENGINE),
    (".pth", "PyTorch weights", CONVERT),
    (".task", "a MediaPipe model", OTHER_ENGINE),
    (".tflite", "a TensorFlow Lite model", OTHER_ENGINE),
    ("openvino_model.xml", "an OpenVINO model", OTHER_ENGINE),
];

/// Names of downloads that are not finished, by their endings.
const UNFINISHED: [&str; 7] = [".aria2", ".crdownload", ".download", ".incomplete", ".opdownload", ".part", ".partial"];

/// Identifies the format of a file from `bytes`, its beginning.
pub(crate) fn identify(bytes: &[u8]) -> FileFormat {
    // Checked first: the length at the start of such a file can equal another signature (640 is that of a pickle).
    if bytes.get(8) == Some(&b'{') && bytes.get(4..8) == Some(&[0; 4]) {
        return FileFormat::Safetensors;
    }
    if bytes.starts_with(b"GGUF") {
        return FileFormat::Gguf;
    }
    let matches = |at: usize, magic: &[u8]| bytes.get(at..at + magic.len()) == Some(magic);
    if let Some((.., name, advice)) = SIGNATURES.iter().find(|(at, magic, ..)| matches(*at, magic)) {
        return other(*name, advice);
    }
    let start = bytes.get(..512).unwrap_or(bytes).trim_ascii_start();
    let lower = start.get(..16).unwrap_or(start).to_ascii_lowercase();
    if [&b"<!doctype"[..], b"<html", b"<head", b"<body"].iter().any(|tag| lower.starts_with(tag)) {
        return other("a web page, likely an error page of the server", FETCH_AGAIN);
    }
    match start.first() {
        Some(b'<') => other("an XML document, likely an error message of the server", FETCH_AGAIN),
        Some(b'{' | b'[') => {
            other("a JSON document", "give the folder that holds config.json and the weights, or a .gguf file")
        }
        Some(_) if start.len() >= 8 && is_text(start) => {
            let line = start.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
            let shown = printable(&String::from_utf8_lossy(line));
            other(format!("a text that begins with `{shown}`"), TEXT)
        }
        _ => FileFormat::Unknown,
    }
}

fn other(name: impl Into<String>, advice: &'static str) -> FileFormat {
    FileFormat::Other(OtherFormat { name: name.into(), advice })
}

fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\n' | b'\r' | b'\t'))
}

/// The format that the name of a file shows, for formats without a signature.
pub(crate) fn by_name(path: &Path) -> Option<OtherFormat> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    if UNFINISHED.iter().any(|ending| name.ends_with(ending)) {
        return Some(OtherFormat { name: "a download that is not finished".to_owned(), advice: "finish the download" });
    }
    let (_, what, advice) = NAMES.iter().find(|(ending, ..)| name.ends_with(ending))?;
    Some(OtherFormat { name: (*what).to_owned(), advice })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_formats_are_identified() {
        let named = |bytes: &[u8]| match identify(bytes) {
            FileFormat::Other(format) => format.name,
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
        assert!(named(b"Entry not found\n").contains("`Entry not found`"));
        assert!(named(b"lmgg\x01\0\0\0").contains("GGML"));
        assert!(named(b"MZqFpD='\n").contains("llamafile"));
        assert!(named(b"MZ\x90\0").contains("program"));
        assert!(named(&[0; 4096]).contains("zero bytes"));
        assert!(named(&[&[b'x'; 257][..], b"ustar\x0000"].concat()).contains("tar"));
        assert!(named(b"\0\x05\x16\x07\0\x02\0\0Mac OS X").contains("macOS"));
        assert_eq!(identify(b""), FileFormat::Unknown);
        assert_eq!(identify(b"GGU"), FileFormat::Unknown);
        assert_eq!(identify(b"\x08\x07\x12\x07pytorch"), FileFormat::Unknown);
    }

    #[test]
    fn formats_without_a_signature_are_known_by_name() {
        let named = |path: &str| by_name(Path::new(path)).map(|format| format.name).unwrap_or_default();
        assert!(named("/m/model.onnx").contains("ONNX"));
        assert!(named("pytorch_model-00001-of-00002.bin").contains("PyTorch"));
        assert!(named("m.gguf.crdownload").contains("not finished"));
        assert_eq!(by_name(Path::new("m.gguf")), None);
    }

    #[test]
    fn names_are_sorted() {
        assert!(NAMES.is_sorted_by_key(|(ending, ..)| *ending) && UNFINISHED.is_sorted());
    }
}
