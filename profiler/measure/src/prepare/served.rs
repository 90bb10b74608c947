//! Models of a run whose engines use a server: those on this disk too, and those that only the server has.

use models::fetch::{self, Reference, Settings};
use prompts::Set;
use record::Error;

use super::locate::{locate, locate_with};
use super::{identity, model};
use crate::plan::{EngineChoice, Options, PreparedModel};

/// The name of the only model of a server.
const SERVED: &str = "served";

/// Prepares the models of a run.
pub(super) fn models(
    options: &Options,
    set: &Set,
    engines: &[EngineChoice],
    progress: &dyn fetch::Progress,
) -> Result<Vec<PreparedModel>, Error> {
    let only_servers = engines.iter().all(|engine| engine.caps.remote);
    if options.subject.models.is_empty() {
        let asked = options.engine.settings.iter().find(|(_, key, _)| key == "model").map(|(.., id)| id.expose());
        return Ok(vec![model::served(options, set, asked.map_or(SERVED, short), asked.unwrap_or_default())?]);
    }
    let one = |reference: &String| {
        if only_servers && is_served(options, reference) {
            return model::served(options, set, short(reference), reference);
        }
        let mut model = model::prepare(options, set, engines, locate(&options.subject, reference, progress)?)?;
        identity::identify(&mut model, progress);
        Ok(model)
    };
    options.subject.models.iter().map(one).collect()
}

/// Whether a name is a model of the server: it is not on this disk. Nothing is fetched for a server.
pub(super) fn is_served(options: &Options, reference: &str) -> bool {
    if options.subject.synthetic || matches!(Reference::parse(reference), Ok(Reference::Path(_))) {
        return false;
    }
    let offline = Settings { offline: true, ..Settings::from_env() };
    locate_with(&options.subject, reference, offline, &fetch::Quiet).is_err()
}

/// The last part of a name such as `mlx-community/SmolLM2-135M-4bit`: names of cases and folders have no slashes.
fn short(id: &str) -> &str {
    id.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(SERVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_slashes() {
        assert_eq!(short("mlx-community/SmolLM2-135M-4bit"), "SmolLM2-135M-4bit");
        assert_eq!(short("/models/x.gguf"), "x.gguf");
        assert_eq!((short("plain"), short("/")), ("plain", SERVED));
    }

    #[test]
    fn a_model_that_is_not_on_this_disk_is_the_servers() {
        let options = Options::default();
        assert!(is_served(&options, "no-such-owner/no-such-model-at-all"));
        assert!(!is_served(&options, "./here.gguf"), "a path is not a name, even if the file does not exist");
    }
}
