//! A session with a server: one request after the other, each on a new connection.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use models::chat::Message;
use traces::{Nanos, clock};

use super::error::{Problem, RequestError};
use super::exo::Placed;
use super::http::Http;
use super::load::{self, LoadSource};
use super::nonce::{self, NoncePlace};
use super::preprocessing::Query;
use super::refused_fields::RefusedFields;
use super::response::{Next, Response};
use super::server_process::ServerProcess;
use super::server_request::{ServerRequest, cache_bypass};
use super::settings::Settings;
use super::software::{self, Software};
use super::sse::{Parser, TooLong};
use super::tinygrad_log::RequestLog;
use crate::{
    EngineError, KvBytes, LoadFigure, NullObserver, Observer, PreprocessingOutput, PreprocessingStep, Prompt, Request,
    Server, ServerInfo, ServerLoad, Session, Steps, Usage,
};

/// Maximum number of bytes per read.
const READ_BYTES: usize = 64 << 10;

/// A server and its model.
pub(super) struct Connection {
    pub(super) http: Arc<Http>,
    pub(super) settings: Settings,
    pub(super) software: Software,
    pub(super) remote: ServerInfo,
    /// Fields that the server refuses.
    pub(super) refused: RefusedFields,
    /// Where the server says how busy it is.
    pub(super) sources: Vec<LoadSource>,
    /// The log of a server that writes there what it does.
    pub(super) log: Option<RefCell<RequestLog>>,
    /// Where the digits that bypass the prefix cache are in a chat.
    pub(super) nonce_place: NoncePlace,
    /// Whether the server has answered a chat with digits there.
    pub(super) is_nonce_accepted: bool,
    /// The instance that exo placed for this connection. It is dropped before the process.
    pub(super) _placed: Option<Placed>,
    /// The process of the server, if it was started here.
    pub(super) process: Option<ServerProcess>,
}

impl Connection {
    /// Requests one token: mlx_lm.server answers queries before its model is loaded, so that only a token shows that it is ready.
    pub(super) fn warm_up(&mut self, notify: &mut dyn FnMut(&str)) -> Result<(), EngineError> {
        let messages = vec![Message::new("user", "hi")];
        let prompt = Prompt::Text { text: String::new(), add_bos: false, messages };
        let request = Request { prompt, max_new_tokens: 1, ignore_eos: false };
        repeated(notify, || self.generate(&request, &mut NullObserver).map(drop))?;
        self.remote.details.insert("warmed".to_owned(), "by a request for one token".to_owned());
        Ok(())
    }

    fn request(&self, request: &Request) -> Result<ServerRequest, EngineError> {
        let (software, settings) = (self.software, &self.settings);
        ServerRequest::new(software, &self.remote.model, settings, &self.refused, request, self.nonce_place)
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
            observer.arrival();
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

    /// Reads what the server has added to its log.
    fn read_log(&self, load: &mut ServerLoad) {
        let (Some(log), Some(process)) = (&self.log, &self.process) else { return };
        let mut log = log.borrow_mut();
        // An output that cannot be read has no further requests.
        if let Ok(bytes) = process.output_since(log.position) {
            log.push(&bytes);
        }
        load.sources.push("log".to_owned());
        load.figures.insert(LoadFigure::Ended, log.requests as f64);
        load.logged.clone_from(&log.last);
    }

    /// The error of a request, or the command to repeat it: if the server refuses a field that it does not need, or asks to wait for a
    /// time that the settings allow.
    fn failure(&mut self, error: RequestError, request: &ServerRequest, of: &Request) -> EngineError {
        let error = match self.refused.learn(&error, &request.body, &self.settings.body) {
            Some(field) => {
                let error =
                    error.repeat_after(Duration::ZERO).and(&format!("it is sent without `{field}` from now on"));
                self.remote.details.insert("left_out".to_owned(), self.refused.to_string());
                self.remote.cache = cache_bypass(self.software, &self.settings, &self.refused);
                error
            }
            None if self.may_refuse_digits(&error, request, of) => {
                // The next request has its digits elsewhere. If it fails too, they were not the cause.
                self.nonce_place = match self.nonce_place {
                    NoncePlace::System => NoncePlace::FirstMessage,
                    NoncePlace::FirstMessage => NoncePlace::System,
                };
                match self.nonce_place {
                    NoncePlace::System => error.within(self.settings.ready),
                    NoncePlace::FirstMessage => error
                        .repeat_after(Duration::ZERO)
                        .and("the digits that bypass the prefix cache are in the first message from now on"),
                }
            }
            None => error.within(self.settings.ready),
        };
        self.with_exit(error)
    }
}

impl Connection {
    /// Whether the error may come from a chat template that takes no system message, which the digits are.
    fn may_refuse_digits(&self, error: &RequestError, sent: &ServerRequest, request: &Request) -> bool {
        !self.is_nonce_accepted && has_own_system_message(sent, request) && error.is_about_messages()
    }
}

/// How often a request is repeated at most.
const MOST_REPEATS: usize = 8;

/// Sends a request again as long as the server asks for it.
fn repeated(
    notify: &mut dyn FnMut(&str),
    mut send: impl FnMut() -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    for _ in 0..MOST_REPEATS {
        match send() {
            Err(error @ EngineError::Repeat { wait, .. }) => {
                notify(&error.to_string());
                clock::sleep(Nanos::from_secs_f64(wait.as_secs_f64()));
            }
            result => return result,
        }
    }
    send()
}

/// Whether the digits of a request are a system message of their own.
fn has_own_system_message(sent: &ServerRequest, request: &Request) -> bool {
    match &request.prompt {
        Prompt::Text { messages, .. } => {
            sent.nonce.is_some() && !messages.is_empty() && nonce::needs_system_message(messages)
        }
        Prompt::Tokens(_) => false,
    }
}

impl Session for Connection {
    fn generate(&mut self, request: &Request, observer: &mut dyn Observer) -> Result<Usage, EngineError> {
        let server_request = self.request(request)?;
        let mut response = Response::begin(request, observer);
        let sent = self.send(&server_request, &mut response, observer);
        response.close(observer);
        sent.map_err(|error| self.failure(error.after(response.pieces()), &server_request, request))?;
        self.is_nonce_accepted |= server_request.nonce.is_some();
        let failed = |problem| RequestError::new(&self.http.place("POST", server_request.path), problem);
        let (finish, output_tokens) = response.finish().map_err(failed)?;
        let prompt_ids = match &request.prompt {
            Prompt::Tokens(ids) => ids.clone(),
            Prompt::Text { .. } => Vec::new(),
        };
        software::learn(self.software, &mut self.remote, response.fingerprint, &response.reported);
        let mut reported = response.reported;
        reported.nonce = server_request.nonce;
        reported.bypass = server_request.bypass;
        let prompt_tokens = reported.prompt_tokens.unwrap_or(prompt_ids.len());
        Ok(Usage { prompt_ids, prompt_tokens, output_tokens, finish, reported: Some(reported) })
    }

    /// A server keeps no context between requests except its prefix cache, which each request bypasses.
    fn reset(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Servers do not report it.
    fn kv_bytes(&self) -> Option<KvBytes> {
        None
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

    fn load(&self) -> Result<Option<ServerLoad>, EngineError> {
        if self.sources.is_empty() && self.log.is_none() {
            return Ok(None);
        }
        let mut load = load::read(&self.http, &self.sources, &self.remote.model)?;
        self.read_log(&mut load);
        Ok(Some(load))
    }

    fn preprocess(&self, part: PreprocessingStep, prompt: &Prompt) -> Result<Option<PreprocessingOutput>, EngineError> {
        let query = Query::new(self.software, &self.remote.model, &self.settings, part, prompt);
        Ok(query.map(|query| query.send(&self.http)).transpose()?)
    }
}
