//! The registry of engines, compiled in or not: one entry each.

use std::borrow::Cow;

use crate::suggest::{did_you_mean, nearest};
use crate::{Advice, Engine};

/// Makes an engine, plain or as one of its variants.
type Open = fn(Option<&str>) -> Result<Box<dyn Engine>, Unavailable>;

/// One engine of the registry.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The name in user input.
    pub name: &'static str,
    /// A description in one line.
    pub summary: &'static str,
    /// The variants (the part after the colon of `name:variant`), each with a description.
    pub variants: &'static [(&'static str, &'static str)],
    /// Makes the engine, plain or as one of its variants.
    open: Open,
}

/// An engine of the registry that is not in this build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("engine {engine} is not available: {reason}")]
pub struct Unavailable {
    /// Its name.
    pub engine: &'static str,
    /// Why it is missing.
    pub reason: String,
    /// How to build with it.
    pub command: String,
}

impl Advice for Unavailable {
    fn advice(&self) -> Option<Cow<'_, str>> {
        Some(self.command.as_str().into())
    }
}

/// A name that no engine has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownEngine {
    /// No engine has this name.
    #[error("no engine is called `{name}`")]
    Name {
        /// The requested name.
        name: String,
        /// The most similar name that exists.
        near: Option<&'static str>,
        /// All names.
        known: String,
    },
    /// The name is that of a server.
    #[error("`{name}` is a server, not an engine in this process")]
    Server {
        /// The requested name.
        name: String,
        /// The port on which it listens by default.
        port: u16,
    },
    /// The engine has no such variant.
    #[error("engine {engine} has no variant `{variant}`")]
    Variant {
        /// The engine.
        engine: &'static str,
        /// The requested variant.
        variant: String,
        /// The most similar variant that exists.
        near: Option<&'static str>,
        /// All variants.
        known: String,
    },
}

impl Advice for UnknownEngine {
    fn advice(&self) -> Option<Cow<'_, str>> {
        let advice = match self {
            Self::Name { near, known, .. } => format!("{}known engines: {known}", did_you_mean(*near)),
            Self::Server { port, .. } => format!("use the engine openai with the address http://localhost:{port}"),
            Self::Variant { near, known, .. } => format!("{}its variants: {known}", did_you_mean(*near)),
        };
        Some(advice.into())
    }
}

/// Every engine, sorted by name.
pub const ENGINES: &[Entry] = &[
    Entry {
        name: "candle",
        summary: "one decoder on candle-core in this process: CPU, and CUDA or Metal where built in",
        variants: &[("tensor", "candle's own tensor operations instead of the fused CPU kernels")],
        open: open_candle,
    },
    Entry {
        name: "llama-cpp",
        summary: "llama.cpp in this process, on the CPU, built with the processor's own instructions",
        variants: &[],
        open: open_llama_cpp,
    },
    Entry {
        name: "mlx",
        summary: "one decoder on MLX in this process: Apple's GPUs, and the CPU; on macOS built in",
        variants: &[],
        open: open_mlx,
    },
    Entry {
        name: "mock",
        summary: "computes nothing and advances a virtual clock: for tests of everything around an engine",
        variants: &[],
        open: |_| Ok(Box::new(crate::mock::Mock)),
    },
    Entry {
        name: "openai",
        summary: "a server in another process, watched from outside: exo, llama-server, mlx_lm.server, ollama, tinygrad, vLLM",
        variants: &[],
        open: open_openai,
    },
];

/// Common names of servers, with the default port of each.
const SERVERS: [(&str, u16); 12] = [
    ("exo", 52415),
    ("llama-cpp-python", 8000),
    ("llama-server", 8080),
    ("llama_cpp.server", 8000),
    ("lmstudio", 1234),
    ("mlx-lm", 8080),
    ("mlx_lm", 8080),
    ("mlx_lm.server", 8080),
    ("ollama", 11434),
    ("sglang", 30000),
    ("tinygrad", 8000),
    ("vllm", 8000),
];

/// A selected engine.
#[derive(Debug, Clone, Copy)]
pub struct Selection {
    /// Its entry.
    pub entry: &'static Entry,
    /// The part after the colon.
    pub variant: Option<&'static str>,
}

/// Looks up `name` or `name:variant`.
///
/// # Errors
/// When there is no such engine or variant.
pub fn find(label: &str) -> Result<Selection, UnknownEngine> {
    let (name, variant) = label.split_once(':').map_or((label, None), |(name, variant)| (name, Some(variant)));
    let entry = ENGINES.iter().find(|entry| entry.name == name).ok_or_else(|| unknown(name))?;
    let Some(wanted) = variant else { return Ok(Selection { entry, variant: None }) };
    let names = || entry.variants.iter().map(|(variant, _)| *variant);
    let variant = names().find(|variant| *variant == wanted).ok_or_else(|| UnknownEngine::Variant {
        engine: entry.name,
        variant: wanted.to_owned(),
        near: nearest(wanted, names()),
        known: if entry.variants.is_empty() { "none".to_owned() } else { names().collect::<Vec<_>>().join(", ") },
    })?;
    Ok(Selection { entry, variant: Some(variant) })
}

fn unknown(name: &str) -> UnknownEngine {
    let server = SERVERS.iter().find(|(server, _)| server.eq_ignore_ascii_case(name));
    if let Some((_, port)) = server {
        return UnknownEngine::Server { name: name.to_owned(), port: *port };
    }
    UnknownEngine::Name {
        name: name.to_owned(),
        near: nearest(name, ENGINES.iter().map(|entry| entry.name)),
        known: ENGINES.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", "),
    }
}

impl Selection {
    /// Makes the engine.
    ///
    /// # Errors
    /// When it is not in this build.
    pub fn open(self) -> Result<Box<dyn Engine>, Unavailable> {
        (self.entry.open)(self.variant)
    }
}

#[cfg(feature = "candle")]
fn open_candle(variant: Option<&str>) -> Result<Box<dyn Engine>, Unavailable> {
    use crate::candle::{Candle, Variant};
    let variant = if variant == Some("tensor") { Variant::Tensor } else { Variant::Native };
    Ok(Box::new(Candle { variant }))
}

#[cfg(not(feature = "candle"))]
fn open_candle(_variant: Option<&str>) -> Result<Box<dyn Engine>, Unavailable> {
    Err(Unavailable {
        engine: "candle",
        reason: "this binary was built without it".to_owned(),
        command: "build with: cargo build --release --features candle".to_owned(),
    })
}

#[cfg(feature = "llama-cpp")]
fn open_llama_cpp(_variant: Option<&str>) -> Result<Box<dyn Engine>, Unavailable> {
    Ok(Box::new(crate::llama_cpp::LlamaCpp))
}

#[cfg(not(feature = "llama-cpp"))]
fn open_llama_cpp(_variant: Option<&str>) -> Result<Box<dyn Engine>, Unavailable> {
    Err(Unavailable {
        engine: "llama-cpp",
        reason: "this binary was built without it".to_owned(),
        command: "build with: cargo build --release --features llama-cpp (it takes cmake, a C++ compiler and libclang)"
            .to_owned(),
    })
}

#[cfg(feature = "openai")]
fn open_openai(_variant: Option<&str>) -> Result<Box<dyn Engine>, Unavailable> {
    Ok(Box::new(crate::openai::OpenAi))
}

#[cfg(not(feature = "openai"))]
fn open_openai(_variant: Option<&str>) -> Result<Box<dyn Engine>, Unavailable> {
    Err(Unavailable {
        engine: "openai",
        reason: "this binary was built without it".to_owned(),
        command: "build with: cargo build --release --features openai".to_owned(),
    })
}

#[cfg(any(feature = "mlx", target_os = "macos"))]
fn open_mlx(_variant: Option<&str>) -> Result<Box<dyn Engine>, Unavailable> {
    Ok(Box::new(crate::mlx::Mlx))
}

#[cfg(not(any(feature = "mlx", target_os = "macos")))]
fn open_mlx(_variant: Option<&str>) -> Result<Box<dyn Engine>, Unavailable> {
    let command = if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        "build with: cargo build --release --features mlx --config \"$(engines/mlx-on-linux/prepare)\""
    } else {
        "build on macOS, with cmake and Xcode: cargo build --release --features mlx"
    };
    Err(Unavailable {
        engine: "mlx",
        reason: "this binary was built without it".to_owned(),
        command: command.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    fn all() -> impl Iterator<Item = String> {
        let labels = |entry: &Entry| {
            let variants = entry.variants.iter().map(|(variant, _)| format!("{}:{variant}", entry.name));
            std::iter::once(entry.name.to_owned()).chain(variants.collect::<Vec<_>>())
        };
        ENGINES.iter().flat_map(labels)
    }

    #[test]
    fn names_are_sorted_and_summaries_are_one_line() {
        assert!(ENGINES.is_sorted_by(|a, b| a.name < b.name));
        for entry in ENGINES {
            assert!(!entry.summary.is_empty() && !entry.summary.contains('\n'), "{}", entry.name);
            assert!(entry.variants.iter().all(|(_, summary)| !summary.is_empty()), "{}", entry.name);
        }
    }

    #[test]
    fn every_engine_has_an_identity_or_a_build_command() {
        for label in all() {
            match find(&label).expect("it is in the registry").open() {
                Ok(engine) => {
                    let identity = engine.identity();
                    assert_eq!(identity.label(), label);
                    assert!(!identity.version.is_empty(), "{label}: an engine without a version cannot be compared");
                    assert!(!matches!(identity.device, Device::Other(_)), "{label}: {}", identity.device);
                    let caps = engine.caps();
                    assert_eq!(identity.device.is_remote(), caps.remote, "{label}: {}", identity.device);
                    assert_eq!(identity.device == Device::Virtual, caps.virtual_time, "{label}: {}", identity.device);
                }
                Err(error) => {
                    assert!(!error.reason.is_empty() && error.command.contains("cargo"), "{label}: {error}");
                    assert_eq!(error.with_advice(), format!("{error}; {}", error.command));
                }
            }
        }
    }

    #[test]
    fn unknown_names_come_with_suggestions() {
        let error = |label: &str| find(label).unwrap_err().with_advice();
        insta::assert_snapshot!(error("cnadle"), @"no engine is called `cnadle`; did you mean `candle`? known engines: candle, llama-cpp, mlx, mock, openai");
        insta::assert_snapshot!(error("exo"), @"`exo` is a server, not an engine in this process; use the engine openai with the address http://localhost:52415");
        insta::assert_snapshot!(error("candle:tensr"), @"engine candle has no variant `tensr`; did you mean `tensor`? its variants: tensor");
        insta::assert_snapshot!(error("mock:x"), @"engine mock has no variant `x`; its variants: none");
    }
}
