//! Serves commands until the main process ends the connection.

use std::os::unix::net::UnixStream;
use std::path::Path;

use record::{Error, Reason};

use super::open_engine::OpenEngine;
use super::prober::Prober;
use super::{examine, request};
use crate::protocol::{Channel, FromWorker, SharedStatus, ToWorker};

/// Serves commands from this socket until one of them is to quit, or until the other end is closed. Call it before this process has
/// a second thread: perf counters follow only threads that begin later.
///
/// # Errors
/// When the socket or the status file cannot be opened, or a message cannot be read or written.
pub fn serve(socket: &Path) -> Result<(), Error> {
    let status = SharedStatus::open(&SharedStatus::path_of(socket))?;
    let stream = UnixStream::connect(socket).map_err(Error::file(socket, "connect to"))?;
    let mut channel = Channel::new(stream);
    let mut engine: Option<OpenEngine> = None;
    let mut prober = Prober::default();
    while let Some(command) = channel.receive::<ToWorker>().map_err(Error::file(socket, "read from"))? {
        // A message that cannot be sent is followed by a reply that cannot be sent either, which ends this process.
        let mut notify = |text: &str| drop(channel.send(&FromWorker::Notice(text.to_owned())));
        let reply = match (&mut engine, command) {
            (_, ToWorker::Quit) => break,
            (engine, ToWorker::Open(options)) => OpenEngine::open(&options).map(|(opened, reply)| {
                *engine = Some(opened);
                FromWorker::Opened(Box::new(reply))
            }),
            (Some(engine), ToWorker::Load(load)) => {
                engine.load(&load, &status, &mut notify).map(|loaded| FromWorker::Loaded(Box::new(loaded)))
            }
            (Some(engine), ToWorker::Unload) => {
                engine.unload();
                Ok(FromWorker::Unloaded)
            }
            (Some(engine), ToWorker::Measure(spec)) => request::measure(engine, &spec, &status, &mut notify)
                .map(|measured| FromWorker::Measured(Box::new(measured))),
            (Some(engine), ToWorker::Examine(text)) => {
                examine::examine(engine, &text, &status).map(FromWorker::Examined)
            }
            (_, ToWorker::Probe(command)) => Ok(FromWorker::Probed(Box::new(prober.probe(&command)))),
            (None, _) => Err(Reason::new("no engine is open: expected `open` as the first command")),
        };
        status.clear_phase();
        channel.send(&reply.unwrap_or_else(FromWorker::Failed)).map_err(Error::file(socket, "write to"))?;
    }
    Ok(())
}
