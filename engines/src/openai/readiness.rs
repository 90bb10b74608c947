//! Waiting until a server is ready.
//!
//! Engines read no clock: the waited time is the sum of the pauses and of the timeouts of queries, which is exact enough for a
//! limit.

use std::time::Duration;

use traces::{Nanos, clock};

use super::NAME;
use super::error::Problem;
use super::http::Http;
use super::server_process::ServerProcess;
use super::settings::Settings;
use super::software::{self, ServerIdentity};
use crate::EngineError;

/// Time between two queries of a server that is not ready.
const PAUSE: Duration = Duration::from_millis(50);

/// The wait for a server, up to a limit.
pub(super) struct ReadinessWait<'a> {
    limit: Duration,
    query_timeout: Duration,
    waited: Duration,
    /// The process of the server, if it was started here.
    process: Option<&'a mut ServerProcess>,
}

impl<'a> ReadinessWait<'a> {
    pub(super) fn new(settings: &Settings, process: Option<&'a mut ServerProcess>) -> Self {
        Self { limit: settings.ready, query_timeout: settings.connect, waited: Duration::ZERO, process }
    }

    /// Queries the server until it is ready. A server that was started here may need time until it answers at all.
    pub(super) fn identify(&mut self, http: &Http) -> Result<ServerIdentity, EngineError> {
        loop {
            let error = match software::identify(http) {
                Ok(found) => {
                    self.check_process()?;
                    return Ok(found);
                }
                Err(error) => error,
            };
            let is_loading = matches!(error.problem, Problem::Status { status: 503, .. });
            let retry = is_loading || self.process.is_some() && error.is_transient();
            if !retry {
                return Err(error.into());
            }
            if matches!(error.problem, Problem::Timeout(..)) {
                self.waited += self.query_timeout;
            }
            self.pause(PAUSE, || error.into())?;
        }
    }

    /// Waits for `time`. An error if the limit is reached, with `cause`, or if the server has exited.
    pub(super) fn pause(&mut self, time: Duration, cause: impl FnOnce() -> EngineError) -> Result<(), EngineError> {
        self.check_process()?;
        if self.waited >= self.limit {
            let output =
                self.process.as_ref().map_or_else(String::new, |process| format!(", {}", process.last_output()));
            return Err(EngineError::failed_with_advice(
                NAME,
                "the wait for the server",
                format!("it is not ready after {} s ({}){output}", self.limit.as_secs_f64(), cause()),
                "increase the setting openai.ready_s to wait longer",
            ));
        }
        clock::sleep(Nanos::from_secs_f64(time.as_secs_f64()));
        self.waited += time;
        Ok(())
    }

    /// Fails if the server's process has exited: then another server answers at its address.
    fn check_process(&mut self) -> Result<(), EngineError> {
        match self.process.as_mut().and_then(|process| process.exit_report()) {
            Some(exit) => {
                let reason = format!("it exited before it was ready: {exit}");
                Err(EngineError::failed(NAME, "the start of the server", reason))
            }
            None => Ok(()),
        }
    }
}
