//! A session with a server: one request after the other, each on a connection of its own.

use std::sync::Arc;

use super::ahead;
use super::answer::{Answer, Next};
use super::call::Call;
use super::exo::Placed;
use super::failure::{Failure, Problem};
use super::http::Http;
use super::process::Process;
use super::settings::Settings;
use super::software::Software;
use super::sse::{Parser, TooLong};
use crate::{Ahead, EngineError, Given, KvBytes, Observer, Prompt, Remote, Request, Server, Session, Steps, Usage};

/// So much is read at once, at most.
const PORTION: usize = 64 << 10;

/// A server that has a model.
pub(super) struct Connection {
    pub(super) http: Arc<Http>,
    pub(super) settings: Settings,
    pub(super) software: Software,
    pub(super) remote: Remote,
    /// What exo placed for it; it goes before the server does.
    pub(super) _placed: Option<Placed>,
    /// The server, where it was started here.
    pub(super) process: Option<Process>,
}

impl Connection {
    /// Sends a request and reads until the answer has ended.
    fn ask(&self, call: &Call, answer: &mut Answer, observer: &mut dyn Observer) -> Result<(), Failure> {
        let mut stream = self.http.stream(call.path, &call.body)?;
        let mut parser = Parser::new(call.framing);
        let (mut portion, mut events) = (vec![0; PORTION], Vec::new());
        loop {
            let length = stream.read(&mut portion)?;
            let told = |problem| Failure::new(stream.place(), problem);
            if length == 0 {
                parser.finish(&mut events);
            } else if parser.push(&portion[..length], &mut events) == Err(TooLong) {
                return Err(told(Problem::Broken("a line that does not end".to_owned())));
            }
            for event in events.drain(..) {
                if answer.take(&event, observer).map_err(told)? == Next::Close {
                    return Ok(());
                }
            }
            if length == 0 {
                return Ok(());
            }
        }
    }
}

impl Connection {
    /// A failure with the reason for it, where the server has ended.
    fn explained(&mut self, failure: Failure) -> EngineError {
        let words = self.process.as_mut().and_then(Process::ended);
        match (EngineError::from(failure), words) {
            (EngineError::Failed { engine, place, reason }, Some(words)) => {
                EngineError::Failed { engine, place, reason: format!("{reason}; the server has ended: {words}") }
            }
            (error, _) => error,
        }
    }

    /// Some tell their version in their answers alone: mlx_lm.server its own, MLX's and the system's, between dashes.
    fn learn(&mut self, fingerprint: Option<String>) {
        let Some(fingerprint) = fingerprint else { return };
        if self.software == Software::MlxLm && self.remote.version.is_none() {
            self.remote.version = fingerprint.split('-').next().map(str::to_owned);
        }
        self.remote.details.insert("system_fingerprint".to_owned(), fingerprint);
    }
}

impl Session for Connection {
    fn generate(&mut self, request: &Request, observer: &mut dyn Observer) -> Result<Usage, EngineError> {
        let call = Call::new(self.software, &self.remote.model, &self.settings, request)?;
        let mut answer = Answer::begin(request.max_new_tokens, observer);
        let asked = self.ask(&call, &mut answer, observer);
        answer.close(observer);
        asked.map_err(|failure| self.explained(failure.after(answer.pieces())))?;
        let ended = answer.end().map_err(|problem| Failure::new(&self.http.place("POST", call.path), problem));
        let (finish, output_tokens) = ended?;
        let prompt_ids = match &request.prompt {
            Prompt::Tokens(ids) => ids.clone(),
            Prompt::Text { .. } => Vec::new(),
        };
        self.learn(answer.fingerprint);
        let mut reported = answer.reported;
        reported.nonce = call.nonce;
        let prompt_tokens = reported.prompt_tokens.unwrap_or(prompt_ids.len());
        Ok(Usage { prompt_ids, prompt_tokens, output_tokens, finish, reported: Some(reported) })
    }

    /// A server keeps no context between two requests but its prefix cache, which each request deals with.
    fn reset(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Servers do not tell.
    fn kv_bytes(&self) -> KvBytes {
        KvBytes::default()
    }

    fn server(&self) -> Option<&dyn Server> {
        Some(self)
    }

    fn steps(&mut self) -> Option<&mut dyn Steps> {
        None
    }
}

impl Server for Connection {
    fn remote(&self) -> Remote {
        self.remote.clone()
    }

    fn ahead(&self, part: Ahead, prompt: &Prompt) -> Result<Option<Given>, EngineError> {
        let Some(question) = ahead::Question::new(self.software, &self.remote.model, &self.settings, part, prompt)
        else {
            return Ok(None);
        };
        Ok(Some(question.ask(&self.http)?))
    }
}
