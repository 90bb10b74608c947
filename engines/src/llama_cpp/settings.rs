//! Settings of this engine alone: `--set llama-cpp.KEY=VALUE`.

use std::collections::BTreeMap;

use super::unsupported;
use crate::EngineError;

/// How the weights come into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    /// Map the file instead of reading it (llama-bench's `-mmp`).
    pub(super) mmap: bool,
    /// Copy weights into a layout that suits the processor, where llama.cpp has one (the reverse of `-nopo` in its tools).
    pub(super) repack: bool,
}

impl Default for Settings {
    /// Those of llama.cpp's own tools.
    fn default() -> Self {
        Self { mmap: true, repack: true }
    }
}

impl Settings {
    pub(super) fn parse(given: &BTreeMap<String, String>) -> Result<Self, EngineError> {
        let mut settings = Self::default();
        for (key, value) in given {
            let place = match key.as_str() {
                "mmap" => &mut settings.mmap,
                "repack" => &mut settings.repack,
                _ => {
                    return Err(unsupported(
                        format!("the setting `{key}`"),
                        "its settings: mmap=on|off, repack=on|off",
                    ));
                }
            };
            *place = match value.as_str() {
                "on" => true,
                "off" => false,
                other => return Err(unsupported(format!("{key}={other}"), &format!("give {key}=on or {key}=off"))),
            };
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_off_and_slips() {
        let parse = |key: &str, value: &str| Settings::parse(&[(key.to_owned(), value.to_owned())].into());
        assert_eq!(parse("mmap", "off").unwrap(), Settings { mmap: false, repack: true });
        assert_eq!(parse("repack", "on").unwrap(), Settings::default());
        assert!(parse("mmap", "1").unwrap_err().to_string().contains("give mmap=on or mmap=off"));
    }
}
