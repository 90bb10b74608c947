//! Errors of engines. An error names the problem; its advice is apart from it.

use std::borrow::Cow;
use std::time::Duration;

/// An error whose advice is apart from its problem: `Display` gives the problem alone.
///
/// Advice names things (a context, a setting, a device), not flags of a command line.
pub trait Advice: std::error::Error {
    /// What to do about it; `None` where there is nothing to advise.
    fn advice(&self) -> Option<Cow<'_, str>>;

    /// Problem and advice in one line: `{problem}; {advice}`.
    fn with_advice(&self) -> String {
        match self.advice() {
            Some(advice) => format!("{self}; {advice}"),
            None => self.to_string(),
        }
    }
}

/// The error of an engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The checkpoint cannot be read or lacks what the engine needs.
    #[error(transparent)]
    Model(#[from] models::Error),
    /// The engine does not support an architecture, a data type, a device or a setting.
    #[error("engine {engine} does not support {what}")]
    Unsupported {
        /// The engine's name.
        engine: &'static str,
        /// What was requested.
        what: String,
        /// What to request instead.
        advice: String,
    },
    /// A request that does not fit into the context that the session was loaded with.
    #[error("{needed} tokens do not fit into the context of {context}")]
    ContextFull {
        /// Prompt tokens and new tokens together.
        needed: usize,
        /// Tokens that the session can hold.
        context: usize,
    },
    /// The prompt has no tokens.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// A step that is out of order, such as sampling before a prefill.
    #[error("{step} was called before {needs}")]
    OutOfOrder {
        /// The step that was called.
        step: &'static str,
        /// The step that has to come first.
        needs: &'static str,
    },
    /// The engine has another number of threads than requested and cannot change it in this process.
    #[error("engine {engine} runs {found} threads in this process, {wanted} were requested")]
    Threads {
        /// The engine's name.
        engine: &'static str,
        /// Threads that the engine has.
        found: usize,
        /// Threads that were requested.
        wanted: usize,
        /// How to get that number.
        advice: String,
    },
    /// The engine failed at run time.
    #[error("engine {engine} failed in {place}: {reason}")]
    Failed {
        /// The engine's name.
        engine: &'static str,
        /// The operation or phase that failed.
        place: String,
        /// The error message of the engine's library, or what was expected and what was found.
        reason: String,
        /// What to do about it, where that is known.
        advice: Option<String>,
    },
    /// A server did not accept a request, and accepts it later or in another form. Nothing of it was measured. The caller sends the same
    /// request again after `wait`; the session has already changed what it sends.
    #[error("engine {engine} has to repeat {place}: {reason}")]
    Repeat {
        /// The engine's name.
        engine: &'static str,
        /// The request.
        place: String,
        /// The server's reason.
        reason: String,
        /// The time to wait before.
        wait: Duration,
    },
}

impl EngineError {
    /// [`EngineError::Unsupported`].
    pub fn unsupported(engine: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Unsupported { engine, what: what.into(), advice: advice.into() }
    }

    /// [`EngineError::Failed`] without advice.
    pub fn failed(engine: &'static str, place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Failed { engine, place: place.into(), reason: reason.into(), advice: None }
    }

    /// [`EngineError::Failed`] with advice.
    pub fn failed_with_advice(
        engine: &'static str,
        place: impl Into<String>,
        reason: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::Failed { engine, place: place.into(), reason: reason.into(), advice: Some(advice.into()) }
    }
}

impl Advice for EngineError {
    fn advice(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Unsupported { advice, .. } | Self::Threads { advice, .. } => Some(advice.into()),
            Self::ContextFull { needed, .. } => {
                Some(format!("shorten the prompt, or use a context of {needed} tokens").into())
            }
            Self::EmptyPrompt => Some("give at least one token".into()),
            Self::Failed { advice, .. } => advice.as_deref().map(Cow::from),
            Self::Model(error) => Some(error.advice()),
            Self::Repeat { .. } | Self::OutOfOrder { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_apart_from_the_problem() {
        let all = [
            EngineError::unsupported("candle", "the device `tpu`", "use cpu"),
            EngineError::ContextFull { needed: 65, context: 64 },
            EngineError::EmptyPrompt,
            EngineError::Threads { engine: "mlx", found: 1, wanted: 2, advice: "request 1 thread".to_owned() },
            EngineError::failed_with_advice("openai", "GET /", "HTTP 401", "set a key"),
        ];
        for error in &all {
            let (problem, advice) = (error.to_string(), error.advice().expect("it has advice").into_owned());
            assert!(!problem.contains(&advice) && !problem.contains(';'), "{problem}");
            assert_eq!(error.with_advice(), format!("{problem}; {advice}"));
            assert!(!error.with_advice().contains("--"), "a library names no flag: {}", error.with_advice());
        }
        let failed = EngineError::failed("candle", "embed", "token 9 is not in the vocabulary of 8");
        assert_eq!(failed.with_advice(), failed.to_string());
    }
}
