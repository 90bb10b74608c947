//! Waiting until a server can serve.
//!
//! Time is counted by the pauses and by the questions that nobody answered, for an engine reads no clock: the limit is one of
//! patience, not a measurement.

use std::time::Duration;

use traces::{Nanos, clock};

use super::NAME;
use super::failure::Problem;
use super::http::Http;
use super::process::Process;
use super::settings::Settings;
use super::software::{self, Found};
use crate::EngineError;

/// Between two looks at a server that is not ready.
const PAUSE: Duration = Duration::from_millis(50);

/// How long is waited, and for whom.
pub(super) struct Patience<'a> {
    limit: Duration,
    question: Duration,
    waited: Duration,
    /// The server, where it was started here.
    process: Option<&'a mut Process>,
}

impl<'a> Patience<'a> {
    pub(super) fn new(settings: &Settings, process: Option<&'a mut Process>) -> Self {
        Self { limit: settings.ready, question: settings.connect, waited: Duration::ZERO, process }
    }

    /// Asks who answers until somebody does who can serve. A server that was started here may take its time to answer at all.
    pub(super) fn identify(&mut self, http: &Http) -> Result<Found, EngineError> {
        loop {
            let failure = match software::identify(http) {
                Ok(found) => {
                    self.is_alive()?;
                    return Ok(found);
                }
                Err(failure) => failure,
            };
            let is_loading = matches!(failure.problem, Problem::Status { status: 503, .. });
            let goes_on = is_loading || self.process.is_some() && failure.may_pass();
            if !goes_on {
                return Err(failure.into());
            }
            if matches!(failure.problem, Problem::Silent(..)) {
                self.waited += self.question;
            }
            self.pause(PAUSE, || failure.into())?;
        }
    }

    /// Waits a little; an error when that was the last time, with what is still wrong, or when the server has ended.
    pub(super) fn pause(&mut self, time: Duration, wrong: impl FnOnce() -> EngineError) -> Result<(), EngineError> {
        self.is_alive()?;
        if self.waited >= self.limit {
            let words = self.process.as_ref().map_or_else(String::new, |process| format!("; {}", process.last_words()));
            return Err(EngineError::Failed {
                engine: NAME,
                place: "the wait for the server".to_owned(),
                reason: format!(
                    "it is not ready after {} s ({}){words}; for a longer wait --set openai.ready_s=SECONDS",
                    self.limit.as_secs_f64(),
                    wrong()
                ),
            });
        }
        clock::sleep(Nanos::from_secs_f64(time.as_secs_f64()));
        self.waited += time;
        Ok(())
    }

    /// Whoever answers at the address of a server that has ended is another one.
    fn is_alive(&mut self) -> Result<(), EngineError> {
        match self.process.as_mut().and_then(|process| process.ended()) {
            Some(words) => Err(EngineError::Failed {
                engine: NAME,
                place: "the start of the server".to_owned(),
                reason: format!("it ended before it could serve: {words}"),
            }),
            None => Ok(()),
        }
    }
}
