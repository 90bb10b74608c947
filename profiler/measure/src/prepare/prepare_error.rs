//! [`PrepareError`]: options that do not fit the engines, the models or the prompts of the run.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use engine_api::Advice;
use record::Setting;
use redaction::Sensitive;

/// Why no plan can be made of the options.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The prompt set cannot be read.
    #[error("{error}{near}")]
    PromptSet {
        /// Why.
        error: prompts::Error,
        /// The most similar name as a question, or nothing.
        near: String,
    },
    /// A shape without weights.
    #[error("{reference} gives a shape without weights")]
    ShapeWithoutWeights {
        /// The model.
        reference: String,
    },
    /// Synthetic weights of something that has no shape.
    #[error("{} {} {reference}: synthetic weights need a shape", Setting::Synthetic, Setting::Model)]
    NoShape {
        /// The model.
        reference: String,
    },
    /// A model that no source has in this quantisation.
    #[error("{} {quant}: {model} is not known to exist in this quantisation", Setting::Quant)]
    UnknownQuant {
        /// The quantisation.
        quant: String,
        /// The model.
        model: &'static str,
        /// The quantisations that it has.
        known: Vec<&'static str>,
    },
    /// A quantisation for a file.
    #[error("{} {quant}: {reference} is one file with the quantisation that it has", Setting::Quant)]
    QuantOfFile {
        /// The quantisation.
        quant: String,
        /// The file.
        reference: String,
    },
    /// Two models with one name.
    #[error("two models are called `{name}` ({} and {}): their results would have the same names", places[0], places[1])]
    TwoModels {
        /// The name.
        name: String,
        /// Their files.
        places: [String; 2],
    },
    /// A vocabulary from which no prompt can be drawn.
    #[error("the vocabulary has {found} ordinary tokens: expected at least {needed}")]
    FewTokens {
        /// Its ordinary tokens.
        found: usize,
        /// How many are needed.
        needed: usize,
    },
    /// A depth for a server.
    #[error("{} {depth}: the context of a server cannot be filled", Setting::Depth)]
    DepthOfServer {
        /// The depth.
        depth: usize,
    },
    /// More tokens than the model has a context for.
    #[error("{need}, the model has {context}")]
    LongerThanModel {
        /// The longest case.
        need: ContextNeed,
        /// Tokens of the model's context.
        context: usize,
    },
    /// More tokens than the given context holds.
    #[error("{need}, {} gives {context}", Setting::Context)]
    LongerThanContext {
        /// The longest case.
        need: ContextNeed,
        /// Tokens of the given context.
        context: usize,
    },
    /// A context that is longer than the model's.
    #[error("{} {given}: {model} has a context of {context}", Setting::Context)]
    ContextOfModel {
        /// Tokens of the given context.
        given: usize,
        /// The model.
        model: String,
        /// Tokens of its context.
        context: usize,
    },
    /// A prompt without a token.
    #[error("prompt `{id}` is empty: expected at least one token")]
    EmptyPrompt {
        /// The prompt.
        id: String,
    },
    /// A prompt of a number of tokens for a model whose tokenizer only a server has.
    #[error("prompt `{id}` is a number of tokens, and only the server has the tokenizer of its model")]
    TokensOfServer {
        /// The prompt.
        id: String,
    },
    /// A text for a model whose file has no texts of tokens.
    #[error("prompt `{id}` is a text, and the model's file has no texts of tokens")]
    TextWithoutVocabulary {
        /// The prompt.
        id: String,
    },
    /// A model whose shape is unknown, for an engine that needs it.
    #[error("{}: {reason}, and engine {engine} needs its shape", path.display())]
    NoShapeForEngine {
        /// The model's file.
        path: PathBuf,
        /// Why its shape is unknown.
        reason: String,
        /// The engine.
        engine: String,
        /// An engine of this build that reads such files itself.
        able: Option<&'static str>,
    },
    /// An option about a server in a run without one.
    #[error("{setting} is about a server, and no engine of this run uses a server")]
    NoServer {
        /// The option.
        setting: Setting,
    },
    /// An engine that uses a server, without its address.
    #[error("engine {engine} uses a server")]
    NoAddress {
        /// The engine.
        engine: String,
    },
    /// Several numbers of threads for a server that sets its own.
    #[error("{} {}: a server sets its own number of threads", Setting::Threads, list(threads))]
    ThreadsOfServer {
        /// The numbers.
        threads: Vec<usize>,
    },
    /// A setting of an engine that takes no part.
    #[error("{} {engine}.{key}={value}: engine {engine} takes no part in this run{near}", Setting::EngineSetting)]
    OtherEngine {
        /// The engine.
        engine: String,
        /// The key.
        key: String,
        /// The value, without secrets where it is shown.
        value: Box<Sensitive>,
        /// The most similar name as a question, or nothing.
        near: String,
        /// The engines and labels of the run.
        known: Vec<String>,
    },
}

/// The case that needs the longest context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextNeed {
    /// The model.
    pub model: String,
    /// The prompt.
    pub prompt: String,
    /// Tokens in the context before the prompt.
    pub depth: usize,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// New tokens.
    pub new_tokens: usize,
}

impl ContextNeed {
    /// Tokens of the context.
    pub const fn tokens(&self) -> usize {
        self.depth + self.prompt_tokens + self.new_tokens
    }
}

impl fmt::Display for ContextNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, prompt, depth, prompt_tokens, new_tokens } = self;
        write!(f, "prompt `{prompt}` on {model}: ")?;
        if *depth > 0 {
            write!(f, "depth {depth}, ")?;
        }
        write!(f, "{prompt_tokens} prompt tokens and {new_tokens} new tokens need a context of {}", self.tokens())
    }
}

impl Advice for PrepareError {
    fn advice(&self) -> Option<Cow<'_, str>> {
        let advice = match self {
            Self::PromptSet { error, .. } => return Some(error.advice()),
            Self::ShapeWithoutWeights { .. } => {
                format!("add {}, or name the folder with its safetensors", Setting::Synthetic)
            }
            Self::NoShape { .. } => "name a registered model or a config.json".to_owned(),
            Self::UnknownQuant { known, .. } => {
                format!("choose one of {}, or add {}", known.join(", "), Setting::Synthetic)
            }
            Self::QuantOfFile { .. } => format!("leave {} out, or name a registered model", Setting::Quant),
            Self::TwoModels { .. } => "rename one of the files".to_owned(),
            Self::FewTokens { .. } => "choose another model or tokenizer".to_owned(),
            Self::DepthOfServer { .. } => format!("leave {} out, or measure longer prompts", Setting::Depth),
            Self::LongerThanModel { .. } => {
                format!("shorten the prompt, or lower {} or {}", Setting::NewTokens, Setting::Depth)
            }
            Self::LongerThanContext { .. } => format!("raise {}, or leave it out", Setting::Context),
            Self::ContextOfModel { .. } => format!("lower {}, or leave it out", Setting::Context),
            Self::EmptyPrompt { .. } => "give the prompt a text".to_owned(),
            Self::TokensOfServer { .. } => {
                format!("name the file of the model with {}, or give {} TEXT", Setting::Model, Setting::Prompt)
            }
            Self::TextWithoutVocabulary { .. } => {
                format!("give prompts of exact lengths: {} lengths, or {} N", Setting::Prompts, Setting::PromptTokens)
            }
            Self::NoShapeForEngine { able: Some(name), .. } => {
                format!("measure it with {} {name}, which reads the file itself", Setting::Engine)
            }
            Self::NoShapeForEngine { able: None, .. } => format!(
                "measure it with {} llama-cpp, which reads the file itself: build with --features llama-cpp",
                Setting::Engine
            ),
            Self::NoServer { setting } => format!("add {} openai, or leave {setting} out", Setting::Engine),
            Self::NoAddress { .. } => {
                format!("give {} URL of a running one, or {} COMMAND that starts one", Setting::Url, Setting::Spawn)
            }
            Self::ThreadsOfServer { .. } => {
                format!("give one number, or start the server with {} and {{threads}} in the command", Setting::Spawn)
            }
            Self::OtherEngine { known, .. } => format!("the engines of this run are {}", known.join(", ")),
        };
        Some(advice.into())
    }
}

/// Numbers with commas between them.
fn list(numbers: &[usize]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

impl From<PrepareError> for record::Error {
    fn from(error: PrepareError) -> Self {
        Self::from_advice(error)
    }
}
