//! Safe types for llama.cpp's C interface: the only unsafe code of this engine.
//!
//! Memory that is passed to C outlives its use there: a context owns its model and the state of its callback. Log lines of llama.cpp
//! are only used for the reason of an error.
#![allow(unsafe_code, reason = "a C library is called")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, Once, PoisonError};

use llama_cpp_sys_2 as sys;
use traces::record::{self, OpGuard};

use super::failed;
use super::ops::{self, Node};
use super::settings::Settings;
use crate::{EngineError, FlashAttention};

/// Maximum number of prompt tokens per call; llama.cpp divides them into batches (llama-bench's `-b`).
const TOKENS_PER_CALL: usize = 2048;
/// Size of the first buffer for the text of a token, in bytes.
const PIECE_BYTES: usize = 64;

/// Maximum size of llama.cpp's messages in an error, in bytes.
const MESSAGE_BYTES: usize = 1000;

static START: Once = Once::new();
/// llama.cpp's error messages since the start of the last call that may fail.
static MESSAGES: Mutex<String> = Mutex::new(String::new());

/// Starts llama.cpp, once per process.
fn start() {
    START.call_once(|| {
        // SAFETY: the callback is a function, which lives as long as the process, and takes no data.
        unsafe { sys::llama_log_set(Some(on_log), ptr::null_mut()) };
        // SAFETY: called once, before anything else of the library.
        unsafe { sys::llama_backend_init() };
    });
}

/// Keeps error messages; the first ones are the closest to the cause.
unsafe extern "C" fn on_log(level: sys::ggml_log_level, text: *const c_char, _data: *mut c_void) {
    if level != sys::GGML_LOG_LEVEL_ERROR || text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a text that ends with a zero byte and lives during this call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let mut messages = MESSAGES.lock().unwrap_or_else(PoisonError::into_inner);
    if messages.len() + text.len() <= MESSAGE_BYTES {
        let separator = if messages.is_empty() { "" } else { ", " };
        messages.push_str(separator);
        messages.push_str(text.trim());
    }
}

/// llama.cpp's messages about the last error, or a default.
fn messages_or(default: &str) -> String {
    let messages = std::mem::take(&mut *MESSAGES.lock().unwrap_or_else(PoisonError::into_inner));
    if messages.is_empty() { default.to_owned() } else { messages }
}

/// To be called before a call that may fail.
fn clear_messages() {
    MESSAGES.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// Copies a text of the library.
fn text(from: *const c_char) -> String {
    if from.is_null() {
        return String::new();
    }
    // SAFETY: not null; the library's texts end with a zero byte and are alive at least until its next call.
    unsafe { CStr::from_ptr(from) }.to_string_lossy().into_owned()
}

/// The versions of llama.cpp and of ggml. Their commits are not used: the build reads them from the git repository around the
/// source, which for a package is an unrelated one.
pub(super) fn versions() -> [String; 2] {
    // SAFETY: it takes nothing and returns a constant text.
    let llama = text(unsafe { sys::llama_version() });
    // SAFETY: as above.
    let ggml = text(unsafe { sys::ggml_version() });
    [llama, ggml]
}

/// Features of the build, in llama.cpp's format: `CPU : AVX2 = 1 | F16C = 0 | ...`.
pub(super) fn system_info() -> String {
    start();
    // SAFETY: it takes nothing and returns a text that lives until the next call; it is copied immediately.
    text(unsafe { sys::llama_print_system_info() })
}

/// A model's weights and vocabulary.
#[derive(Debug)]
pub(super) struct Model {
    pointer: NonNull<sys::llama_model>,
    vocab: NonNull<sys::llama_vocab>,
}

impl Model {
    /// Loads a GGUF file.
    pub(super) fn load(path: &Path, settings: &Settings) -> Result<Self, EngineError> {
        start();
        clear_messages();
        let name = path.to_str().and_then(|path| CString::new(path).ok());
        let name = name.ok_or_else(|| failed("load", format!("the path {} is not UTF-8", path.display())))?;
        // SAFETY: it takes nothing and returns plain values.
        let mut params = unsafe { sys::llama_model_default_params() };
        // The null-terminated list of devices for offloading: none.
        let mut devices = [ptr::null_mut()];
        params.devices = devices.as_mut_ptr();
        params.n_gpu_layers = 0;
        params.load_mode = if settings.mmap { sys::LLAMA_LOAD_MODE_MMAP } else { sys::LLAMA_LOAD_MODE_NONE };
        params.use_extra_bufts = settings.repack;
        // SAFETY: path and list end with a zero and live during the call; the parameters are the library's own defaults with
        // plain values changed.
        let model = unsafe { sys::llama_model_load_from_file(name.as_ptr(), params) };
        let pointer = NonNull::new(model)
            .ok_or_else(|| failed("load", messages_or("llama.cpp cannot load it and reported no reason")))?;
        // SAFETY: the model is alive.
        let vocab = unsafe { sys::llama_model_get_vocab(pointer.as_ptr()) };
        let Some(vocab) = NonNull::new(vocab.cast_mut()) else {
            // SAFETY: the model is alive and has no other owner.
            unsafe { sys::llama_model_free(pointer.as_ptr()) };
            return Err(failed("load", "the file has no vocabulary"));
        };
        Ok(Self { pointer, vocab })
    }

    /// Size of the vocabulary.
    pub(super) fn vocab(&self) -> usize {
        // SAFETY: the vocabulary lives as long as the model.
        let count = unsafe { sys::llama_vocab_n_tokens(self.vocab.as_ptr()) };
        usize::try_from(count).unwrap_or(0)
    }

    /// The ids that end a generation.
    pub(super) fn end_of_generation(&self) -> Vec<u32> {
        // SAFETY: the vocabulary lives as long as the model, and the id is in it.
        let ends = |id: i32| unsafe { sys::llama_vocab_is_eog(self.vocab.as_ptr(), id) };
        let count = i32::try_from(self.vocab()).unwrap_or(i32::MAX);
        (0..count).filter(|id| ends(*id)).filter_map(|id| u32::try_from(id).ok()).collect()
    }

    /// Text to ids, special tokens parsed, with BOS in front if requested.
    pub(super) fn tokenize(&self, text: &str, add_bos: bool) -> Result<Vec<u32>, EngineError> {
        let length = i32::try_from(text.len()).map_err(|_| failed("tokenize", "the text is longer than 2 GB"))?;
        let call = |ids: &mut [i32]| {
            let capacity = i32::try_from(ids.len()).unwrap_or(i32::MAX);
            let (from, to) = (text.as_ptr().cast(), ids.as_mut_ptr());
            // SAFETY: text and buffer have the given lengths, and the vocabulary is alive.
            unsafe { sys::llama_tokenize(self.vocab.as_ptr(), from, length, to, capacity, false, true) }
        };
        // A token is at least one byte.
        let mut ids = vec![0; text.len() + 2];
        let mut count = call(&mut ids);
        if count < 0 {
            ids.resize(count.unsigned_abs() as usize, 0);
            count = call(&mut ids);
        }
        let count = usize::try_from(count).map_err(|_| failed("tokenize", messages_or("llama_tokenize failed")))?;
        ids.truncate(count);
        // SAFETY: the vocabulary is alive.
        let bos = add_bos.then(|| unsafe { sys::llama_vocab_bos(self.vocab.as_ptr()) });
        let bos = bos.filter(|bos| *bos >= 0);
        bos.into_iter()
            .chain(ids)
            .map(|id| u32::try_from(id).map_err(|_| failed("tokenize", format!("llama_tokenize gave the id {id}"))))
            .collect()
    }

    /// The bytes of a token of the vocabulary; empty for a control token.
    pub(super) fn piece(&self, token: u32) -> Result<Vec<u8>, EngineError> {
        let id = i32::try_from(token).map_err(|_| failed("detokenize", format!("{token} is not a token id")))?;
        let call = |bytes: &mut [u8]| {
            let capacity = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
            // SAFETY: the buffer has the given length; the id is in the vocabulary (the caller checked), which is alive.
            unsafe { sys::llama_token_to_piece(self.vocab.as_ptr(), id, bytes.as_mut_ptr().cast(), capacity, 0, false) }
        };
        let mut bytes = vec![0; PIECE_BYTES];
        let mut count = call(&mut bytes);
        if count < 0 {
            bytes.resize(count.unsigned_abs() as usize, 0);
            count = call(&mut bytes);
        }
        let count = usize::try_from(count)
            .map_err(|_| failed("detokenize", format!("llama.cpp returned no text for token {token}")))?;
        bytes.truncate(count);
        Ok(bytes)
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: the model is alive, and every context over it was dropped before (it owns the model).
        unsafe { sys::llama_model_free(self.pointer.as_ptr()) };
    }
}

/// How a context is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct ContextOptions {
    /// Minimum capacity in tokens.
    pub(super) context: usize,
    /// Prompt tokens per forward pass.
    pub(super) batch: usize,
    /// Number of compute threads.
    pub(super) threads: usize,
    /// KV cache in F32 instead of F16.
    pub(super) wide_kv: bool,
    /// Fused attention.
    pub(super) flash_attention: FlashAttention,
    /// The model's projections have biases.
    pub(super) biased: bool,
}

/// State of the evaluation callback: the op that runs now.
struct Marks {
    biased: bool,
    open: Option<OpGuard>,
}

/// A KV cache and buffers over a model. Not shared between threads.
pub(super) struct Context {
    // The order of the fields is the order in which they are dropped: first what points to the others.
    pointer: Computing,
    #[expect(dead_code, reason = "kept alive for the context")]
    threads: Threads,
    marks: Marking,
    model: Model,
    vocab: usize,
    /// Maximum number of tokens per call.
    per_call: usize,
}

/// Frees the context.
struct Computing(NonNull<sys::llama_context>);

impl Drop for Computing {
    fn drop(&mut self) {
        // SAFETY: the context is alive and dropped once.
        unsafe { sys::llama_free(self.0.as_ptr()) };
    }
}

/// The compute threads. Without a pool llama.cpp would start new threads for each graph.
struct Threads(NonNull<sys::ggml_threadpool>);

impl Threads {
    fn new(count: i32) -> Result<Self, EngineError> {
        // SAFETY: it takes a number and returns plain values.
        let mut params = unsafe { sys::ggml_threadpool_params_default(count) };
        // SAFETY: the parameters live during the call.
        let pool = unsafe { sys::ggml_threadpool_new(&raw mut params) };
        NonNull::new(pool).map(Self).ok_or_else(|| failed("load", format!("cannot start {count} threads")))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // SAFETY: the pool is alive and dropped once, and the context that points to it is gone.
        unsafe { sys::ggml_threadpool_free(self.0.as_ptr()) };
    }
}

/// Frees the state of the callback.
struct Marking(NonNull<Marks>);

impl Marking {
    fn new(marks: Marks) -> Self {
        Self(NonNull::from(Box::leak(Box::new(marks))))
    }

    /// Closes the op that a failed computation left open.
    fn close(&mut self) {
        // SAFETY: it is alive, and no computation is running that could call back.
        unsafe { self.0.as_mut() }.open = None;
    }
}

impl Drop for Marking {
    fn drop(&mut self) {
        // SAFETY: it comes from a box that was leaked, it is dropped once, and the context that points to it is gone.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Context {
    /// Reserves a KV cache; all passes use the same context, so that they measure the same thing.
    pub(super) fn new(model: Model, options: ContextOptions) -> Result<Self, EngineError> {
        let count = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let threads = i32::try_from(options.threads.max(1)).unwrap_or(i32::MAX);
        let per_call = TOKENS_PER_CALL.max(options.batch);
        clear_messages();
        // SAFETY: it takes nothing and returns plain values.
        let mut params = unsafe { sys::llama_context_default_params() };
        params.n_ctx = count(options.context);
        params.n_batch = count(per_call);
        params.n_ubatch = count(options.batch);
        params.n_seq_max = 1;
        params.n_threads = threads;
        params.n_threads_batch = threads;
        params.type_k = if options.wide_kv { sys::GGML_TYPE_F32 } else { sys::GGML_TYPE_F16 };
        params.type_v = params.type_k;
        params.flash_attn_type = match options.flash_attention {
            // Fused attention reads the cache as F16: an F32 cache would be rounded in every pass.
            FlashAttention::Auto if options.wide_kv => sys::LLAMA_FLASH_ATTN_TYPE_DISABLED,
            FlashAttention::Auto => sys::LLAMA_FLASH_ATTN_TYPE_AUTO,
            FlashAttention::On => sys::LLAMA_FLASH_ATTN_TYPE_ENABLED,
            FlashAttention::Off => sys::LLAMA_FLASH_ATTN_TYPE_DISABLED,
        };
        params.no_perf = true;
        let marks = Marking::new(Marks { biased: options.biased, open: None });
        params.cb_eval = Some(on_node);
        params.cb_eval_user_data = marks.0.as_ptr().cast();
        // SAFETY: the model is alive; the parameters are the library's defaults with plain values changed; the callback's
        // data lives until the context is dropped.
        let context = unsafe { sys::llama_init_from_model(model.pointer.as_ptr(), params) };
        let pointer = NonNull::new(context).map(Computing);
        let pointer = pointer
            .ok_or_else(|| failed("load", messages_or("llama.cpp cannot make a context and reported no reason")))?;
        let pool = Threads::new(threads)?;
        // SAFETY: both are alive; the context is freed before the pool.
        unsafe { sys::llama_attach_threadpool(pointer.0.as_ptr(), pool.0.as_ptr(), ptr::null_mut()) };
        let vocab = model.vocab();
        Ok(Self { pointer, threads: pool, marks, model, vocab, per_call })
    }

    pub(super) fn model(&self) -> &Model {
        &self.model
    }

    /// Tokens that the KV cache was reserved for.
    pub(super) fn cells(&self) -> usize {
        // SAFETY: the context is alive.
        unsafe { sys::llama_n_ctx(self.pointer.0.as_ptr()) as usize }
    }

    /// Appends tokens to the context and runs them; afterwards the logits are those of the last one.
    pub(super) fn decode(&mut self, place: &'static str, tokens: &[u32]) -> Result<(), EngineError> {
        let ids: Option<Vec<i32>> = tokens.iter().map(|id| i32::try_from(*id).ok()).collect();
        let mut ids = ids.ok_or_else(|| failed(place, "a token id beyond 2^31"))?;
        clear_messages();
        for part in ids.chunks_mut(self.per_call) {
            let count = i32::try_from(part.len()).unwrap_or(i32::MAX);
            // SAFETY: the buffer has `count` ids and lives until the call below has returned.
            let batch = unsafe { sys::llama_batch_get_one(part.as_mut_ptr(), count) };
            // SAFETY: the context is alive, and the batch points to ids of the vocabulary (the caller checked).
            let outcome = unsafe { sys::llama_decode(self.pointer.0.as_ptr(), batch) };
            if outcome != 0 {
                self.marks.close();
                let reason = messages_or("llama.cpp reported no reason");
                return Err(failed(place, format!("llama_decode returned {outcome}: {reason}")));
            }
        }
        self.wait();
        Ok(())
    }

    /// Waits until the computation is complete.
    pub(super) fn wait(&mut self) {
        // SAFETY: the context is alive.
        unsafe { sys::llama_synchronize(self.pointer.0.as_ptr()) };
    }

    /// Logits of the last token that ran, `[vocab]`.
    pub(super) fn logits(&mut self) -> Result<&[f32], EngineError> {
        // SAFETY: the context is alive; -1 is the last output.
        let logits = unsafe { sys::llama_get_logits_ith(self.pointer.0.as_ptr(), -1) };
        if logits.is_null() {
            return Err(failed("logits", messages_or("llama.cpp has none: nothing was run yet")));
        }
        // SAFETY: an output has one logit for each token of the vocabulary. They stay until the next computation, which takes
        // `&mut self` too.
        Ok(unsafe { std::slice::from_raw_parts(logits, self.vocab) })
    }

    /// Removes all tokens; the reserved memory stays.
    pub(super) fn clear(&mut self) {
        // SAFETY: the context is alive.
        let memory = unsafe { sys::llama_get_memory(self.pointer.0.as_ptr()) };
        // SAFETY: the memory belongs to the context.
        unsafe { sys::llama_memory_clear(memory, false) };
    }
}

/// Called twice per node: to ask whether to compute it separately, and after that computation. While nothing is recorded the answer
/// is always no, and the graph is computed as a whole.
unsafe extern "C" fn on_node(tensor: *mut sys::ggml_tensor, ask: bool, data: *mut c_void) -> bool {
    // SAFETY: the data given with this callback is the context's own, which is alive and computes on one thread.
    let Some(marks) = (unsafe { data.cast::<Marks>().as_mut() }) else { return !ask };
    if !ask {
        marks.open = None;
        // Continue.
        return true;
    }
    if !record::is_on() {
        return false;
    }
    // SAFETY: ggml passes a node of the graph that it is computing.
    let Some(tensor) = (unsafe { tensor.as_ref() }) else { return false };
    // SAFETY: inputs are nodes or weights of the same graph, or null.
    let input = |place: usize| tensor.src.get(place).and_then(|input| unsafe { input.as_ref() });
    let size = |dimension: usize| usize::try_from(tensor.ne[dimension]).unwrap_or(0);
    // Nodes that are not computed, such as rows whose logits are not requested.
    if tensor.flags.cast_unsigned() & sys::GGML_TENSOR_FLAG_COMPUTE == 0 || size(1) == 0 {
        return false;
    }
    let node = Node {
        op: tensor.op,
        name: name(tensor),
        inputs: [input(0).map_or("", name), input(1).map_or("", name)],
        shape: [size(0), size(1)],
    };
    let Some((kind, layer)) = ops::classify(&node, marks.biased) else { return false };
    // The next computation ends with this node.
    marks.open = Some(ops::mark(kind, layer, node.shape));
    true
}

/// The name of a tensor, up to the zero byte.
fn name(tensor: &sys::ggml_tensor) -> &str {
    let bytes = tensor.name.as_ptr().cast::<u8>();
    // SAFETY: the field is an array of as many bytes, part of the tensor that is borrowed.
    let bytes = unsafe { std::slice::from_raw_parts(bytes, tensor.name.len()) };
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    std::str::from_utf8(&bytes[..end]).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_an_invalid_file_has_the_message_of_llama_cpp() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("no.gguf");
        std::fs::write(&path, b"GGUF but nothing else").expect("it can be written");
        let error = Model::load(&path, &Settings::default()).map(drop).unwrap_err().to_string();
        assert!(error.contains("load") && error.contains("no.gguf") && error.len() > 40, "{error}");
        println!("{error}");
    }
}
