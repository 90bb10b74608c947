//! Opens the engines of a run once, to read their capabilities and to check their settings.

use engine_api::Engine;
use engines::registry;
use meter::process::ProcessMeter;
use models::{Checkpoint, Description};
use record::{Error, Setting, nearest};
use redaction::Sensitive;

use super::prepare_error::PrepareError;
use crate::plan::{EngineArgument, EngineChoice, Options, setting_owner};

/// Opens every engine of the options, and assigns each setting to its engine or label.
pub(super) fn open(options: &mut Options) -> Result<Vec<EngineChoice>, Error> {
    let mut opened: Vec<(EngineArgument<'_>, Box<dyn Engine>)> = Vec::new();
    for text in &options.subject.engines {
        let asked = EngineArgument::new(text)?;
        let selection = registry::find(asked.engine).map_err(Error::from_advice)?;
        opened.push((asked, selection.open().map_err(Error::from_advice)?));
    }
    let mut choices: Vec<EngineChoice> = opened
        .iter()
        .map(|(asked, engine)| EngineChoice {
            label: asked.label.to_owned(),
            engine: asked.engine.to_owned(),
            identity: engine.identity_on(&options.engine.device),
            caps: engine.caps(),
            prunes_last_block: engine.prunes_last_block(),
            whole_last_blocks: engine.whole_last_blocks(),
        })
        .collect();
    let engines: Vec<_> = opened.into_iter().map(|(_, engine)| engine).collect();
    options.engine.settings = owned(&options.engine.settings, &choices)?;
    check_address(options, &choices)?;
    for (engine, choice) in engines.iter().zip(&mut choices) {
        // Settings that depend on the model and the threads of a worker are checked when the worker loads.
        let given = options.load_options(choice, 1, 1);
        engine.check(&given).map_err(Error::from_advice)?;
        let settings = given.settings.iter().map(|(key, value)| (key.as_str(), value.expose()));
        choice.identity.weight_use = std::mem::take(&mut choice.identity.weight_use).under(settings);
    }
    Ok(choices)
}

/// Checks that every engine can run the model of a checkpoint.
///
/// # Errors
/// When the model is not described, and an engine needs its shape.
pub(super) fn check_model(checkpoint: &Checkpoint, choices: &[EngineChoice]) -> Result<(), PrepareError> {
    let Description::Opaque(reason) = checkpoint.description() else { return Ok(()) };
    let Some(choice) = choices.iter().find(|choice| choice.caps.needs_shape) else { return Ok(()) };
    let able = registry::ENGINES.iter().find_map(|entry| {
        let engine = registry::find(entry.name).ok()?.open().ok()?;
        (!engine.caps().needs_shape && !engine.caps().remote).then_some(entry.name)
    });
    Err(PrepareError::NoShapeForEngine {
        path: checkpoint.path().to_path_buf(),
        reason: reason.to_string(),
        engine: choice.label.clone(),
        able,
    })
}

/// Whether all of these engines use a server; false for an engine that cannot be opened, which [`open`] reports.
pub(super) fn all_use_servers(engines: &[String]) -> bool {
    let open = |text: &String| registry::find(EngineArgument::new(text).ok()?.engine).ok()?.open().ok();
    let uses_server = |text: &String| open(text).is_some_and(|engine| engine.caps().remote);
    !engines.is_empty() && engines.iter().all(uses_server)
}

/// An engine that uses a server needs its address; other engines have no use for one.
fn check_address(options: &Options, choices: &[EngineChoice]) -> Result<(), Error> {
    let client = choices.iter().find(|choice| choice.caps.remote);
    let given = [
        (Setting::Url, options.server.url.is_some()),
        (Setting::Spawn, options.server.spawn.is_some()),
        (Setting::Pid, options.server.pid.is_some()),
    ];
    let given = given.iter().find(|(_, given)| *given).map(|(setting, _)| *setting);
    if let Some(pid) = options.server.pid {
        ProcessMeter::attach(pid).map_err(Error::from_advice)?;
    }
    match (client, given) {
        (None, Some(setting)) => Err(PrepareError::NoServer { setting }.into()),
        (Some(client), _) if options.server.url.is_none() && options.server.spawn.is_none() => {
            Err(PrepareError::NoAddress { engine: client.label.clone() }.into())
        }
        (Some(_), _) => Ok(spawned_threads(options)?),
        (None, None) => Ok(()),
    }
}

/// Only a command with `{threads}` can be measured with several numbers of threads.
fn spawned_threads(options: &Options) -> Result<(), PrepareError> {
    let takes = options.server.takes_threads();
    if options.engine.threads.len() < 2 || takes {
        return Ok(());
    }
    Err(PrepareError::ThreadsOfServer { threads: options.engine.threads.clone() })
}

/// Settings with their engine or label; refuses those of engines that take no part.
fn owned(
    settings: &[(String, String, Sensitive)],
    choices: &[EngineChoice],
) -> Result<Vec<(String, String, Sensitive)>, PrepareError> {
    let one = |(engine, key, value): &(String, String, Sensitive)| {
        let found = setting_owner(choices, (engine, key)).map(|(owner, key)| (owner.to_owned(), key, value.clone()));
        found.ok_or_else(|| {
            let mut names: Vec<&str> = Vec::new();
            for name in choices.iter().flat_map(|choice| [choice.identity.name.as_str(), choice.label.as_str()]) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            PrepareError::OtherEngine {
                engine: engine.clone(),
                key: key.clone(),
                value: Box::new(value.clone()),
                near: nearest(engine, &names),
                known: names.into_iter().map(str::to_owned).collect(),
            }
        })
    };
    settings.iter().map(one).collect()
}
