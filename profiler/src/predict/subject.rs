//! What is asked about: a name of the registry, a config.json, or a checkpoint on this disk. Fetches and writes nothing.

use models::cost::WeightTypes;
use models::fetch::Reference;
use models::synth::{self, Quant};
use models::{Bytes, Checkpoint, registry};

use super::estimate::Subject;
use crate::Error;
use crate::plan::Options;
use crate::prepare::{synthetic_bytes, synthetic_shape};

impl Subject {
    /// Finds what a reference means. A registered model without `quant` is its default file; a config.json without it is Q4_0, as
    /// `run --synthetic` makes it.
    ///
    /// # Errors
    /// When there is no such model or type, or it would have to be fetched first.
    pub fn find(reference: &str, quant: Option<&str>) -> Result<Self, Error> {
        let parsed = Reference::parse(reference)?;
        match &parsed {
            Reference::Hub(hub) => Err(Error::Usage(format!(
                "predict -m {hub}: a shape on this disk is needed; fetch the model, or name its config.json, a .gguf file or a registered model"
            ))),
            Reference::Path(path) if path.extension().is_none_or(|extension| extension != "json") => {
                if let Some(quant) = quant {
                    return Err(Error::Usage(format!(
                        "predict -m {reference} --quant {quant}: it is one file with the quantisation that it has; leave --quant out, or name a config.json or a registered model"
                    )));
                }
                Self::of_checkpoint(reference, &Checkpoint::open(path)?)
            }
            Reference::Path(_) => Self::of_shape(reference, &parsed, quant, None),
            Reference::Name(name) => {
                let entry = registry::find(name)?;
                let default = entry.quants.iter().find(|(_, file)| *file == entry.gguf.file).map(|(name, _)| *name);
                match quant {
                    Some(_) => Self::of_shape(reference, &parsed, quant, None),
                    None => Self::of_shape(reference, &parsed, default, Some(entry.name)),
                }
            }
        }
    }

    fn of_checkpoint(reference: &str, checkpoint: &Checkpoint) -> Result<Self, Error> {
        let window = registry::window(checkpoint);
        let spec = checkpoint.spec().clone();
        let path = checkpoint.path();
        let stem = if path.is_dir() { path.file_name() } else { path.file_stem() };
        Ok(Self {
            name: stem.map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned()),
            reference: reference.to_owned(),
            quant: checkpoint.quantisation(),
            types: WeightTypes::of(checkpoint),
            spec: if window.is_some() { spec.with_window(window) } else { spec },
            file_bytes: checkpoint.file_bytes(),
        })
    }

    /// Tensors as llama.cpp's quantiser would store them.
    fn of_shape(reference: &str, parsed: &Reference, quant: Option<&str>, name: Option<&str>) -> Result<Self, Error> {
        let options = Options { quant: quant.map(str::to_owned), synthetic: true, ..Options::default() };
        let (run_name, spec, quant) = synthetic_shape(&options, parsed)?;
        let bytes = synthetic_bytes(&options, parsed)?;
        Self::synthetic(name.unwrap_or(&run_name), reference, spec, quant, Some(Bytes(bytes)))
    }

    /// A shape in a type; a file size that is not given is that of the tensors alone.
    pub(super) fn synthetic(
        name: &str,
        reference: &str,
        spec: models::Spec,
        quant: Quant,
        file_bytes: Option<Bytes>,
    ) -> Result<Self, Error> {
        let plan = synth::plan(&spec, quant)?;
        let types: std::collections::HashMap<&str, models::DType> =
            plan.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.dtype)).collect();
        Ok(Self {
            name: name.to_owned(),
            reference: reference.to_owned(),
            quant: quant.name().to_owned(),
            types: WeightTypes::by_name(&spec, |name| types.get(name).copied().unwrap_or(models::DType::F32)),
            file_bytes: file_bytes.unwrap_or(plan.data_bytes),
            spec,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_about_is_told() {
        let told = |reference: &str, quant| Subject::find(reference, quant).unwrap_err().to_string();
        insta::assert_snapshot!(told("owner/repo", None), @"predict -m owner/repo: a shape on this disk is needed; fetch the model, or name its config.json, a .gguf file or a registered model");
        insta::assert_snapshot!(told("./x.gguf", Some("q4_0")), @"predict -m ./x.gguf --quant q4_0: it is one file with the quantisation that it has; leave --quant out, or name a config.json or a registered model");
        assert!(told("llama-3.2-1", None).contains("did you mean"));
        assert!(told("llama-3.2-1b", Some("q3")).contains("Q4_K_M"));
    }

    #[test]
    fn a_name_alone_is_its_default_file() {
        let own = Subject::find("smollm2-135m", None).unwrap();
        assert_eq!((own.name.as_str(), own.quant.as_str()), ("smollm2-135m", "Q4_1"));
        let other = Subject::find("smollm2-135m", Some("q8_0")).unwrap();
        assert_eq!((other.name.as_str(), other.quant.as_str()), ("smollm2-135m-q8_0", "Q8_0"));
        assert!(other.file_bytes > own.file_bytes);
    }
}
