//! What can go wrong inside an engine.

/// An engine's failure. The text names the thing, what was expected, what was found and what to do.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The checkpoint cannot be read or does not hold what the engine needs.
    #[error(transparent)]
    Model(#[from] models::Error),
    /// The engine does not do what was asked: an architecture, a data type, a device, a setting.
    #[error("engine {engine} does not support {what}; {instead}")]
    Unsupported {
        /// The engine's name.
        engine: &'static str,
        /// What was asked for.
        what: String,
        /// What to do instead.
        instead: String,
    },
    /// A request that does not fit into the context that the session was loaded with.
    #[error(
        "{needed} tokens do not fit into the context of {context}; shorten the prompt or ask for a larger context (--ctx {needed})"
    )]
    ContextFull {
        /// Prompt tokens and new tokens together.
        needed: usize,
        /// Tokens that the session holds.
        context: usize,
    },
    /// The prompt has no tokens.
    #[error("the prompt is empty: nothing to run; give at least one token")]
    EmptyPrompt,
    /// A step that is out of order, such as sampling before a prefill.
    #[error("{step} was called before {needs}")]
    OutOfOrder {
        /// The step that was called.
        step: &'static str,
        /// The step that has to come first.
        needs: &'static str,
    },
    /// The number of threads differs from what was asked for, and cannot be changed any more in this process.
    #[error(
        "engine {engine} runs {found} threads in this process, {wanted} were asked for; its thread count is read once from {variable}"
    )]
    Threads {
        /// The engine's name.
        engine: &'static str,
        /// Threads that the engine has.
        found: usize,
        /// Threads that were asked for.
        wanted: usize,
        /// The environment variable that decides.
        variable: &'static str,
    },
    /// The engine itself failed.
    #[error("engine {engine} failed in {place}: {reason}")]
    Failed {
        /// The engine's name.
        engine: &'static str,
        /// The operation or phase that failed.
        place: String,
        /// The engine's own words.
        reason: String,
    },
}
