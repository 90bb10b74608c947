//! What a file is, by its first bytes, so that a wrong one is named instead of being called damaged. Reads no further.

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// GGUF, as far as the magic goes.
    Gguf,
    /// safetensors: a length of eight bytes and a JSON object.
    Safetensors,
    /// Something else that is recognised: what it is, and what to do.
    Foreign(&'static str, &'static str),
    /// Nothing that is recognised.
    Unknown,
}

const FETCH_AGAIN: &str = "fetch the model again, from the file's download address";
const CONVERT: &str = "convert it to GGUF, or take the safetensors files of the same model";
const OLD: &str = "convert the model again with a current llama.cpp, or fetch a GGUF file of it";
const UNPACK: &str = "unpack it first";

/// Signatures at offset 0; the first that fits is taken.
const SIGNATURES: [(&[u8], Kind); 17] = [
    (b"GGUF", Kind::Gguf),
    (b"FUGG", Kind::Foreign("a GGUF file with its bytes swapped", "take the little-endian file of this model")),
    (b"lmgg", Kind::Foreign("a GGML file, the format before GGUF", OLD)),
    (b"fmgg", Kind::Foreign("a GGMF file, the format before GGUF", OLD)),
    (b"tjgg", Kind::Foreign("a GGJT file, the format before GGUF", OLD)),
    (b"algg", Kind::Foreign("a GGLA adapter, the format before GGUF", OLD)),
    (b"PK\x03\x04", Kind::Foreign("a zip archive (a PyTorch checkpoint is one)", CONVERT)),
    (b"\x80\x02", Kind::Foreign("a Python pickle (an old PyTorch checkpoint)", CONVERT)),
    (b"\x80\x03", Kind::Foreign("a Python pickle", CONVERT)),
    (b"\x80\x04", Kind::Foreign("a Python pickle", CONVERT)),
    (b"\x80\x05", Kind::Foreign("a Python pickle", CONVERT)),
    (b"\x93NUMPY", Kind::Foreign("a NumPy array", CONVERT)),
    (b"\x89HDF", Kind::Foreign("an HDF5 file (a Keras checkpoint)", CONVERT)),
    (b"\x1f\x8b", Kind::Foreign("a gzip archive", UNPACK)),
    (b"\x28\xb5\x2f\xfd", Kind::Foreign("a Zstandard archive", UNPACK)),
    (b"\x7fELF", Kind::Foreign("a program", "give a .gguf file or a folder with config.json")),
    (
        b"version https://git-lfs.github.com/spec/",
        Kind::Foreign("a Git LFS pointer, not the file itself", "run `git lfs pull`, or fetch the file"),
    ),
];

/// Names what `bytes`, the beginning of a file, are.
pub(crate) fn sniff(bytes: &[u8]) -> Kind {
    // First of all: the length that such a file begins with may look like any other signature (640 is a pickle's).
    if bytes.get(8) == Some(&b'{') && bytes.get(4..8) == Some(&[0; 4]) {
        return Kind::Safetensors;
    }
    if let Some((_, kind)) = SIGNATURES.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return *kind;
    }
    let text: Vec<u8> = bytes.iter().take(512).copied().skip_while(u8::is_ascii_whitespace).take(16).collect();
    let text = text.to_ascii_lowercase();
    if [&b"<!doctype"[..], b"<html", b"<head", b"<body"].iter().any(|tag| text.starts_with(tag)) {
        return Kind::Foreign("a web page, likely an error page of the server", FETCH_AGAIN);
    }
    match text.first() {
        Some(b'<') => Kind::Foreign("an XML document, likely an error message of the server", FETCH_AGAIN),
        Some(b'{' | b'[') => {
            Kind::Foreign("a JSON document", "give the folder that holds config.json and the weights, or a .gguf file")
        }
        _ => Kind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_files_are_named() {
        let named = |bytes: &[u8]| match sniff(bytes) {
            Kind::Foreign(name, _) => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(sniff(b"GGUF\x03\0\0\0"), Kind::Gguf);
        assert!(named(b"FUGG\0\0\0\x03").contains("swapped"));
        assert!(named(b"\n  <!DOCTYPE HTML><title>503").contains("web page"));
        assert!(named(b"<?xml version='1.0'?><Error>").contains("XML"));
        assert_eq!(sniff(b"\x80\x02\0\0\0\0\0\0{\"__metadata__\""), Kind::Safetensors);
        assert!(named(b"PK\x03\x04....").contains("zip"));
        assert!(named(b"\x80\x02}q\0").contains("pickle"));
        assert!(named(b"{\"error\": \"not found\"}").contains("JSON"));
        assert!(named(b"version https://git-lfs.github.com/spec/v1\noid").contains("LFS"));
        assert_eq!(sniff(b""), Kind::Unknown);
        assert_eq!(sniff(b"GGU"), Kind::Unknown);
        assert_eq!(sniff(b"hello"), Kind::Unknown);
    }
}
