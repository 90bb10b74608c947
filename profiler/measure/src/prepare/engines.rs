//! The engines of a run: found, opened once to ask what they can do and whether they know their settings.

use engine_api::Engine;
use engines::registry;

use crate::plan::{Asked, EngineChoice, Options, owner};
use meter::process::ProcessMeter;
use record::Error;
use record::nearest;

/// Opens every engine that was asked for, and gives each setting to its owner.
pub(crate) fn open(options: &mut Options) -> Result<Vec<EngineChoice>, Error> {
    let mut opened: Vec<(Asked<'_>, Box<dyn Engine>)> = Vec::new();
    for text in &options.engines {
        let asked = Asked::new(text)?;
        let selection = registry::find(asked.engine).map_err(|error| Error::from_advice(&error))?;
        opened.push((asked, selection.open().map_err(|error| Error::from_advice(&error))?));
    }
    let choices: Vec<EngineChoice> = opened
        .iter()
        .map(|(asked, engine)| EngineChoice {
            label: asked.label.to_owned(),
            engine: asked.engine.to_owned(),
            identity: engine.identity_on(&options.device),
            caps: engine.caps(),
            prunes_last_block: engine.prunes_last_block(),
        })
        .collect();
    let engines: Vec<_> = opened.into_iter().map(|(_, engine)| engine).collect();
    options.settings = owned(&options.settings, &choices)?;
    refuse_addresses(options, &choices)?;
    for (engine, choice) in engines.iter().zip(&choices) {
        // What depends on the model and on the threads of a worker is checked where it is loaded.
        let given = options.of_engine(choice, 1, 1);
        engine.check(&given).map_err(|error| Error::from_advice(&error))?;
    }
    Ok(choices)
}

/// Whether these engines only ask servers; false for a text that leads to none.
pub(super) fn all_ask_servers(engines: &[String]) -> bool {
    let open = |text: &String| registry::find(Asked::new(text).ok()?.engine).ok()?.open().ok();
    let asks = |text: &String| open(text).is_some_and(|engine| engine.caps().remote);
    !engines.is_empty() && engines.iter().all(asks)
}

/// Where a server answers is told to those that ask one, and must be told to them.
fn refuse_addresses(options: &Options, choices: &[EngineChoice]) -> Result<(), Error> {
    let asker = choices.iter().find(|choice| choice.caps.remote);
    let given =
        [("--url", options.url.is_some()), ("--spawn", options.spawn.is_some()), ("--pid", options.pid.is_some())];
    let given = given.iter().find(|(_, given)| *given).map(|(name, _)| *name);
    if let Some(pid) = options.pid {
        ProcessMeter::attach(pid).map_err(|error| {
            Error::usage(
                format!("--pid {pid}: {error}"),
                "give the id of the server's process, as the same user or as root",
            )
        })?;
    }
    match (asker, given) {
        (None, Some(option)) => Err(Error::usage(
            format!("{option} is about a server, and no engine of this run uses a server"),
            format!("add -e openai, or leave {option} out"),
        )),
        (Some(asker), _) if options.url.is_none() && options.spawn.is_none() => Err(Error::usage(
            format!("engine {} uses a server", asker.label),
            "give --url URL of a running one, or --spawn COMMAND that starts one",
        )),
        (Some(_), _) => spawned_threads(options),
        (None, None) => Ok(()),
    }
}

/// Only a command that takes a number of threads can be measured with several.
fn spawned_threads(options: &Options) -> Result<(), Error> {
    let takes = options.spawn.as_ref().is_some_and(|command| command.contains("{threads}"));
    if options.threads.len() < 2 || takes {
        return Ok(());
    }
    let threads: Vec<String> = options.threads.iter().map(ToString::to_string).collect();
    Err(Error::usage(
        format!("-t {}: a server sets its own number of threads", threads.join(",")),
        "give one number, or start the server with --spawn and {threads} in the command",
    ))
}

/// Settings with their owners, an engine's name or a label; refuses those of engines that take no part.
fn owned(
    settings: &[(String, String, String)],
    choices: &[EngineChoice],
) -> Result<Vec<(String, String, String)>, Error> {
    let one = |(engine, key, value): &(String, String, String)| {
        let found = owner(choices, (engine, key)).map(|(owner, key)| (owner.to_owned(), key, value.clone()));
        found.ok_or_else(|| {
            let mut names: Vec<&str> = Vec::new();
            for name in choices.iter().flat_map(|choice| [choice.identity.name.as_str(), choice.label.as_str()]) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            let near = nearest(engine, &names);
            Error::usage(
                format!("--set {engine}.{key}={value}: engine {engine} takes no part in this run{near}"),
                format!("the engines of this run are {}", names.join(", ")),
            )
        })
    };
    settings.iter().map(one).collect()
}
