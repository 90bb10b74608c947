//! [`Other`]: what a file is that is not a Chrome trace, by its first bytes, and what to do with it.

use std::fmt;

/// A file of another format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Other {
    /// A file of a known format.
    Known(&'static Format),
    /// A file without a byte.
    Empty,
    /// Its first bytes.
    Unknown(Vec<u8>),
}

/// A format that people give by mistake, or that another command reads.
#[derive(Debug, PartialEq, Eq)]
pub struct Format {
    /// Its name.
    pub name: &'static str,
    /// What to do.
    advice: &'static str,
    /// What this program does with such files, where it does something.
    pub reader: Option<Reader>,
    /// One of these is in the beginning of the file.
    signs: &'static [&'static [u8]],
    /// Whether the sign is at the very beginning.
    first: bool,
}

/// What another part of this program does with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// It is the model of a run.
    Run,
    /// It is compared with other results.
    Compare,
}

/// Bytes of the beginning that are shown.
const SHOWN_BYTES: usize = 24;

/// The first match counts.
const FORMATS: &[Format] = &[
    Format {
        name: "a model (GGUF)",
        advice: "a run measures it",
        reader: Some(Reader::Run),
        signs: &[b"GGUF"],
        first: true,
    },
    Format {
        name: "an archive (zip)",
        advice: "unpack it, and give the trace inside",
        reader: None,
        signs: &[b"PK\x03\x04"],
        first: true,
    },
    Format {
        name: "zstd data",
        advice: "unpack it with `zstd -d FILE`; gzip is read directly",
        reader: None,
        signs: &[b"\x28\xb5\x2f\xfd"],
        first: true,
    },
    Format {
        name: "xz data",
        advice: "unpack it with `xz -d FILE`; gzip is read directly",
        reader: None,
        signs: &[b"\xfd7zXZ"],
        first: true,
    },
    Format {
        name: "bzip2 data",
        advice: "unpack it with `bzip2 -d FILE`; gzip is read directly",
        reader: None,
        signs: &[b"BZh"],
        first: true,
    },
    Format {
        name: "an SQLite database, such as a report of Nsight Systems",
        advice: "export a Chrome trace from the profiler that wrote it",
        reader: None,
        signs: &[b"SQLite format 3"],
        first: true,
    },
    Format {
        name: "data of perf",
        advice: "convert it, such as with `perf data convert --to-json` and a converter for Chrome traces",
        reader: None,
        signs: &[b"PERFILE2"],
        first: true,
    },
    Format {
        name: "a profile of speedscope",
        advice: "open it at speedscope.app; it has samples and no spans",
        reader: None,
        signs: &[b"speedscope.app/file-format-schema"],
        first: false,
    },
    Format {
        name: "a profile of the Firefox Profiler, such as samply writes",
        advice: "open it at profiler.firefox.com; it has samples and no spans",
        reader: None,
        signs: &[
            b"\"product\": \"samply\"",
            b"\"product\":\"samply\"",
            b"\"libs\":",
            b"\"preprocessedProfileVersion\"",
        ],
        first: false,
    },
    Format {
        name: "run.json of inferometer",
        advice: "give a trace file of its folder, such as trace.json",
        reader: None,
        signs: &[b"\"schema_version\""],
        first: false,
    },
    Format {
        name: "results of llama-bench",
        advice: "a comparison reads it",
        reader: Some(Reader::Compare),
        signs: &[b"\"model_filename\"", b"build_commit,build_number"],
        first: false,
    },
    Format {
        name: "a trace of Perfetto in protobuf form",
        advice: "open it at ui.perfetto.dev, or convert it with `traceconv json FILE OUTPUT`",
        reader: None,
        signs: &[b"\x0a\x15\x50", b"\x0a\x0b\x50", b"\x0a\x13\x50", b"\x0a\x11\x50", b"\x0a\x0d\x50"],
        first: true,
    },
];

impl Other {
    /// What a file is, by its first bytes.
    pub(super) fn of(head: &[u8]) -> Self {
        let has = |format: &&Format| {
            format.signs.iter().any(|sign| match format.first {
                true => head.starts_with(sign),
                false => head.windows(sign.len()).any(|window| window == *sign),
            })
        };
        match FORMATS.iter().find(has) {
            Some(format) => Self::Known(format),
            None if head.is_empty() => Self::Empty,
            None => Self::Unknown(head[..head.len().min(SHOWN_BYTES)].to_vec()),
        }
    }

    /// What to do with the file.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Known(format) => format.advice,
            Self::Empty | Self::Unknown(_) => {
                "give a trace.json of a run folder, or a trace that a browser or another profiler wrote; gzip is read, too"
            }
        }
    }
}

impl fmt::Display for Other {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(format) => formatter.write_str(format.name),
            Self::Empty => formatter.write_str("an empty file"),
            Self::Unknown(head) => write!(formatter, "\"{}\"", head.escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_recognised_by_their_beginning() {
        for (head, name) in [
            (b"GGUF\x03\x00".as_slice(), "a model (GGUF)"),
            (b"\x28\xb5\x2f\xfd\x04", "zstd data"),
            (b"{\"$schema\":\"https://www.speedscope.app/file-format-schema.json\"}", "a profile of speedscope"),
            (b"{\"meta\":{\"product\":\"samply\"}}", "a profile of the Firefox Profiler, such as samply writes"),
            (b"{ \"schema_version\": 1 }", "run.json of inferometer"),
            (b"", "an empty file"),
            (b"{}", "\"{}\""),
        ] {
            assert_eq!(Other::of(head).to_string(), name);
            assert!(!Other::of(head).advice().is_empty());
        }
    }
}
