//! The settings of this engine, with llama-bench's names for them where it has them.

use std::collections::BTreeMap;

use redaction::Sensitive;

use super::unsupported;
use crate::EngineError;

/// Processors that a mask can name: ggml's limit.
pub(super) const MASK_BITS: usize = 512;
/// Prompt tokens per call by default, which llama.cpp divides into passes: llama-bench's `-b`.
const DEFAULT_N_BATCH: usize = 2048;
/// All settings, for errors.
const KNOWN: &str = "its settings: load_mode=none|mmap|mlock|mmap+mlock|dio, mmap=on|off, repack=on|off, n_batch=N, threads_batch=N, \
    cpu_mask=0x..., cpu_strict=on|off";

/// How weights are loaded and threads run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    /// How the file is read (llama-bench's `-lm`; `-mmp` has two of them).
    pub(super) load_mode: LoadMode,
    /// Copy weights into a layout for the processor, if llama.cpp has one (the reverse of `-nopo` in its tools).
    pub(super) repack: bool,
    /// Prompt tokens per call, which llama.cpp divides into passes (`-b`); a pass is the batch of the load options (`-ub`).
    pub(super) n_batch: usize,
    /// Threads for prompts; `None`: as many as for single tokens.
    pub(super) threads_batch: Option<usize>,
    /// The processors that threads may run on (`-C`); none: all.
    pub(super) cpu_mask: CpuMask,
    /// Each thread on one processor of the mask (`--cpu-strict`).
    pub(super) cpu_strict: bool,
}

/// How the file of the weights is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoadMode {
    /// Read into memory.
    None,
    /// Mapped.
    Mmap,
    /// Read, and locked in memory.
    Mlock,
    /// Mapped, and locked in memory.
    MmapMlock,
    /// Read without the page cache.
    DirectIo,
}

/// Processors by number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CpuMask([u64; MASK_BITS / 64]);

impl CpuMask {
    /// Whether it names no processor.
    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Whether it names a processor.
    pub(super) const fn has(self, processor: usize) -> bool {
        self.0[processor / 64] >> (processor % 64) & 1 == 1
    }

    /// A hexadecimal number, with or without `0x`, whose bits are the processors; `None` for any other text, for 0 and for too many
    /// processors.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if digits.len() > MASK_BITS / 4 {
            return None;
        }
        let mut mask = Self::default();
        for (place, digit) in digits.chars().rev().enumerate() {
            let bit = 4 * place;
            mask.0[bit / 64] |= u64::from(digit.to_digit(16)?) << (bit % 64);
        }
        (!mask.is_empty()).then_some(mask)
    }
}

impl Default for Settings {
    /// As in llama.cpp's own tools.
    fn default() -> Self {
        Self {
            load_mode: LoadMode::Mmap,
            repack: true,
            n_batch: DEFAULT_N_BATCH,
            threads_batch: None,
            cpu_mask: CpuMask::default(),
            cpu_strict: false,
        }
    }
}

impl Settings {
    pub(super) fn parse(pairs: &BTreeMap<String, Sensitive>) -> Result<Self, EngineError> {
        let mut settings = Self::default();
        if pairs.contains_key("mmap") && pairs.contains_key("load_mode") {
            return Err(unsupported("mmap and load_mode together".to_owned(), "give one of them"));
        }
        for (key, value) in pairs {
            let text = value.expose();
            let refused =
                |expected: &str| Err(unsupported(format!("{key}={value}"), &format!("give {key}={expected}")));
            let switch = match text {
                "on" => Some(true),
                "off" => Some(false),
                _ => None,
            };
            match (key.as_str(), switch) {
                ("mmap", Some(on)) => settings.load_mode = if on { LoadMode::Mmap } else { LoadMode::None },
                ("repack", Some(on)) => settings.repack = on,
                ("cpu_strict", Some(on)) => settings.cpu_strict = on,
                ("mmap" | "repack" | "cpu_strict", None) => return refused(&format!("on or {key}=off")),
                ("load_mode", _) => match load_mode(text) {
                    Some(mode) => settings.load_mode = mode,
                    None => return refused("none, mmap, mlock, mmap+mlock or dio"),
                },
                ("n_batch", _) => match text.parse() {
                    Ok(count @ 1..=0x7fff_ffff) => settings.n_batch = count,
                    _ => return refused("a number of tokens, such as 2048"),
                },
                ("threads_batch", _) => match text.parse() {
                    Ok(count @ 1..=MASK_BITS) => settings.threads_batch = Some(count),
                    _ => return refused("a number of threads"),
                },
                ("cpu_mask", _) => match CpuMask::parse(text) {
                    Some(mask) => settings.cpu_mask = mask,
                    None => return refused("a hexadecimal number whose bits are processors, such as 0x3"),
                },
                _ => return Err(unsupported(format!("the setting `{key}`"), KNOWN)),
            }
        }
        Ok(settings)
    }
}

/// A load mode by llama-bench's name.
fn load_mode(name: &str) -> Option<LoadMode> {
    Some(match name {
        "none" => LoadMode::None,
        "mmap" => LoadMode::Mmap,
        "mlock" => LoadMode::Mlock,
        "mmap+mlock" => LoadMode::MmapMlock,
        "dio" => LoadMode::DirectIo,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Advice;

    fn parse(pairs: &[(&str, &str)]) -> Result<Settings, EngineError> {
        let setting = |(key, value): &(&str, &str)| ((*key).to_owned(), Sensitive::setting(key, value));
        Settings::parse(&pairs.iter().map(setting).collect())
    }

    #[test]
    fn settings_are_read_and_wrong_values_refused() {
        let default = Settings::default();
        assert_eq!(parse(&[("mmap", "off")]).unwrap(), Settings { load_mode: LoadMode::None, ..default });
        assert_eq!(parse(&[("repack", "on"), ("load_mode", "mmap")]).unwrap(), default);
        assert_eq!(parse(&[("n_batch", "64")]).unwrap().n_batch, 64);
        assert_eq!(parse(&[("threads_batch", "3")]).unwrap(), Settings { threads_batch: Some(3), ..default });
        for (key, value, advice) in [
            ("mmap", "1", "give mmap=on or mmap=off"),
            ("load_mode", "fast", "give load_mode=none, mmap, mlock, mmap+mlock or dio"),
            ("n_batch", "0", "give n_batch=a number of tokens, such as 2048"),
            ("threads_batch", "-1", "give threads_batch=a number of threads"),
            ("cpu_mask", "0", "give cpu_mask=a hexadecimal number"),
        ] {
            let error = parse(&[(key, value)]).unwrap_err().with_advice();
            assert!(error.contains(advice), "{error}");
        }
        assert!(parse(&[("mmap", "on"), ("load_mode", "mmap")]).is_err());
    }

    #[test]
    fn bits_of_a_mask_are_processors() {
        let mask = parse(&[("cpu_mask", "0x1000000000000000a")]).unwrap().cpu_mask;
        let named: Vec<usize> = (0..MASK_BITS).filter(|processor| mask.has(*processor)).collect();
        assert_eq!(named, [1, 3, 64]);
        assert!(CpuMask::parse(&"f".repeat(129)).is_none() && CpuMask::parse("3g").is_none());
    }
}
