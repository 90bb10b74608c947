//! `inferometer worker`: one engine, one model, one thread count. Started by a run, not by people.

use std::path::PathBuf;

use clap::Args;

use super::failure::Code;

/// Serve a run over a socket
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where the run listens
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Code> {
    measure::worker::serve(&arguments.socket)?;
    Ok(Code::Done)
}
