//! `inferometer worker`: the worker process of a run (one engine, one model, one thread count). Only a run starts it.

use std::path::PathBuf;

use clap::Args;

use super::failure::Code;

/// Serve a run over a socket
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The socket of the run
    #[arg(value_name = "PATH")]
    socket: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Code> {
    measure::worker::serve(&arguments.socket)?;
    Ok(Code::Done)
}
