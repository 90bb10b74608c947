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
use super::software::{self, Known, ServerIdentity};
use crate::EngineError;

/// Time between two queries of a server that is not ready.
const PAUSE: Duration = Duration::from_millis(50);
/// The time between two messages about the wait, and before the first one.
const MESSAGE: Duration = Duration::from_secs(2);

/// The wait for a server, up to a limit.
pub(super) struct ReadinessWait<'a> {
    limit: Duration,
    query_timeout: Duration,
    waited: Duration,
    /// When the next message is due.
    next_message: Duration,
    is_model_known: bool,
    notify: &'a mut dyn FnMut(&str),
    /// The process of the server, if it was started here.
    process: Option<&'a mut ServerProcess>,
}

impl<'a> ReadinessWait<'a> {
    /// `notify` receives what is waited for, each time after a while.
    pub(super) fn new(
        settings: &Settings,
        process: Option<&'a mut ServerProcess>,
        notify: &'a mut dyn FnMut(&str),
    ) -> Self {
        Self {
            limit: settings.ready,
            query_timeout: settings.connect,
            waited: Duration::ZERO,
            next_message: MESSAGE,
            is_model_known: settings.model.is_some(),
            notify,
            process,
        }
    }

    /// Queries the server until it is ready. A server that was started here may need time until it answers at all.
    pub(super) fn identify(&mut self, http: &Http) -> Result<ServerIdentity, EngineError> {
        loop {
            let known = Known { model: self.is_model_known, is_starting: self.process.is_some() };
            let error = match software::identify(http, known) {
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
            let what = if is_loading { "to load the model" } else { "to answer" };
            self.pause(PAUSE, what, || error.into())?;
        }
    }

    /// Waits for `time`, for the server to do `what`. An error if the limit is reached, with `cause`, or if the server has exited.
    pub(super) fn pause(
        &mut self,
        time: Duration,
        what: &str,
        cause: impl FnOnce() -> EngineError,
    ) -> Result<(), EngineError> {
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
        if self.waited >= self.next_message {
            let cause = match cause() {
                EngineError::Failed { place, reason, .. } => format!("{place}: {reason}"),
                other => other.to_string(),
            };
            (self.notify)(&format!("waiting for the server {what} ({} s; {cause})", self.waited.as_secs()));
            // The longer it takes, the rarer the messages.
            self.next_message = (self.waited + MESSAGE).max(self.waited.mul_f64(1.5));
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
