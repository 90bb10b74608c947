//! What `inferometer predict -m` names: a registered model, a config.json, or a checkpoint on this disk. Fetches and writes nothing.

use analyse::predict::Subject;
use measure::plan::Options;
use measure::prepare::{synthetic_bytes, synthetic_shape};
use models::fetch::Reference;
use models::{Bytes, Checkpoint, registry};
use record::Error;

/// Finds what a reference means. A registered model without `quant` is its default file; a config.json without it is Q4_0, as
/// `run --synthetic` makes it.
///
/// # Errors
/// When there is no such model or type, or it would have to be fetched first.
pub(super) fn find(reference: &str, quant: Option<&str>) -> Result<Subject, Error> {
    let parsed = Reference::parse(reference)?;
    match &parsed {
        Reference::Hub(hub) => Err(Error::usage(
format!("predict -m {hub}: a shape on this disk is needed"),
"fetch the model, or name its config.json, a .gguf file or a registered model",
)),
        Reference::Path(path) if path.extension().is_none_or(|extension| extension != "json") => {
            if let Some(quant) = quant {
                return Err(Error::usage(
format!("predict -m {reference} --quant {quant}: it is one file with the quantisation that it has"),
"leave --quant out, or name a config.json or a registered model",
));
            }
            Ok(Subject::of_checkpoint(reference, &Checkpoint::open(path)?))
        }
        Reference::Path(_) => of_shape(reference, &parsed, quant, None),
        Reference::Name(name) => {
            let entry = registry::find(name)?;
            let default = entry.quants.iter().find(|(_, file)| *file == entry.gguf.file).map(|(name, _)| *name);
            match quant {
                Some(_) => of_shape(reference, &parsed, quant, None),
                None => of_shape(reference, &parsed, default, Some(entry.name)),
            }
        }
    }
}

/// Tensors as llama.cpp's quantiser would store them.
fn of_shape(reference: &str, parsed: &Reference, quant: Option<&str>, name: Option<&str>) -> Result<Subject, Error> {
    let options = Options { quant: quant.map(str::to_owned), synthetic: true, ..Options::default() };
    let (run_name, spec, quant) = synthetic_shape(&options, parsed)?;
    let bytes = synthetic_bytes(&options, parsed)?;
    Subject::synthetic(name.unwrap_or(&run_name), reference, spec, quant, Some(Bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_about_is_told() {
        let told = |reference: &str, quant| find(reference, quant).unwrap_err().to_string();
        insta::assert_snapshot!(told("owner/repo", None), @"predict -m owner/repo: a shape on this disk is needed; fetch the model, or name its config.json, a .gguf file or a registered model");
        insta::assert_snapshot!(told("./x.gguf", Some("q4_0")), @"predict -m ./x.gguf --quant q4_0: it is one file with the quantisation that it has; leave --quant out, or name a config.json or a registered model");
        assert!(told("llama-3.2-1", None).contains("did you mean"));
        assert!(told("llama-3.2-1b", Some("q3")).contains("Q4_K_M"));
    }

    #[test]
    fn a_name_alone_is_its_default_file() {
        let own = find("smollm2-135m", None).unwrap();
        assert_eq!((own.name.as_str(), own.quant.as_str()), ("smollm2-135m", "Q4_1"));
        let other = find("smollm2-135m", Some("q8_0")).unwrap();
        assert_eq!((other.name.as_str(), other.quant.as_str()), ("smollm2-135m-q8_0", "Q8_0"));
        assert!(other.file_bytes > own.file_bytes);
    }
}
