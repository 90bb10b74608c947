//! The engines of a run: found, opened once to ask what they can do and whether they know their settings.

use engines::{Engine, registry};

use crate::Error;
use crate::plan::{EngineChoice, Options, nearest};

/// Opens every engine that was asked for.
pub(crate) fn open(options: &Options) -> Result<Vec<EngineChoice>, Error> {
    let usage = |error: &dyn std::error::Error| Error::Usage(error.to_string());
    let mut opened: Vec<(&String, Box<dyn Engine>)> = Vec::new();
    for label in &options.engines {
        let selection = registry::find(label).map_err(|error| usage(&error))?;
        opened.push((label, selection.open().map_err(|error| usage(&error))?));
    }
    let choices: Vec<EngineChoice> = opened
        .iter()
        .map(|(label, engine)| EngineChoice {
            label: (*label).clone(),
            identity: engine.identity(),
            caps: engine.caps(),
        })
        .collect();
    refuse_strangers(options, &choices)?;
    for ((_, engine), choice) in opened.iter().zip(&choices) {
        // What depends on the model and on the threads of a worker is checked where it is loaded.
        let given = options.of_engine(&choice.identity.name, 1, 1);
        engine.check(&given).map_err(|error| usage(&error))?;
    }
    Ok(choices)
}

/// Settings of engines that take no part.
fn refuse_strangers(options: &Options, choices: &[EngineChoice]) -> Result<(), Error> {
    for (engine, key, value) in &options.settings {
        let names: Vec<&str> = choices.iter().map(|choice| choice.identity.name.as_str()).collect();
        if !names.contains(&engine.as_str()) {
            let near = nearest(engine, &names);
            return Err(Error::Usage(format!(
                "--set {engine}.{key}={value}: engine {engine} takes no part in this run{near}; its engines: {}",
                names.join(", ")
            )));
        }
    }
    Ok(())
}
