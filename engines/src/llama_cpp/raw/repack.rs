//! Which matrices ggml keeps a second time, in a layout for this processor.
//!
//! The rule depends on the processor and on ggml's version, so ggml is asked: a product with a weight of the type in one of its own
//! kinds of memory is supported, or it is not. llama.cpp places weights by the same question (`weight_buft_supported` in
//! `llama-model-loader.cpp`).

use std::ptr;
use std::sync::OnceLock;

use llama_cpp_sys_2 as sys;
use models::DType;

use super::start;
use crate::{Copies, WeightUse};

/// Inputs and outputs of the matrix that is asked about: whole blocks of each type, and a multiple of the rows that ggml interleaves.
const SIZE: [i64; 2] = [512, 64];
/// Tensors of a question: weight, activations, product.
const TENSORS: usize = 3;

/// How llama.cpp keeps and multiplies weights.
///
/// The products with experts of the CPU back end (`GGML_OP_MUL_MAT_ID`) multiply each row of activations alone, where those of other
/// weights take several rows together. Source: `forward_mul_mat_id` in `repack.cpp`, `ggml_compute_forward_mul_mat_id` in `ggml-cpu.c`.
pub(in super::super) fn weight_use() -> WeightUse {
    static TYPES: OnceLock<Vec<DType>> = OnceLock::new();
    let types = TYPES.get_or_init(copied_types).clone();
    let copies = (!types.is_empty()).then(|| Copies { types, avoided_by: "repack=off".to_owned() });
    WeightUse { copies, experts_by_row: true }
}

/// The types of which ggml makes copies on this processor.
fn copied_types() -> Vec<DType> {
    start();
    DType::ALL.into_iter().filter(|dtype| is_copied(*dtype)).collect()
}

/// Whether one of the additional kinds of memory of the CPU takes weights of this type.
fn is_copied(dtype: DType) -> bool {
    // SAFETY: it takes a number and returns a device, or null.
    let device = unsafe { sys::ggml_backend_dev_by_type(sys::GGML_BACKEND_DEVICE_TYPE_CPU) };
    if device.is_null() {
        return false;
    }
    additional_memory(device).into_iter().any(|memory| takes(device, memory, dtype.ggml_id()))
}

/// The kinds of memory of a device that only some products can read.
fn additional_memory(device: sys::ggml_backend_dev_t) -> Vec<sys::ggml_backend_buffer_type_t> {
    // SAFETY: a device of the library, which lives as long as the process.
    let back_end = unsafe { sys::ggml_backend_dev_backend_reg(device) };
    // SAFETY: as above; the name ends with a zero byte.
    let function =
        unsafe { sys::ggml_backend_reg_get_proc_address(back_end, c"ggml_backend_dev_get_extra_bufts".as_ptr()) };
    type Function = unsafe extern "C" fn(sys::ggml_backend_dev_t) -> *mut sys::ggml_backend_buffer_type_t;
    if function.is_null() {
        return Vec::new();
    }
    // SAFETY: under this name the library has a function of this type (`ggml_backend_dev_get_extra_bufts_t` in `ggml-backend.h`).
    let function = unsafe { std::mem::transmute::<*mut std::ffi::c_void, Function>(function) };
    // SAFETY: a device of the library.
    let mut next = unsafe { function(device) };
    let mut found = Vec::new();
    while !next.is_null() {
        // SAFETY: the list ends with null, which was not reached yet.
        let memory = unsafe { *next };
        if memory.is_null() {
            break;
        }
        found.push(memory);
        // SAFETY: the end was not reached.
        next = unsafe { next.add(1) };
    }
    found
}

/// Whether a product reads weights of a type in this kind of memory.
fn takes(device: sys::ggml_backend_dev_t, memory: sys::ggml_backend_buffer_type_t, type_: sys::ggml_type) -> bool {
    // SAFETY: it returns a constant.
    let mem_size = TENSORS * unsafe { sys::ggml_tensor_overhead() };
    let params = sys::ggml_init_params { mem_size, mem_buffer: ptr::null_mut(), no_alloc: true };
    // SAFETY: plain values; the context is freed below.
    let context = unsafe { sys::ggml_init(params) };
    if context.is_null() {
        return false;
    }
    let [inputs, outputs] = SIZE;
    #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]
    // SAFETY: the context has room for the three tensors, and the sizes are whole blocks of every type.
    let (weight, product) = unsafe {
        let weight = sys::ggml_new_tensor_2d(context, type_, inputs, outputs);
        let x = sys::ggml_new_tensor_2d(context, sys::GGML_TYPE_F32, inputs, 4);
        (weight, sys::ggml_mul_mat(context, weight, x))
    };
    // SAFETY: a kind of memory of the library; a buffer without bytes allocates nothing.
    let buffer = unsafe { sys::ggml_backend_buft_alloc_buffer(memory, 0) };
    let mut found = false;
    if !buffer.is_null() {
        // SAFETY: the weight lives until the context is freed.
        unsafe { (*weight).buffer = buffer };
        // SAFETY: device and tensor are alive; the call reads them.
        found = unsafe { sys::ggml_backend_dev_supports_op(device, product) };
        // SAFETY: the buffer is used by nothing after this.
        unsafe { sys::ggml_backend_buffer_free(buffer) };
    }
    // SAFETY: its tensors are not used after this.
    unsafe { sys::ggml_free(context) };
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule of `ggml_repack_get_optimal_repack_type` in ggml 0.26 for x86.
    #[test]
    #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
    fn types_are_copied_as_ggml_states() {
        let copies = weight_use().copies.unwrap();
        for dtype in [DType::Q4_0, DType::Q4_K, DType::IQ4_NL, DType::MXFP4] {
            assert!(copies.types.contains(&dtype), "{dtype}: {:?}", copies.types);
        }
        for dtype in [DType::F32, DType::F16, DType::Q4_1] {
            assert!(!copies.types.contains(&dtype), "{dtype}: {:?}", copies.types);
        }
    }
}
