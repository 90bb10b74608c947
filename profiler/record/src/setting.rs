//! [`Setting`] and [`Action`]: what texts for users name. A library names the thing; the program that its users start says, with
//! [`name_settings`], how they give it.
//!
//! Texts that a run records, such as the reasons of absent values, are written once and shown later by other processes. The names are
//! therefore part of the text, and the program sets them before it calls anything else.

use std::fmt;
use std::sync::OnceLock;

/// How the program that users start names settings and actions.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    /// The name of a setting, such as a flag of a command line.
    pub setting: fn(Setting) -> &'static str,
    /// The name of an action, such as a command.
    pub action: fn(Action) -> &'static str,
}

static NAMES: OnceLock<Names> = OnceLock::new();

/// Sets how [`Setting`] and [`Action`] are displayed in this process. Only the first call counts: a process has one user interface.
pub fn name_settings(names: Names) {
    // A second call would make two texts of one process name the same setting in two ways.
    let _ = NAMES.set(names);
}

/// Defines [`Setting`] with the plain name of each variant: that of the field of the options.
macro_rules! settings {
    ($($(#[$attribute:meta])* $variant:ident => $name:literal,)*) => {
        /// A setting of a run. `Display` writes the name that [`name_settings`] gave it, else the name of the field in backquotes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Setting {
            $($(#[$attribute])* $variant,)*
        }

        impl Setting {
            /// Every setting.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name of the field of the options.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

settings! {
    /// The engines.
    Engine => "engines",
    /// The models.
    Model => "models",
    /// A prompt set.
    Prompts => "prompts",
    /// One prompt.
    Prompt => "prompt",
    /// One prompt in a file.
    PromptFile => "prompt_file",
    /// One prompt of random tokens.
    PromptTokens => "prompt_tokens",
    /// The most tokens of an answer.
    NewTokens => "new_tokens",
    /// Random weights in the model's shape.
    Synthetic => "synthetic",
    /// The quantisation of the weights.
    Quant => "quant",
    /// The file with the tokenizer of synthetic models.
    Header => "header",
    /// Measured requests per case.
    Runs => "runs",
    /// The precision that ends the rounds.
    Precision => "precision",
    /// The time that ends the rounds.
    Budget => "budget",
    /// The numbers of threads.
    Threads => "threads",
    /// Tokens in the context before the prompt.
    Depth => "depths",
    /// Warm-up requests.
    Warmup => "warmup",
    /// The seed of all random numbers.
    Seed => "seed",
    /// Prompts without the chat template.
    Raw => "raw",
    /// Answers that continue after the end token.
    IgnoreEos => "ignore_eos",
    /// Files that are dropped from the page cache before each load.
    Cold => "cold",
    /// The time limit of one request.
    Timeout => "timeout",
    /// The size of the context.
    Context => "context",
    /// The element type of the KV cache, for keys and values.
    KvType => "kv_type",
    /// The element type of the keys in the KV cache.
    KvTypeKeys => "kv_type_keys",
    /// The element type of the values in the KV cache.
    KvTypeValues => "kv_type_values",
    /// Fused attention.
    FlashAttention => "flash_attention",
    /// Prompt tokens per forward pass.
    Batch => "batch",
    /// The device.
    Device => "device",
    /// A setting of one engine.
    EngineSetting => "settings",
    /// The address of a server.
    Url => "url",
    /// The command that starts a server.
    Spawn => "spawn",
    /// The process of a server.
    Pid => "pid",
    /// How much is traced.
    Trace => "trace",
    /// The counters.
    Counters => "counters",
    /// The run folder.
    Out => "out",
    /// The folder of the run that is continued.
    Resume => "resume",
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get() {
            Some(names) => f.write_str((names.setting)(*self)),
            None => write!(f, "`{}`", self.name()),
        }
    }
}

/// Defines [`Action`] with the plain name of each variant.
macro_rules! actions {
    ($($(#[$attribute:meta])* $variant:ident => $name:literal,)*) => {
        /// Something that users do with this program. `Display` writes the name that [`name_settings`] gave it, else its name in words,
        /// as a noun.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {
            $($(#[$attribute])* $variant,)*
        }

        impl Action {
            /// Every action.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

actions! {
    /// Measures engines, models and prompts.
    Run => "a run",
    /// Measures the model of a folder.
    RunFolder => "a run of the folder",
    /// Measures a server.
    RunServer => "a run with the address of the server",
    /// Measures an engine twice, so that it can be compared with itself.
    RunTwice => "a run of candle and of candle under another name",
    /// Continues a run.
    ResumeRun => "resuming the folder",
    /// Lists the runs.
    ListRuns => "the list of runs",
    /// Measures the machine and lists its counters.
    MeasureMachine => "the measurement of the machine",
    /// Measures the ceilings again.
    RefreshCeilings => "a new measurement of the machine",
    /// Estimates a model that was not measured.
    Predict => "a prediction",
    /// Writes an estimate to a file.
    WritePrediction => "a prediction that is written to a file",
    /// Prints self and total times of a trace.
    SummariseTrace => "the summary of the trace",
    /// Compares two traces.
    DiffTraces => "the comparison of two traces",
    /// Prints how a trace is opened.
    OpenTrace => "the help on opening a trace",
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get() {
            Some(names) => write!(f, "`{}`", (names.action)(*self)),
            None => f.write_str(self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The names of a program are tested in the program: they are set once per process.
    #[test]
    fn without_a_program_the_fields_are_named() {
        assert_eq!(format!("raise {} for more samples", Setting::Runs), "raise `runs` for more samples");
        assert_eq!(format!("{} shows them", Action::ListRuns), "the list of runs shows them");
    }

    #[test]
    fn no_two_settings_have_the_same_name() {
        let names: std::collections::BTreeSet<&str> = Setting::ALL.iter().map(|setting| setting.name()).collect();
        assert_eq!(names.len(), Setting::ALL.len());
    }
}
