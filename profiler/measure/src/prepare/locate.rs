//! Finds the file of a model; fetches or writes it if it is missing.

use std::path::{Path, PathBuf};

use models::fetch::{self, Fetcher, Origin, Progress, Reference, Settings};
use models::registry::{self, Entry};
use models::synth::{self, Quant, Recipe, TokenizerSource};
use models::{Error as ModelError, Spec, TokenizerFamily};
use record::Error;

use super::prepare_error::PrepareError;
use crate::plan::Subject;

/// A model on this disk.
#[derive(Debug, Clone)]
pub(super) struct LocatedModel {
    /// Its name in results.
    pub(super) name: String,
    /// The reference that the user gave.
    pub(super) reference: String,
    /// Its file or folder.
    pub(super) path: PathBuf,
    /// Where it came from: `local`, `cache`, `hub`, `mirror`, `synthetic`.
    pub(super) origin: &'static str,
    /// Its SHA-256, if the registry has it and the fetch has verified it.
    pub(super) sha256: Option<String>,
}

/// The seed of synthetic weights: one file per shape and type serves all runs, whatever their own seed.
const WEIGHTS_SEED: u64 = 1;
/// The quantisation of synthetic weights of a config.json if none is given; a registered model has that of its file.
const QUANT_OF_CONFIG: Quant = Quant::Q4_0;

/// Finds a model, fetching or writing it where needed.
///
/// # Errors
/// When the model does not exist, or cannot be fetched.
pub(super) fn locate(subject: &Subject, reference: &str, progress: &dyn Progress) -> Result<LocatedModel, Error> {
    locate_with(subject, reference, Settings::from_env(), progress)
}

/// The same with other settings of the fetcher.
pub(super) fn locate_with(
    subject: &Subject,
    reference: &str,
    settings: Settings,
    progress: &dyn Progress,
) -> Result<LocatedModel, Error> {
    let mut parsed = Reference::parse(reference)?;
    if subject.synthetic {
        return synthetic(subject, reference, &parsed, progress);
    }
    if let Reference::Path(path) = &parsed
        && path.extension().is_some_and(|extension| extension == "json")
    {
        return Err(PrepareError::ShapeWithoutWeights { reference: reference.to_owned() }.into());
    }
    let fetcher = Fetcher::new(settings, progress);
    let entry = entry_of(&parsed)?;
    let mut quant = subject.quant.as_ref();
    // A repository has a file for each quantisation.
    if let Reference::Hub(hub) = &mut parsed
        && hub.file.is_none()
        && hub.quant.is_none()
    {
        hub.quant = quant.take().cloned();
    }
    let located = match (quant, entry) {
        (None, _) => fetcher.locate(&parsed)?,
        (Some(quant), Some(entry)) => {
            let source = entry.quant(quant).ok_or_else(|| PrepareError::UnknownQuant {
                quant: quant.clone(),
                model: entry.name,
                known: entry.quants.iter().map(|(name, _)| *name).collect(),
            })?;
            fetcher.locate_source(&source, if source == entry.gguf { entry.mirror } else { None })?
        }
        (Some(quant), None) => {
            return Err(PrepareError::QuantOfFile { quant: quant.clone(), reference: reference.to_owned() }.into());
        }
    };
    let known =
        entry.filter(|entry| subject.quant.as_deref().is_none_or(|quant| entry.quant(quant) == Some(entry.gguf)));
    Ok(LocatedModel {
        name: name_of(&parsed, &located.path, quant.map(String::as_str)),
        reference: reference.to_owned(),
        origin: origin_name(located.origin),
        sha256: known.and_then(|entry| entry.gguf.sha256).map(str::to_owned),
        path: located.path,
    })
}

const fn origin_name(origin: Origin) -> &'static str {
    match origin {
        Origin::Local => "local",
        Origin::Cache => "cache",
        Origin::Hub => "hub",
        Origin::Mirror => "mirror",
    }
}

fn entry_of(reference: &Reference) -> Result<Option<&'static Entry>, ModelError> {
    match reference {
        Reference::Name(name) => registry::find(name).map(Some),
        Reference::Path(_) | Reference::Hub(_) => Ok(None),
    }
}

/// The registry's name, else the file's or folder's.
fn name_of(reference: &Reference, path: &Path, quant: Option<&str>) -> String {
    let plain = match reference {
        Reference::Name(name) => registry::find(name).map_or_else(|_| name.clone(), |entry| entry.name.to_owned()),
        Reference::Path(_) if path.is_dir() => fetch::repository_name(path).unwrap_or_else(|| stem(path)),
        Reference::Path(_) => stem(path),
        Reference::Hub(hub) if path.is_dir() => hub.repo.rsplit('/').next().unwrap_or(&hub.repo).to_owned(),
        Reference::Hub(_) => stem(path),
    };
    match quant {
        Some(quant) => format!("{plain}-{}", quant.to_lowercase()),
        None => plain,
    }
}

fn stem(path: &Path) -> String {
    let folder = path.is_dir();
    let name = if folder { path.file_name() } else { path.file_stem() };
    name.map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// What synthetic weights are made for: a name, its shape, and the family of its tokenizer.
struct Described {
    name: String,
    spec: Spec,
    tokenizer: TokenizerFamily,
}

fn described(reference: &Reference) -> Result<Described, Error> {
    match reference {
        Reference::Name(name) => {
            let entry = registry::find(name)?;
            Ok(Described { name: entry.name.to_owned(), spec: entry.spec(), tokenizer: entry.tokenizer })
        }
        Reference::Path(path) if path.extension().is_some_and(|extension| extension == "json") => {
            let name = path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or_else(|| stem(path), stem);
            Ok(Described { name, spec: Spec::from_config(path)?, tokenizer: TokenizerFamily::default() })
        }
        Reference::Path(path) => Err(no_shape(&path.display())),
        Reference::Hub(hub) => Err(no_shape(hub)),
    }
}

fn no_shape(reference: &dyn std::fmt::Display) -> Error {
    PrepareError::NoShape { reference: reference.to_string() }.into()
}

/// The synthetic weights of a run: name with type, shape, type.
///
/// # Errors
/// When the reference names no shape, or the quantisation is unknown.
pub fn synthetic_shape(subject: &Subject, reference: &Reference) -> Result<(String, Spec, Quant), Error> {
    let Described { name, spec, .. } = described(reference)?;
    let quant = synthetic_quant(subject, reference)?;
    Ok((name_with_type(&name, quant), spec, quant))
}

/// The given type, else that of the registered file.
fn synthetic_quant(subject: &Subject, reference: &Reference) -> Result<Quant, Error> {
    let of_file = entry_of(reference)?.and_then(Entry::default_quant);
    Ok(subject.quant.as_deref().or(of_file).map_or(Ok(QUANT_OF_CONFIG), str::parse)?)
}

fn name_with_type(name: &str, quant: Quant) -> String {
    format!("{name}-{}", quant.name().to_lowercase())
}

fn recipe<'a>(subject: &'a Subject, reference: &Reference, described: &'a Described) -> Result<Recipe<'a>, Error> {
    let Described { name, spec, tokenizer } = described;
    let tokenizer = TokenizerSource::copy_or_generated(subject.header.as_deref(), *tokenizer);
    Ok(Recipe { name, spec, quant: synthetic_quant(subject, reference)?, seed: WEIGHTS_SEED, tokenizer })
}

fn synthetic(
    subject: &Subject,
    text: &str,
    reference: &Reference,
    progress: &dyn Progress,
) -> Result<LocatedModel, Error> {
    let described = described(reference)?;
    let recipe = recipe(subject, reference, &described)?;
    let path = synth::write_cached(&recipe, &synth::cache_folder(), progress)?;
    let name = name_with_type(&described.name, recipe.quant);
    Ok(LocatedModel { name, reference: text.to_owned(), path, origin: "synthetic", sha256: None })
}

/// The exact size of the file of synthetic weights, in bytes.
///
/// # Errors
/// When the reference names no shape, or the quantisation is unknown.
pub fn synthetic_bytes(subject: &Subject, reference: &Reference) -> Result<u64, Error> {
    Ok(recipe(subject, reference, &described(reference)?)?.file_bytes()?.get())
}

#[cfg(test)]
mod tests {
    use engine_api::Advice as _;

    use super::*;

    #[test]
    fn synthetic_weights_have_the_type_of_the_registered_file() {
        for entry in &registry::MODELS {
            let reference = Reference::Name(entry.name.to_owned());
            let (name, _, quant) = synthetic_shape(&Subject::default(), &reference).unwrap();
            assert!(entry.quant(quant.name()).is_some_and(|source| source.file == entry.gguf.file), "{name}");
        }
    }

    fn refused(change: impl FnOnce(&mut Subject), reference: &str) -> String {
        let mut subject = Subject::default();
        change(&mut subject);
        locate(&subject, reference, &fetch::Quiet).unwrap_err().with_advice()
    }

    #[test]
    fn references_without_a_file_are_refused_by_name() {
        insta::assert_snapshot!(refused(|_| {}, "shapes/config.json"), @"shapes/config.json gives a shape without weights; add `synthetic`, or name the folder with its safetensors");
        insta::assert_snapshot!(refused(|o| o.quant = Some("q4_0".to_owned()), "./x.gguf"), @"`quant` q4_0: ./x.gguf is one file with the quantisation that it has; leave `quant` out, or name a registered model");
        insta::assert_snapshot!(refused(|o| o.synthetic = true, "./x.gguf"), @"`synthetic` `models` ./x.gguf: synthetic weights need a shape; name a registered model or a config.json");
        assert!(refused(|_| {}, "smollm2-135").contains("did you mean"));
    }

    #[test]
    fn names_come_from_the_registry_or_the_file() {
        let named = Reference::parse("smollm2-135m").unwrap();
        assert_eq!(name_of(&named, Path::new("/x/SmolLM2.Q4_1.gguf"), None), "smollm2-135m");
        assert_eq!(name_of(&named, Path::new("/x/SmolLM2.Q8_0.gguf"), Some("Q8_0")), "smollm2-135m-q8_0");
        let file = Reference::parse("./tiny-llama.gguf").unwrap();
        assert_eq!(name_of(&file, Path::new("./tiny-llama.gguf"), None), "tiny-llama");
    }
}
