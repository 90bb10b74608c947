//! [`OptionError`]: options that are invalid by themselves, whatever the engines and the models.

use std::borrow::Cow;
use std::path::PathBuf;

use engine_api::Advice;
use record::{Action, Document, Setting};

/// An option that is invalid, or two that exclude each other.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OptionError {
    /// A number is 0.
    #[error("{setting} 0: {needed} is needed")]
    Zero {
        /// The setting.
        setting: Setting,
        /// What is needed at the least.
        needed: &'static str,
        /// What is used without the setting; `None` where it has no default.
        default: Option<&'static str>,
    },
    /// The precision is not a share between 0 and 1.
    #[error("{}: expected more than 0 and less than 100 percent", Setting::Precision)]
    Precision(f64),
    /// The prompt has no text.
    #[error("{} is empty", Setting::Prompt)]
    EmptyPrompt,
    /// A tokenizer for synthetic models, but no synthetic models.
    #[error("{} gives synthetic models a tokenizer", Setting::Header)]
    HeaderWithoutSynthetic,
    /// A folder for a new run and a folder of an earlier one.
    #[error(
        "{} {} and {} {}: a resumed run stays in its folder",
        Setting::Out, out.display(), Setting::Resume, resume.display()
    )]
    TwoFolders {
        /// The folder of the new run.
        out: PathBuf,
        /// The folder of the earlier run.
        resume: PathBuf,
    },
    /// No counter has this name.
    #[error("no counter is called `{name}`{near}")]
    Counter {
        /// The requested name.
        name: String,
        /// The most similar name as a question, or nothing.
        near: String,
    },
    /// A value is given twice, which would make two cases with the same id.
    #[error("{setting} {value} is given twice: each case is measured once per run")]
    GivenTwice {
        /// The setting.
        setting: Setting,
        /// The value.
        value: String,
    },
    /// Two engines have the same label.
    #[error("{} {argument}: another engine of this run is called `{label}`", Setting::Engine)]
    LabelTaken {
        /// The second of them.
        argument: String,
        /// Their label.
        label: String,
    },
    /// A label that cannot be part of ids and names of files.
    #[error(
        "{} {argument}: the name `{label}` is used in ids and names of files: expected small letters, digits, `.`, `_` and `-`, a letter or digit first",
        Setting::Engine
    )]
    Label {
        /// The argument.
        argument: String,
        /// Its label.
        label: String,
    },
    /// A label that is the name of an engine.
    #[error(
        "{} {label}={engine}: `{label}` is an engine itself, so results under this name would be read as its own",
        Setting::Engine
    )]
    LabelIsEngine {
        /// The label.
        label: String,
        /// The engine that it was given to.
        engine: String,
    },
}

impl Advice for OptionError {
    fn advice(&self) -> Option<Cow<'_, str>> {
        let advice = match self {
            Self::Zero { setting, default: Some(default), .. } => format!("leave {setting} out for {default}"),
            Self::Zero { default: None, .. } => "give 1 or more".to_owned(),
            Self::Precision(_) => "give a share such as 2%".to_owned(),
            Self::EmptyPrompt => "give a text, or leave it out for the seed prompts".to_owned(),
            Self::HeaderWithoutSynthetic => format!("add {}, or leave {} out", Setting::Synthetic, Setting::Header),
            Self::TwoFolders { .. } => "give one of them".to_owned(),
            Self::Counter { .. } => format!(
                "{} and {} list the counters; write other events as rHEX or PMU/TERM=VALUE,.../",
                Action::MeasureMachine,
                Document::Counters
            ),
            Self::GivenTwice { setting: engine @ Setting::Engine, value } => format!(
                "raise {} for more samples; to compare an engine with itself, name one of them: {engine} {value} {engine} again={value}",
                Setting::Runs
            ),
            Self::GivenTwice { .. } => format!("raise {} for more samples", Setting::Runs),
            Self::LabelTaken { .. } => "choose another name for one of them".to_owned(),
            Self::Label { .. } => format!("write it like {} again=candle", Setting::Engine),
            Self::LabelIsEngine { label, engine } => {
                format!("choose another name, such as {} {label}-2={engine}", Setting::Engine)
            }
        };
        Some(advice.into())
    }
}

impl From<OptionError> for record::Error {
    fn from(error: OptionError) -> Self {
        Self::from_advice(error)
    }
}
