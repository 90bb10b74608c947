//! A session with a server: one request after the other, each on a new connection.

use std::sync::Arc;

use models::chat::Message;

use super::error::{Problem, RequestError};
use super::exo::Placed;
use super::http::Http;
use super::preprocessing::Query;
use super::response::{Next, Response};
use super::server_process::ServerProcess;
use super::server_request::ServerRequest;
use super::settings::Settings;
use super::software::Software;
use super::sse::{Parser, TooLong};
use crate::{
    EngineError, KvBytes, NullObserver, Observer, PreprocessingOutput, PreprocessingStep, Prompt, Request, Server,
    ServerInfo, Session, Steps, Usage,
};

/// Maximum number of bytes per read.
const READ_BYTES: usize = 64 << 10;

/// A server and its model.
pub(super) struct Connection {
    pub(super) http: Arc<Http>,
    pub(super) settings: Settings,
    pub(super) software: Software,
    pub(super) remote: ServerInfo,
    /// The instance that exo placed for this connection. It is dropped before the process.
    pub(super) _placed: Option<Placed>,
    /// The process of the server, if it was started here.
    pub(super) process: Option<ServerProcess>,
}

impl Connection {
    /// Requests one token: mlx_lm.server answers queries before its model is loaded, so that only a token shows that it is ready.
    pub(super) fn warm_up(&mut self) -> Result<(), EngineError> {
        let messages = vec![Message::new("user", "hi")];
        let prompt = Prompt::Text { text: String::new(), add_bos: false, messages };
        self.generate(&Request { prompt, max_new_tokens: 1, ignore_eos: false }, &mut NullObserver)?;
        self.remote.details.insert("warmed".to_owned(), "by a request for one token".to_owned());
        Ok(())
    }

    /// Sends a request and processes its response.
    fn send(
        &self,
        request: &ServerRequest,
        response: &mut Response,
        observer: &mut dyn Observer,
    ) -> Result<(), RequestError> {
        let mut stream = self.http.stream(request.path, &request.body)?;
        let mut parser = Parser::new(request.framing);
        let (mut buffer, mut events) = (vec![0; READ_BYTES], Vec::new());
        loop {
            let length = stream.read(&mut buffer)?;
            let failed = |problem| RequestError::new(stream.place(), problem);
            if length == 0 {
                parser.finish(&mut events);
            } else if parser.push(&buffer[..length], &mut events) == Err(TooLong) {
                return Err(failed(Problem::Unexpected("found a line without an end".to_owned())));
            }
            for event in events.drain(..) {
                if response.process(&event, observer).map_err(failed)? == Next::Close {
                    return Ok(());
                }
            }
            if length == 0 {
                return Ok(());
            }
        }
    }

    /// Adds the exit of the server to an error, if the server has exited.
    fn with_exit(&mut self, error: RequestError) -> EngineError {
        let exit = self.process.as_mut().and_then(ServerProcess::exit_report);
        match (EngineError::from(error), exit) {
            (EngineError::Failed { engine, place, reason, advice }, Some(exit)) => EngineError::Failed {
                engine,
                place,
                reason: format!("{reason}, the server has exited: {exit}"),
                advice,
            },
            (error, _) => error,
        }
    }

    /// Records the fingerprint of a response. That of mlx_lm.server contains its version, that of MLX and the system's, separated
    /// by dashes; it reports its version nowhere else.
    fn record_fingerprint(&mut self, fingerprint: Option<String>) {
        let Some(fingerprint) = fingerprint else { return };
        if self.software == Software::MlxLm && self.remote.version.is_none() {
            self.remote.version = fingerprint.split('-').next().map(str::to_owned);
        }
        self.remote.details.insert("system_fingerprint".to_owned(), fingerprint);
    }
}

impl Session for Connection {
    fn generate(&mut self, request: &Request, observer: &mut dyn Observer) -> Result<Usage, EngineError> {
        let server_request = ServerRequest::new(self.software, &self.remote.model, &self.settings, request)?;
        let mut response = Response::begin(request.max_new_tokens, observer);
        let sent = self.send(&server_request, &mut response, observer);
        response.close(observer);
        sent.map_err(|error| self.with_exit(error.after(response.pieces())))?;
        let failed = |problem| RequestError::new(&self.http.place("POST", server_request.path), problem);
        let (finish, output_tokens) = response.end().map_err(failed)?;
        let prompt_ids = match &request.prompt {
            Prompt::Tokens(ids) => ids.clone(),
            Prompt::Text { .. } => Vec::new(),
        };
        self.record_fingerprint(response.fingerprint);
        let mut reported = response.reported;
        reported.nonce = server_request.nonce;
        let prompt_tokens = reported.prompt_tokens.unwrap_or(prompt_ids.len());
        Ok(Usage { prompt_ids, prompt_tokens, output_tokens, finish, reported: Some(reported) })
    }

    /// A server keeps no context between requests except its prefix cache, which each request bypasses.
    fn reset(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Servers do not report it.
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
    fn info(&self) -> ServerInfo {
        self.remote.clone()
    }

    fn preprocess(&self, part: PreprocessingStep, prompt: &Prompt) -> Result<Option<PreprocessingOutput>, EngineError> {
        let query = Query::new(self.software, &self.remote.model, &self.settings, part, prompt);
        Ok(query.map(|query| query.send(&self.http)).transpose()?)
    }
}
