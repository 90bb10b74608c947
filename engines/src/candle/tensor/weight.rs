//! Weights on a device, in their file format.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{DType, Device, Module, Tensor};
use models::TensorView;

use super::at;
use crate::EngineError;
use crate::candle::cpu::Weight as Mapped;
use crate::candle::failed;

/// A matrix `[outputs, inputs]`.
#[derive(Clone)]
pub(crate) struct Weight {
    /// On the host, in the mapped file.
    mapped: Mapped,
    uploaded: Uploaded,
}

#[derive(Clone)]
enum Uploaded {
    /// Quantised blocks, for the device's own kernels.
    Blocks(QMatMul),
    /// Floats in their own type, already transposed: `[inputs, outputs]`.
    Floats(Tensor),
    /// Of a table whose rows alone are read, on the host.
    Nothing,
}

impl Weight {
    pub(super) fn new(view: &TensorView<'_>, device: &Device) -> Result<Self, EngineError> {
        let mapped = Mapped::new(view)?;
        let uploaded = match float_type(view.info().dtype) {
            Some(dtype) => Uploaded::Floats(floats(view, dtype, device)?.t().map_err(at("load"))?),
            None => {
                let dtype = block_type(view.info().dtype).ok_or_else(|| unsupported(view))?;
                let storage = QStorage::from_data(Cow::Borrowed(view.bytes()), device, dtype);
                let tensor = storage.and_then(|storage| QTensor::new(storage, view.info().shape.as_slice()));
                Uploaded::Blocks(QMatMul::QTensor(Arc::new(tensor.map_err(at("load"))?)))
            }
        };
        Ok(Self { mapped, uploaded })
    }

    /// A table whose rows alone are read.
    pub(super) fn table(view: &TensorView<'_>) -> Result<Self, EngineError> {
        Ok(Self { mapped: Mapped::new(view)?, uploaded: Uploaded::Nothing })
    }

    /// `x weight^T`, `[rows, outputs]`.
    pub(super) fn apply(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match &self.uploaded {
            Uploaded::Blocks(blocks) => blocks.forward(x),
            Uploaded::Floats(floats) => x.to_dtype(floats.dtype())?.matmul(floats)?.to_dtype(DType::F32),
            Uploaded::Nothing => Err(candle_core::Error::Msg("a product with a table of rows".to_owned())),
        }
    }

    /// Rows of the table, `[ids, inputs]` in f32.
    pub(super) fn lookup(&self, ids: &[u32], device: &Device) -> Result<Tensor, EngineError> {
        let (rows, width) = self.mapped.shape();
        let mut out = vec![0.0; ids.len() * width];
        for (id, out) in ids.iter().zip(out.chunks_exact_mut(width)) {
            let row = *id as usize;
            if row >= rows {
                return Err(failed("embed", format!("token {id} is not in the vocabulary of {rows}")));
            }
            self.mapped.row(row, out);
        }
        Tensor::from_vec(out, (ids.len(), width), device).map_err(at("embed"))
    }
}

/// A vector in f32, its elements changed by `change`.
pub(super) fn vector(
    view: &TensorView<'_>,
    change: &dyn Fn(f32) -> f32,
    device: &Device,
) -> Result<Tensor, EngineError> {
    let mapped = Mapped::new(view)?;
    let (_, length) = mapped.shape();
    let mut out = vec![0.0; length];
    mapped.row(0, &mut out);
    out.iter_mut().for_each(|element| *element = change(*element));
    Tensor::from_vec(out, length, device).map_err(at("load"))
}

/// The kernels of a convolution in f32: `[channels, taps]` in the file, `[taps, channels]` on the device.
pub(super) fn kernel(view: &TensorView<'_>, device: &Device) -> Result<Tensor, EngineError> {
    let mapped = Mapped::new(view)?;
    let (channels, taps) = mapped.shape();
    let mut rows = vec![0.0; channels * taps];
    for (channel, out) in rows.chunks_exact_mut(taps).enumerate() {
        mapped.row(channel, out);
    }
    let kernel = Tensor::from_vec(rows, (channels, taps), device).and_then(|kernel| kernel.t()?.contiguous());
    kernel.map_err(at("load"))
}

fn floats(view: &TensorView<'_>, dtype: DType, device: &Device) -> Result<Tensor, EngineError> {
    Tensor::from_raw_buffer(view.bytes(), dtype, &view.info().shape, device).map_err(at("load"))
}

fn unsupported(view: &TensorView<'_>) -> EngineError {
    failed(&view.info().name, format!("weights of type {} are not supported", view.info().dtype))
}

fn float_type(dtype: models::DType) -> Option<DType> {
    match dtype {
        models::DType::F32 => Some(DType::F32),
        models::DType::F16 => Some(DType::F16),
        models::DType::BF16 => Some(DType::BF16),
        _ => None,
    }
}

fn block_type(dtype: models::DType) -> Option<GgmlDType> {
    match dtype {
        models::DType::Q4_0 => Some(GgmlDType::Q4_0),
        models::DType::Q4_1 => Some(GgmlDType::Q4_1),
        models::DType::Q5_0 => Some(GgmlDType::Q5_0),
        models::DType::Q5_1 => Some(GgmlDType::Q5_1),
        models::DType::Q8_0 => Some(GgmlDType::Q8_0),
        models::DType::Q2_K => Some(GgmlDType::Q2K),
        models::DType::Q3_K => Some(GgmlDType::Q3K),
        models::DType::Q4_K => Some(GgmlDType::Q4K),
        models::DType::Q5_K => Some(GgmlDType::Q5K),
        models::DType::Q6_K => Some(GgmlDType::Q6K),
        _ => None,
    }
}
