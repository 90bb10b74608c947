//! `inferometer completions SHELL`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::failure::Code;

/// Write a completion script to stdout
#[derive(Debug, Args)]
#[command(
    after_help = "Example: inferometer completions bash > ~/.local/share/bash-completion/completions/inferometer"
)]
pub(super) struct Arguments {
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Code> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "inferometer", &mut script);
    super::output::print(&record::Printable::new(&String::from_utf8_lossy(&script)))?;
    Ok(Code::Done)
}
