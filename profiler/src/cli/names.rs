//! The flag of each setting and the command of each action: the only place where the texts of libraries get the words of this command
//! line.

use record::{Action, Names, Setting};

/// How this program names settings and actions.
pub(super) const NAMES: Names = Names { setting: flag, action: command };

/// The flag of a setting: the short one where there is one.
pub(super) const fn flag(setting: Setting) -> &'static str {
    match setting {
        Setting::Engine => "-e",
        Setting::Model => "-m",
        Setting::Prompts => "--prompts",
        Setting::Prompt => "--prompt",
        Setting::PromptFile => "--prompt-file",
        Setting::PromptTokens => "--prompt-tokens",
        Setting::NewTokens => "-n",
        Setting::Synthetic => "--synthetic",
        Setting::Quant => "--quant",
        Setting::Header => "--header",
        Setting::Runs => "-r",
        Setting::Precision => "--precision",
        Setting::Budget => "--budget",
        Setting::Threads => "-t",
        Setting::Depth => "--depth",
        Setting::Warmup => "--warmup",
        Setting::Seed => "--seed",
        Setting::Raw => "--raw",
        Setting::IgnoreEos => "--ignore-eos",
        Setting::Cold => "--cold",
        Setting::Timeout => "--timeout",
        Setting::Context => "--ctx",
        Setting::KvType => "--kv-type",
        Setting::KvTypeKeys => "--kv-type-k",
        Setting::KvTypeValues => "--kv-type-v",
        Setting::FlashAttention => "--flash-attn",
        Setting::Batch => "--batch",
        Setting::Device => "--device",
        Setting::EngineSetting => "--set",
        Setting::Url => "--url",
        Setting::Spawn => "--spawn",
        Setting::Pid => "--pid",
        Setting::Trace => "--trace",
        Setting::Counters => "--counters",
        Setting::Out => "--out",
        Setting::Resume => "--resume",
    }
}

/// The command of an action, with its arguments.
const fn command(action: Action) -> &'static str {
    match action {
        Action::Run => "inferometer run",
        Action::RunFolder => "inferometer run -m FOLDER",
        Action::RunServer => "inferometer run -e openai --url URL",
        Action::RunTwice => "inferometer run -e candle -e again=candle",
        Action::ResumeRun => "inferometer run --resume DIR",
        Action::ListRuns => "inferometer runs list",
        Action::MeasureMachine => "inferometer machine",
        Action::RefreshCeilings => "inferometer machine --refresh",
        Action::Predict => "inferometer predict",
        Action::WritePrediction => "inferometer predict -m MODEL -o FILE",
        Action::SummariseTrace => "inferometer trace summary FILE",
        Action::DiffTraces => "inferometer trace diff A B",
        Action::OpenTrace => "inferometer trace open FILE",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;
    use clap::error::ErrorKind;
    use measure::plan::{Design, Options};

    use super::super::Arguments;
    use super::*;

    /// Options of `run` that the command line itself reads.
    const NO_SETTINGS: [&str; 2] = ["self_trace", "dry_run"];

    #[test]
    fn every_option_of_run_has_its_setting() {
        let program = Arguments::command();
        let run = program.find_subcommand("run").unwrap();
        let of_setting = |flag: &str| {
            let found = run.get_arguments().find(|argument| match flag.strip_prefix("--") {
                Some(long) => argument.get_long() == Some(long),
                None => argument.get_short() == flag.chars().nth(1),
            });
            found.unwrap_or_else(|| panic!("`run` has no option {flag}")).get_id().as_str().to_owned()
        };
        let named: BTreeSet<String> = Setting::ALL.iter().map(|setting| of_setting(flag(*setting))).collect();
        assert_eq!(named.len(), Setting::ALL.len(), "two settings have the same flag");
        let all: BTreeSet<String> = run.get_arguments().map(|argument| argument.get_id().as_str().to_owned()).collect();
        let without: Vec<&String> = all.difference(&named).filter(|id| !NO_SETTINGS.contains(&id.as_str())).collect();
        assert!(without.is_empty(), "these options are no settings: {without:?}");
    }

    #[test]
    fn every_action_is_a_command_that_parses() {
        for action in Action::ALL {
            let words = command(*action).split(' ');
            let error = Arguments::command().try_get_matches_from(words).err();
            // `inferometer predict` is the name of a command that needs arguments.
            let error = error.filter(|error| error.kind() != ErrorKind::MissingRequiredArgument);
            assert!(error.is_none(), "{}: {error:?}", command(*action));
        }
    }

    fn zero_runs() -> Options {
        Options { design: Design { runs: 0, ..Design::default() }, ..Options::default() }
    }

    #[test]
    fn texts_of_libraries_get_flags_and_commands() {
        record::name_settings(NAMES);
        let zero = measure::plan::check(&zero_runs()).unwrap_err();
        let error = record::Error::from(zero);
        let advice = super::super::advice::advice(&error.into());
        assert_eq!(advice.as_deref(), Some("leave -r out for 5"));
        assert_eq!(Action::ListRuns.to_string(), "`inferometer runs list`");
    }
}
