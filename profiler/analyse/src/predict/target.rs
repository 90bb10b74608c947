//! The model that a prediction is about: an opened checkpoint, or a shape with a quantisation.

use models::cost::WeightTypes;
use models::synth::{self, Quant};
use models::{Bytes, Checkpoint, registry};

use super::estimate::Target;
use record::Error;

impl Target {
    /// A model from an opened checkpoint.
    ///
    /// `reference` is how the user named it.
    ///
    /// # Errors
    /// When its architecture is not described.
    pub fn of_checkpoint(reference: &str, checkpoint: &Checkpoint) -> Result<Self, Error> {
        let window = registry::missing_window(checkpoint);
        let spec = checkpoint.spec()?.clone();
        let path = checkpoint.path();
        let stem = if path.is_dir() { path.file_name() } else { path.file_stem() };
        Ok(Self {
            name: stem.map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned()),
            reference: reference.to_owned(),
            quant: checkpoint.quantisation(),
            types: WeightTypes::of(checkpoint)?,
            spec: if window.is_some() { spec.with_window(window) } else { spec },
            file_bytes: checkpoint.file_bytes(),
        })
    }

    /// A shape in a type; a file size that is not given is that of the tensors alone.
    ///
    /// # Errors
    /// When the shape cannot be stored in this type.
    pub fn synthetic(
        name: &str,
        reference: &str,
        spec: models::Spec,
        quant: Quant,
        file_bytes: Option<Bytes>,
    ) -> Result<Self, Error> {
        let plan = synth::plan(&spec, quant)?;
        let types = plan.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.dtype));
        Ok(Self {
            name: name.to_owned(),
            reference: reference.to_owned(),
            quant: quant.name().to_owned(),
            types: WeightTypes::of_stored(&spec, types),
            file_bytes: file_bytes.unwrap_or(plan.data_bytes),
            spec,
        })
    }
}
