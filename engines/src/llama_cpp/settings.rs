//! The settings of this engine.

use std::collections::BTreeMap;

use redaction::Sensitive;

use super::unsupported;
use crate::EngineError;

/// How the weights are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    /// Map the file instead of reading it (llama-bench's `-mmp`).
    pub(super) mmap: bool,
    /// Copy weights into a layout for the processor, if llama.cpp has one (the reverse of `-nopo` in its tools).
    pub(super) repack: bool,
}

impl Default for Settings {
    /// As in llama.cpp's own tools.
    fn default() -> Self {
        Self { mmap: true, repack: true }
    }
}

impl Settings {
    pub(super) fn parse(pairs: &BTreeMap<String, Sensitive>) -> Result<Self, EngineError> {
        let mut settings = Self::default();
        for (key, value) in pairs {
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
            *place = match value.expose() {
                "on" => true,
                "off" => false,
                _ => return Err(unsupported(format!("{key}={value}"), &format!("give {key}=on or {key}=off"))),
            };
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Advice;

    #[test]
    fn values_are_on_or_off() {
        let parse =
            |key: &str, value: &str| Settings::parse(&[(key.to_owned(), Sensitive::setting(key, value))].into());
        assert_eq!(parse("mmap", "off").unwrap(), Settings { mmap: false, repack: true });
        assert_eq!(parse("repack", "on").unwrap(), Settings::default());
        assert!(parse("mmap", "1").unwrap_err().with_advice().contains("give mmap=on or mmap=off"));
    }
}
