//! The engines of a run: found, opened once to ask what they can do.

use engines::registry;

use crate::Error;
use crate::plan::{EngineChoice, Options, nearest};

/// Opens every engine that was asked for.
pub(crate) fn open(options: &Options) -> Result<Vec<EngineChoice>, Error> {
    let mut choices = Vec::new();
    for label in &options.engines {
        let selection = registry::find(label).map_err(|error| Error::Usage(error.to_string()))?;
        let engine = selection.open().map_err(|error| Error::Usage(error.to_string()))?;
        choices.push(EngineChoice { label: label.clone(), identity: engine.identity(), caps: engine.caps() });
    }
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
    Ok(choices)
}
