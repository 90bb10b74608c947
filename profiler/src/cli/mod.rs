//! The command line: one file per command. A command turns its arguments into plain structs and calls the libraries.
//!
//! Only this module prints: results to stdout, progress and errors to stderr.

mod advice;
mod browser;
mod compare;
mod completions;
mod engines;
mod failure;
mod form;
mod habits;
mod interrupt;
mod kv_types;
mod machine;
mod models;
mod names;
mod output;
mod predict;
mod predict_model;
mod progress;
mod report;
mod run;
mod runs;
mod self_trace;
mod trace;
mod worker;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use failure::Code;

/// Measure where an LLM inference engine spends its time and memory on this machine, and why.
///
/// Without a command this is `inferometer run`: the default model on the default engine over the five seed prompts. The options of
/// `run` work without the word `run`, and a model may be the first word.
#[derive(Debug, Parser)]
#[command(name = "inferometer", version, propagate_version = true, max_term_width = 100)]
#[command(override_usage = "inferometer [MODEL] [OPTIONS OF run]\n       inferometer COMMAND [OPTIONS]")]
#[command(after_help = "\
Examples:
  inferometer model.gguf --prompt-tokens 512 -n 128 -t 1,2
  inferometer -m owner/repo:Q4_K_M --prompt 'Hello'
  inferometer -e openai --url http://localhost:8080
  inferometer compare llama-bench.json runs/NAME

`inferometer run --help` has the options. Options of llama-bench, llama-cli, hyperfine and others are \
answered with the command to type; docs/from-other-tools.md in the source of inferometer lists them.")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// Record this program's own work (fetching, loading, reporting) as a Chrome trace
    #[arg(long, value_name = "FILE", global = true)]
    self_trace: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(Box<run::Arguments>),
    Compare(compare::Arguments),
    Report(report::Arguments),
    #[command(subcommand)]
    Runs(runs::Verb),
    #[command(subcommand)]
    Trace(trace::Verb),
    Machine(machine::Arguments),
    Predict(predict::Arguments),
    #[command(subcommand)]
    Models(models::Verb),
    #[command(subcommand)]
    Engines(engines::Verb),
    Completions(completions::Arguments),
    #[command(hide = true)]
    Worker(worker::Arguments),
}

/// Runs a command. Exit codes: 0 success, 1 something failed, 2 bad usage or input, 3 a gate failed, 130 interrupted.
pub(crate) fn main() -> ExitCode {
    redaction::learn_environment(std::env::vars_os());
    record::name_settings(names::NAMES);
    // The command line's secrets are known before anything is printed.
    let _ = crate::tool::command_line();
    let words: Vec<OsString> = std::env::args_os().collect();
    let words = match habits::understood(words, &Arguments::command()) {
        Ok(words) => words,
        Err(error) => return failure::exit_code(Err(error.into())),
    };
    let arguments = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(error) => return failure::of_command_line(&error, &words),
    };
    // Dropped at the end of this function, which completes the trace.
    let recording = arguments.self_trace.as_deref().map(self_trace::start).transpose();
    let done = recording.and_then(|_guard| dispatch(arguments.verb));
    failure::exit_code(done)
}

fn dispatch(verb: Verb) -> anyhow::Result<Code> {
    match verb {
        Verb::Run(arguments) => run::run(*arguments),
        Verb::Compare(arguments) => compare::run(&arguments),
        Verb::Report(arguments) => report::run(&arguments),
        Verb::Runs(verb) => runs::run(&verb),
        Verb::Trace(verb) => trace::run(&verb),
        Verb::Machine(arguments) => machine::run(&arguments),
        Verb::Predict(arguments) => predict::run(&arguments),
        Verb::Models(verb) => models::run(&verb),
        Verb::Engines(verb) => engines::run(&verb),
        Verb::Completions(arguments) => completions::run(&arguments),
        Verb::Worker(arguments) => worker::run(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
