//! From an address or a command to a session: who answers, which model, when it can serve.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use models::chat::Message;

use super::NAME;
use super::call;
use super::exo;
use super::http::Http;
use super::process::Process;
use super::ready::Patience;
use super::session::Connection;
use super::settings::Settings;
use super::software::{Found, Software};
use crate::{EngineError, LoadOptions, Prompt, Remote, Request, Session, Silent};

/// What stands for a free port in a command and in an address.
const PORT: &str = "{port}";

/// Connects to the server of the options, which may have to be started.
pub(super) fn connect(options: &LoadOptions, settings: Settings) -> Result<Box<dyn Session>, EngineError> {
    let (http, mut process) = match (&options.spawn, &options.url) {
        (Some(command), url) => start(command, url.as_deref(), &settings)?,
        (None, Some(url)) => (Http::new(url, &settings)?, None),
        (None, None) => return Err(no_address()),
    };
    let http = Arc::new(http);
    let mut patience = Patience::new(&settings, process.as_mut());
    let mut found = patience.identify(&http)?;
    let (model, placed) = match found.software {
        Software::Exo => exo::ready(&http, &mut found, &settings, &mut patience)?,
        _ => (model(&http, &found, &settings)?, None),
    };
    let software = found.software;
    let remote = Remote {
        software: software.name().to_owned(),
        version: found.version,
        model,
        url: http.base().to_owned(),
        address: http.address(),
        pid: process.as_ref().map(Process::pid),
        cache: call::defence(software, &settings),
        details: found.details,
    };
    let is_own = process.is_some();
    let mut connection = Connection { http, settings, software, remote, _placed: placed, process };
    if is_own && software == Software::MlxLm {
        connection.first_token()?;
    }
    Ok(Box::new(connection))
}

impl Connection {
    /// mlx_lm.server answers before its model is loaded: only an answer with a token in it shows that it can serve.
    fn first_token(&mut self) -> Result<(), EngineError> {
        let messages = vec![Message::new("user", "hi")];
        let prompt = Prompt::Text { text: String::new(), add_bos: false, messages };
        self.generate(&Request { prompt, max_new_tokens: 1, ignore_eos: false }, &mut Silent)?;
        self.remote.details.insert("warmed".to_owned(), "by a request for one token".to_owned());
        Ok(())
    }
}

/// Whether address and command can be what they should be; nobody is asked.
pub(super) fn check(options: &LoadOptions, settings: &Settings) -> Result<(), EngineError> {
    match (&options.url, &options.spawn) {
        (Some(url), Some(command)) if command.contains(PORT) && !url.contains(PORT) => Err(EngineError::Unsupported {
            engine: NAME,
            what: format!("the address {url} of a server that is started on a free port"),
            instead: "leave --url out, or put {port} into it too".to_owned(),
        }),
        (Some(url), _) => Ok(Http::new(&url.replace(PORT, "1"), settings).map(|_| ())?),
        (None, Some(command)) if !command.contains(PORT) => Err(EngineError::Unsupported {
            engine: NAME,
            what: format!("the command `{command}`: where its server will answer is not known"),
            instead: "put {port} where its port goes, or say with --url where it will answer".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Starts a server, at an address where nobody answers yet.
fn start(command: &str, url: Option<&str>, settings: &Settings) -> Result<(Http, Option<Process>), EngineError> {
    let has_port = command.contains(PORT);
    let port = if has_port { free_port()?.to_string() } else { String::new() };
    let (command, url) = match url {
        Some(url) => (command.replace(PORT, &port), url.replace(PORT, &port)),
        None => (command.replace(PORT, &port), format!("http://127.0.0.1:{port}")),
    };
    let http = Http::new(&url, settings)?;
    let is_taken = http.address().is_some_and(|address| TcpStream::connect_timeout(&address, settings.connect).is_ok());
    if is_taken {
        return Err(EngineError::Failed {
            engine: NAME,
            place: "the start of the server".to_owned(),
            reason: format!(
                "somebody answers at {} already; end it, measure it with --url alone, or put {{port}} into the command",
                http.base()
            ),
        });
    }
    Ok((http, Some(Process::start(&command, settings.log.as_deref())?)))
}

/// A port that nobody has at the moment.
fn free_port() -> Result<u16, EngineError> {
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map(|address| address.port());
    port.map_err(|error| EngineError::Failed {
        engine: NAME,
        place: "the search for a free port".to_owned(),
        reason: error.to_string(),
    })
}

/// The model to ask for: the one that was named, or the only one.
fn model(http: &Http, found: &Found, settings: &Settings) -> Result<String, EngineError> {
    let names = || super::failure::quote(&found.models.join(", "));
    if let Some(model) = &settings.model {
        // These answer in the name of any model; the others say themselves that they do not have it.
        let takes_any = matches!(found.software, Software::LlamaServer | Software::Tinygrad | Software::LlamaCppPython);
        if takes_any && !found.models.is_empty() && !found.models.contains(model) {
            let near = super::nearest(model, found.models.iter().map(String::as_str));
            let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
            return Err(EngineError::Unsupported {
                engine: NAME,
                what: format!("the model `{model}`: {} at {} does not list it", found.software.name(), http.base()),
                instead: format!("{near}it lists {}", names()),
            });
        }
        return Ok(model.clone());
    }
    match found.models.as_slice() {
        [only] => Ok(only.clone()),
        // Its list is what lies in the hub's cache; this name is the model that it was started with.
        [] | [_, ..] if found.software == Software::MlxLm => Ok("default_model".to_owned()),
        [first, ..] if found.software == Software::Vllm => Ok(first.clone()),
        [] => Err(EngineError::Failed {
            engine: NAME,
            place: http.place("GET", "/v1/models"),
            reason: "expected a model, found none; load one, or name it: --set openai.model=NAME".to_owned(),
        }),
        [..] => Err(EngineError::Unsupported {
            engine: NAME,
            what: format!("a choice among {} models: {}", found.models.len(), names()),
            instead: "name one: --set openai.model=NAME".to_owned(),
        }),
    }
}

fn no_address() -> EngineError {
    EngineError::Unsupported {
        engine: NAME,
        what: "a run without a server".to_owned(),
        instead: "give the address of one that runs (--url http://localhost:8080), or the command that starts one \
                  (--spawn 'llama-server -m FILE --port {port}')"
            .to_owned(),
    }
}
