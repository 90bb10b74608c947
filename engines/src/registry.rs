//! Every engine, compiled in or not: one line each.

use crate::Engine;

/// Makes an engine, plain or as one of its variants.
type Open = fn(Option<&str>) -> Result<Box<dyn Engine>, Unavailable>;

/// One engine of the registry.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// What the user types.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// What may stand behind the colon of `name:variant`, each with what it is.
    pub variants: &'static [(&'static str, &'static str)],
    /// Makes the engine, plain or as one of its variants.
    open: Open,
}

/// An engine that is known but not in this build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("engine {engine} is not available: {reason}; {command}")]
pub struct Unavailable {
    /// Its name.
    pub engine: &'static str,
    /// Why it is not there.
    pub reason: String,
    /// The command that would make it available.
    pub command: String,
}

/// A name that leads to no engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownEngine {
    /// No engine has this name.
    #[error("no engine is called `{name}`{}; known engines: {known}", did_you_mean(.near.as_deref()))]
    Name {
        /// The name asked for.
        name: String,
        /// The nearest name that exists.
        near: Option<&'static str>,
        /// All names.
        known: String,
    },
    /// The name is that of a server.
    #[error("`{name}` is a server: it is watched from outside: -e openai --url http://localhost:{port}")]
    Server {
        /// The name asked for.
        name: String,
        /// Where it listens unless told otherwise.
        port: u16,
    },
    /// The engine has no such variant.
    #[error("engine {engine} has no variant `{variant}`{}; its variants: {known}", did_you_mean(.near.as_deref()))]
    Variant {
        /// The engine.
        engine: &'static str,
        /// The variant asked for.
        variant: String,
        /// The nearest variant that exists.
        near: Option<&'static str>,
        /// All variants.
        known: String,
    },
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

/// Servers by the names that people type, and the port where each listens unless told otherwise.
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

/// An engine by what the user typed.
#[derive(Debug, Clone, Copy)]
pub struct Selection {
    /// Its entry.
    pub entry: &'static Entry,
    /// The part behind the colon.
    pub variant: Option<&'static str>,
}

/// Looks up `name` or `name:variant`.
///
/// # Errors
/// When there is no such engine or variant; the nearest name is in the text.
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

/// The nearest name, when it is near enough to be a slip.
fn nearest(wanted: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let wanted = wanted.to_lowercase();
    known
        .map(|name| (strsim::jaro_winkler(&wanted, name), name))
        .filter(|(score, _)| *score >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn did_you_mean(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = String> {
        let labels = |entry: &Entry| {
            let variants = entry.variants.iter().map(|(variant, _)| format!("{}:{variant}", entry.name));
            std::iter::once(entry.name.to_owned()).chain(variants.collect::<Vec<_>>())
        };
        ENGINES.iter().flat_map(labels)
    }

    #[test]
    fn names_are_sorted_and_said_in_one_line() {
        assert!(ENGINES.is_sorted_by(|a, b| a.name < b.name));
        for entry in ENGINES {
            assert!(!entry.summary.is_empty() && !entry.summary.contains('\n'), "{}", entry.name);
            assert!(entry.variants.iter().all(|(_, summary)| !summary.is_empty()), "{}", entry.name);
        }
    }

    #[test]
    fn every_engine_says_who_it_is_or_how_to_get_it() {
        for label in all() {
            match find(&label).expect("it is in the registry").open() {
                Ok(engine) => {
                    let identity = engine.identity();
                    assert_eq!(identity.label(), label);
                    assert!(!identity.version.is_empty(), "{label}: an engine without a version cannot be compared");
                    assert!(!identity.device.is_empty(), "{label}");
                }
                Err(error) => assert!(!error.reason.is_empty() && error.command.contains("cargo"), "{label}: {error}"),
            }
        }
    }

    #[test]
    fn slips_are_noticed() {
        insta::assert_snapshot!(find("cnadle").unwrap_err(), @"no engine is called `cnadle`; did you mean `candle`?; known engines: candle, llama-cpp, mlx, mock, openai");
        insta::assert_snapshot!(find("exo").unwrap_err(), @"`exo` is a server: it is watched from outside: -e openai --url http://localhost:52415");
        insta::assert_snapshot!(find("candle:tensr").unwrap_err(), @"engine candle has no variant `tensr`; did you mean `tensor`?; its variants: tensor");
        insta::assert_snapshot!(find("mock:x").unwrap_err(), @"engine mock has no variant `x`; its variants: none");
    }
}
