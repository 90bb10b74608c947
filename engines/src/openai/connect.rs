//! Connects to a server: starts it if necessary, identifies it, selects the model, and waits until it is ready.

use std::cell::RefCell;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use redaction::Sensitive;

use super::NAME;
use super::exo;
use super::http::Http;
use super::load;
use super::nonce::NoncePlace;
use super::readiness::ReadinessWait;
use super::refused_fields::RefusedFields;
use super::server_process::ServerProcess;
use super::server_request;
use super::session::Connection;
use super::settings::Settings;
use super::software::{ServerIdentity, Software};
use crate::suggest::{did_you_mean, nearest};
use crate::{EngineError, LoadOptions, ServerInfo, Session};

/// The placeholder for a free port in a command and in an address.
const PORT: &str = "{port}";

/// Connects to the server of the options, or starts it.
pub(super) fn connect(
    options: &LoadOptions,
    settings: Settings,
    notify: &mut dyn FnMut(&str),
) -> Result<Box<dyn Session>, EngineError> {
    let (http, mut process) = match (&options.spawn, &options.url) {
        (Some(command), url) => start(command, url.as_ref(), &settings)?,
        (None, Some(url)) => (Http::new(url.expose(), &settings)?, None),
        (None, None) => return Err(no_address()),
    };
    let http = Arc::new(http);
    let mut wait = ReadinessWait::new(&settings, process.as_mut(), notify);
    let mut found = wait.identify(&http)?;
    let (model, placed) = match found.software {
        Software::Exo => exo::ready(&http, &mut found, &settings, &mut wait)?,
        _ => (model(&http, &found, &settings)?, None),
    };
    let software = found.software;
    let mut remote = ServerInfo {
        software: found.name,
        version: found.version,
        model,
        url: http.base(),
        address: http.socket(),
        pid: process.as_ref().map(ServerProcess::pid),
        cache: server_request::cache_bypass(software, &settings, &RefusedFields::default()),
        details: found.details,
        models: found.models,
        other_requests: Ok(()),
    };
    let (sources, other_requests) = load::sources(&http, software, &remote.model);
    let has_log = software == Software::Tinygrad && process.is_some();
    if !has_log {
        remote.other_requests = other_requests;
    }
    let log = has_log.then(RefCell::default);
    let was_started_here = process.is_some();
    let refused = RefusedFields::default();
    let mut connection = Connection {
        http,
        settings,
        software,
        remote,
        refused,
        sources,
        log,
        nonce_place: NoncePlace::default(),
        is_nonce_accepted: false,
        _placed: placed,
        process,
    };
    if was_started_here && software == Software::MlxLm {
        notify("waiting for the server to load the model, which it does at the first request");
        connection.warm_up(notify)?;
    }
    Ok(Box::new(connection))
}

/// Checks the form of address and command, without network access.
pub(super) fn check(options: &LoadOptions, settings: &Settings) -> Result<(), EngineError> {
    match (&options.url, &options.spawn) {
        (Some(url), Some(command)) if command.contains(PORT) && !url.contains(PORT) => Err(EngineError::unsupported(
            NAME,
            format!("the address {url} of a server that is started on a free port"),
            "leave the address out, or put {port} into it too",
        )),
        (Some(url), _) => Ok(Http::new(url.replace(PORT, "1").expose(), settings).map(|_| ())?),
        (None, Some(command)) if !command.contains(PORT) => Err(EngineError::unsupported(
            NAME,
            format!("the command `{command}`: the address of its server is not known"),
            "put {port} in the place of its port, or give its address",
        )),
        (None, _) => Ok(()),
    }
}

/// Starts a server at an address where no server answers yet.
fn start(
    command: &Sensitive,
    url: Option<&Sensitive>,
    settings: &Settings,
) -> Result<(Http, Option<ServerProcess>), EngineError> {
    let has_port = command.contains(PORT);
    let port = if has_port { free_port()?.to_string() } else { String::new() };
    let (command, url) = match url {
        Some(url) => (command.replace(PORT, &port), url.replace(PORT, &port)),
        None => (command.replace(PORT, &port), Sensitive::address(&format!("http://127.0.0.1:{port}"))),
    };
    let http = Http::new(url.expose(), settings)?;
    let is_taken = http.socket().is_some_and(|address| TcpStream::connect_timeout(&address, settings.connect).is_ok());
    if is_taken {
        return Err(EngineError::failed_with_advice(
            NAME,
            "the start of the server",
            format!("another server answers at {} already", http.base()),
            "stop it, measure it by its address alone, or put {port} into the command",
        ));
    }
    Ok((http, Some(ServerProcess::start(&command, settings.log.as_deref())?)))
}

/// A port that is free at the moment.
fn free_port() -> Result<u16, EngineError> {
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map(|address| address.port());
    port.map_err(|error| EngineError::failed(NAME, "the search for a free port", error.to_string()))
}

/// The model to use: the one of the settings, or the only one.
fn model(http: &Http, found: &ServerIdentity, settings: &Settings) -> Result<String, EngineError> {
    let models = found.listed();
    let names = || super::error::quote(&models.join(", "));
    if let Some(model) = &settings.model {
        // These servers accept any name; the others report an unknown model themselves.
        let accepts_any =
            matches!(found.software, Software::LlamaServer | Software::Tinygrad | Software::LlamaCppPython);
        if accepts_any && !models.is_empty() && !models.contains(model) {
            let near = did_you_mean(nearest(model, models.iter().map(String::as_str)));
            return Err(EngineError::unsupported(
                NAME,
                format!("the model `{model}`: {} at {} does not list it", found.software.name(), http.base()),
                format!("{near}it lists {}", names()),
            ));
        }
        return Ok(model.clone());
    }
    match models {
        [only] => Ok(only.clone()),
        // It lists the models of the hub cache; this name is the model that it was started with.
        [] | [_, ..] if found.software == Software::MlxLm => Ok("default_model".to_owned()),
        // They list their adapters after the model.
        [first, ..] if matches!(found.software, Software::Vllm | Software::Sglang) => Ok(first.clone()),
        [] => Err(EngineError::failed_with_advice(
            NAME,
            http.place("GET", "/v1/models"),
            "expected a model, found none",
            "load one, or name it in the setting openai.model",
        )),
        [..] => Err(EngineError::unsupported(
            NAME,
            format!("a choice among {} models: {}", models.len(), names()),
            "name one in the setting openai.model",
        )),
    }
}

fn no_address() -> EngineError {
    let advice = "give the address of a running server, such as http://localhost:8080, or a command that starts one, such as \
                  `llama-server -m FILE --port {port}`";
    EngineError::unsupported(NAME, "a run without a server", advice)
}
