//! The model of `inferometer predict -m`: a registered model, a config.json, or a checkpoint on this disk. Nothing is fetched or
//! written.

use analyse::predict::Target;
use measure::plan::Subject;
use measure::prepare::{synthetic_bytes, synthetic_shape};
use models::fetch::Reference;
use models::{Bytes, Checkpoint, registry};
use record::Error;

/// Finds the model of a reference. Without `quant`, a registered model is its default file and a config.json is Q4_0, as in
/// `run --synthetic`.
///
/// # Errors
/// When the model or the type does not exist, or the model would have to be fetched.
pub(super) fn find(reference: &str, quant: Option<&str>) -> Result<Target, Error> {
    let parsed = Reference::parse(reference)?;
    match &parsed {
        Reference::Hub(hub) => Err(Error::usage(
            format!("predict -m {hub}: the model is not on this disk"),
            "fetch the model, or give its config.json, a .gguf file or a registered model",
        )),
        Reference::Path(path) if path.extension().is_none_or(|extension| extension != "json") => {
            if let Some(quant) = quant {
                return Err(Error::usage(
                    format!("predict -m {reference} --quant {quant}: the quantisation of a file cannot be changed"),
                    "omit --quant, or give a config.json or a registered model",
                ));
            }
            Ok(Target::of_checkpoint(reference, &Checkpoint::open(path)?)?)
        }
        Reference::Path(_) => of_shape(reference, &parsed, quant, None),
        Reference::Name(name) => {
            let entry = registry::find(name)?;
            let name = quant.is_none().then_some(entry.name);
            of_shape(reference, &parsed, quant, name)
        }
    }
}

/// A model with the tensor types that llama.cpp's quantiser would choose.
fn of_shape(reference: &str, parsed: &Reference, quant: Option<&str>, name: Option<&str>) -> Result<Target, Error> {
    let subject = Subject { quant: quant.map(str::to_owned), synthetic: true, ..Subject::default() };
    let (run_name, spec, quant) = synthetic_shape(&subject, parsed)?;
    let bytes = synthetic_bytes(&subject, parsed)?;
    Target::synthetic(name.unwrap_or(&run_name), reference, spec, quant, Some(Bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use engine_api::Advice as _;

    use super::*;

    #[test]
    fn wrong_models_are_errors_with_advice() {
        let error = |reference: &str, quant| find(reference, quant).unwrap_err().with_advice();
        insta::assert_snapshot!(error("owner/repo", None), @"predict -m owner/repo: the model is not on this disk; fetch the model, or give its config.json, a .gguf file or a registered model");
        insta::assert_snapshot!(error("./x.gguf", Some("q4_0")), @"predict -m ./x.gguf --quant q4_0: the quantisation of a file cannot be changed; omit --quant, or give a config.json or a registered model");
        assert!(error("llama-3.2-1", None).contains("did you mean"));
        assert!(error("llama-3.2-1b", Some("q3")).contains("Q4_K_M"));
    }

    #[test]
    fn a_name_without_quantisation_is_its_default_file() {
        let own = find("smollm2-135m", None).unwrap();
        assert_eq!((own.name.as_str(), own.quant.as_str()), ("smollm2-135m", "Q4_1"));
        let other = find("smollm2-135m", Some("q8_0")).unwrap();
        assert_eq!((other.name.as_str(), other.quant.as_str()), ("smollm2-135m-q8_0", "Q8_0"));
        assert!(other.file_bytes > own.file_bytes);
    }
}
