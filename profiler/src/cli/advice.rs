//! The advice of an error, with the flags of this command line. Crates below `record` name things, such as a context or a file; this
//! module adds the flags for them. Crates above it name a [`Setting`], which is displayed as its flag.

use std::borrow::Cow;
use std::io;

use ::engines::registry::{Unavailable, UnknownEngine};
use ::engines::{Advice, EngineError};
use record::{Error, Setting};
use traces::chrome::{Other, ReadError, Reader};

use super::browser::OpenError;
use super::names::flag;

/// A wrong command line that only the command line can detect.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub(super) struct UsageError {
    problem: String,
    advice: String,
}

impl UsageError {
    pub(super) fn new(problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { problem: problem.into(), advice: advice.into() }
    }

    /// What to do.
    pub(super) fn advice(&self) -> &str {
        &self.advice
    }
}

/// What to do about an error; `None` where there is nothing to advise.
pub(super) fn advice(failure: &anyhow::Error) -> Option<String> {
    of_error(failure.as_ref())
}

fn of_error(failure: &(dyn std::error::Error + 'static)) -> Option<String> {
    let of = |error: &dyn Advice| error.advice().map(Cow::into_owned);
    if let Some(error) = failure.downcast_ref::<UsageError>() {
        Some(error.advice.clone())
    } else if let Some(error) = failure.downcast_ref::<Error>() {
        match error {
            Error::Model(error) => Some(of_model(error)),
            Error::Usage(error) => of_usage(error.as_ref()),
            Error::File { source, .. } if is_full(source) => {
                of(error).map(|advice| with_flag(&advice, flag(Setting::Out)))
            }
            other => of(other),
        }
    } else if let Some(error) = failure.downcast_ref::<::models::Error>() {
        Some(of_model(error))
    } else if let Some(error) = failure.downcast_ref::<UnknownEngine>() {
        of_usage(error)
    } else if let Some(error) = failure.downcast_ref::<EngineError>() {
        of_engine(error)
    } else if let Some(error) = failure.downcast_ref::<Unavailable>() {
        of(error)
    } else if let Some(error) = failure.downcast_ref::<prompts::Error>() {
        Some(error.advice().into_owned())
    } else if let Some(error) = failure.downcast_ref::<ReadError>() {
        of_trace(error)
    } else {
        failure.downcast_ref::<OpenError>().map(|_| OpenError::ADVICE.to_owned())
    }
}

/// The advice of a wrong request. Errors of `engines` name no flags, so they are added here; those of `measure` have them already.
fn of_usage(error: &(dyn Advice + 'static)) -> Option<String> {
    let any: &(dyn std::error::Error + 'static) = error;
    if let Some(error) = any.downcast_ref::<EngineError>() {
        of_engine(error)
    } else if let Some(UnknownEngine::Server { port, .. }) = any.downcast_ref::<UnknownEngine>() {
        Some(format!("use {} openai {} http://localhost:{port}", flag(Setting::Engine), flag(Setting::Url)))
    } else {
        error.advice().map(Cow::into_owned)
    }
}

fn of_trace(error: &ReadError) -> Option<String> {
    let reader = match error {
        ReadError::NotATrace { found: Other::Known(format), .. } => format.reader,
        _ => None,
    };
    match reader {
        Some(Reader::Run) => Some("`inferometer run -m FILE` measures it".to_owned()),
        Some(Reader::Compare) => Some("`inferometer compare FILE OTHER` reads it".to_owned()),
        None => error.advice().map(str::to_owned),
    }
}

fn of_engine(error: &EngineError) -> Option<String> {
    match error {
        EngineError::Model(error) => Some(of_model(error)),
        EngineError::ContextFull { needed, .. } => {
            error.advice().map(|advice| with_flag(&advice, &format!("{} {needed}", flag(Setting::Context))))
        }
        other => other.advice().map(Cow::into_owned),
    }
}

fn of_model(error: &::models::Error) -> String {
    use ::models::Error as Model;
    let advice = error.advice();
    let flag = match error {
        Model::Unavailable { .. } => "-m PATH.gguf or --synthetic of `inferometer run`",
        Model::Template(_) => flag(Setting::Raw),
        Model::Quantise(mismatch) | Model::Synth(mismatch) => match mismatch.place.as_str() {
            "tokenizer" | "vocabulary" | "tokenizer.ggml.tokens" => "--header GGUF",
            "output" => "-o FILE",
            "type" | "file type" => flag(Setting::Quant),
            _ => return advice.into_owned(),
        },
        other if is_full_disk(other) => flag(Setting::Out),
        _ => return advice.into_owned(),
    };
    with_flag(&advice, flag)
}

fn with_flag(advice: &str, flag: &str) -> String {
    format!("{advice} ({flag})")
}

/// Whether a model could not be written because the disk is full.
pub(super) fn is_full_disk(error: &::models::Error) -> bool {
    match error {
        ::models::Error::NoSpace { .. } => true,
        ::models::Error::Io { source, .. } => is_full(source),
        _ => false,
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ::models::{Bytes, Mismatch};

    use super::*;

    fn shown(error: impl Into<anyhow::Error>) -> String {
        advice(&error.into()).unwrap_or_default()
    }

    fn mismatch(place: &str, advice: &str) -> Box<Mismatch> {
        Mismatch::at("x.gguf", place, "a", "b", advice)
    }

    #[test]
    fn models_get_their_flags() {
        use ::models::Error as Model;
        let unavailable = Model::Unavailable { what: "o/r".to_owned(), attempts: Vec::new() };
        assert!(shown(unavailable).ends_with("(-m PATH.gguf or --synthetic of `inferometer run`)"));
        for (error, expected) in [
            (Model::Template(mismatch("line 1", "send the prompt without a template")), "(--raw)"),
            (Model::Quantise(mismatch("tokenizer", "give a GGUF file")), "(--header GGUF)"),
            (Model::Quantise(mismatch("output", "choose another output file")), "(-o FILE)"),
            (Model::Quantise(mismatch("type", "choose one of these")), "(--quant)"),
            (Model::Synth(mismatch("file type", "choose one of these")), "(--quant)"),
            (Model::NoSpace { path: "x".into(), needed: Bytes(2), free: Bytes(1) }, "(--out)"),
        ] {
            let text = error.to_string();
            assert!(shown(Error::from(error)).ends_with(expected), "{text}");
        }
        assert_eq!(shown(Model::Gguf(mismatch("byte 4", "fetch it again"))), "fetch it again");
    }

    #[test]
    fn engines_and_files_get_their_flags() {
        let server = ::engines::registry::find("llama-server").unwrap_err();
        assert_eq!(shown(server), "use -e openai --url http://localhost:8080");
        assert!(shown(EngineError::ContextFull { needed: 65, context: 64 }).ends_with("tokens (--ctx 65)"));
        let full = Error::file(Path::new("runs/x"), "write")(io::ErrorKind::StorageFull.into());
        assert!(shown(full).ends_with("(--out)"));
        let missing = Error::file(Path::new("runs/x"), "read")(io::ErrorKind::NotFound.into());
        assert_eq!(shown(missing), "check the path");
    }

    #[test]
    fn an_error_without_advice_has_none() {
        assert_eq!(advice(&anyhow::anyhow!("a: b; c")), None);
        assert_eq!(shown(UsageError::new("a; b", "c")), "c");
    }
}
