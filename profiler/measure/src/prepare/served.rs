//! Models of a run whose engines ask a server: those that lie on this disk too, and those that only the server has.

use models::fetch::{self, Reference, Settings};
use prompts::Set;

use super::model::{self, PreparedModel};
use super::{identity, locate, locate_with};
use crate::plan::{EngineChoice, Options};
use record::Error;

/// What a model is called that nobody named.
pub(crate) const SERVED: &str = "served";

/// The models of a run, opened.
pub(super) fn models(
    options: &Options,
    set: &Set,
    engines: &[EngineChoice],
    progress: &dyn fetch::Progress,
) -> Result<Vec<PreparedModel>, Error> {
    let elsewhere = engines.iter().all(|engine| engine.caps.remote);
    if options.models.is_empty() {
        let asked = options.settings.iter().find(|(_, key, _)| key == "model").map(|(.., id)| id.as_str());
        return Ok(vec![model::served(options, set, asked.map_or(SERVED, short), asked.unwrap_or_default())?]);
    }
    let one = |reference: &String| {
        if elsewhere && is_served(options, reference) {
            return model::served(options, set, short(reference), reference);
        }
        let mut model = model::prepare(options, set, locate(options, reference, progress)?)?;
        identity::identify(&mut model, progress);
        Ok(model)
    };
    options.models.iter().map(one).collect()
}

/// Whether a name means a model of the server: nothing on this disk has it. Nothing is fetched for a server's sake.
pub(crate) fn is_served(options: &Options, reference: &str) -> bool {
    if options.synthetic || matches!(Reference::parse(reference), Ok(Reference::Path(_))) {
        return false;
    }
    let here = Settings { offline: true, ..Settings::from_env() };
    locate_with(options, reference, here, &fetch::Quiet).is_err()
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
    fn what_is_not_on_this_disk_is_the_servers() {
        let options = Options::default();
        assert!(is_served(&options, "no-such-owner/no-such-model-at-all"));
        assert!(!is_served(&options, "./here.gguf"), "a path is a path, even if it leads nowhere");
    }
}
