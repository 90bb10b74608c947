//! Safe types for llama.cpp's C interface: the only unsafe code of this engine, in the files of this folder.
//!
//! Memory that is passed to C outlives its use there: a context owns its model and the state of its callback. Log lines of llama.cpp
//! are only used for the reason of an error.
#![allow(unsafe_code, reason = "a C library is called")]

mod context;
mod graph;
mod model;
mod priority;
mod repack;

use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::{Mutex, Once, OnceLock, PoisonError};

use llama_cpp_sys_2 as sys;

use super::settings::{Numa, Settings};
use super::unsupported;
use crate::EngineError;

pub(super) use context::{Context, ContextOptions};
pub(super) use graph::Graph;
pub(super) use model::{Model, Part};
pub(super) use priority::check as check_priority;
pub(super) use repack::weight_use;

/// Maximum size of llama.cpp's messages in an error, in bytes.
const MESSAGE_BYTES: usize = 1000;

static START: Once = Once::new();
/// llama.cpp's error messages since the start of the last call that may fail.
static MESSAGES: Mutex<String> = Mutex::new(String::new());
/// The start of llama.cpp's warning about memory that the system did not lock.
const NOT_LOCKED: &str = "failed to mlock";

/// Starts llama.cpp, once per process.
fn start() {
    START.call_once(|| {
        // SAFETY: the callback is a function, which lives as long as the process, and takes no data.
        unsafe { sys::llama_log_set(Some(on_log), ptr::null_mut()) };
        // SAFETY: called once, before anything else of the library.
        unsafe { sys::llama_backend_init() };
    });
}

/// Places memory and threads on the NUMA nodes, as set.
///
/// # Errors
/// When the machine has one node, on which the setting has no effect.
fn place_on_nodes(settings: &Settings) -> Result<(), EngineError> {
    let strategy = match settings.numa {
        None => return Ok(()),
        Some(Numa::Distribute) => sys::GGML_NUMA_STRATEGY_DISTRIBUTE,
        Some(Numa::Isolate) => sys::GGML_NUMA_STRATEGY_ISOLATE,
        Some(Numa::Numactl) => sys::GGML_NUMA_STRATEGY_NUMACTL,
    };
    // SAFETY: the back end was started; the strategy is one of the library's.
    unsafe { sys::llama_numa_init(strategy) };
    // SAFETY: it takes nothing and reads what the call before has found.
    if unsafe { sys::ggml_is_numa() } {
        return Ok(());
    }
    Err(unsupported("the setting `numa` on a machine with one NUMA node".to_owned(), "leave it out"))
}

/// Keeps error messages; the first ones are the closest to the cause.
unsafe extern "C" fn on_log(level: sys::ggml_log_level, text: *const c_char, _data: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a text that ends with a zero byte and lives during this call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    // Memory that is not locked is a warning there: the model is loaded all the same.
    if level != sys::GGML_LOG_LEVEL_ERROR && !text.contains(NOT_LOCKED) {
        return;
    }
    let mut messages = MESSAGES.lock().unwrap_or_else(PoisonError::into_inner);
    if messages.len() + text.len() <= MESSAGE_BYTES {
        let separator = if messages.is_empty() { "" } else { ", " };
        messages.push_str(separator);
        messages.push_str(text.trim());
    }
}

/// llama.cpp's message about memory that the system did not lock, if there was one since the messages were cleared.
fn not_locked() -> Option<String> {
    let messages = MESSAGES.lock().unwrap_or_else(PoisonError::into_inner);
    let at = messages.find(NOT_LOCKED)?;
    // The line alone: advice for users of llama.cpp's own tools follows.
    messages[at..].lines().next().map(str::to_owned)
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
pub(super) fn system_info() -> &'static str {
    // The library writes the text into one buffer of its own in each call, so that two threads must not call it.
    static INFO: OnceLock<String> = OnceLock::new();
    INFO.get_or_init(|| {
        start();
        // SAFETY: it takes nothing and returns a text that lives until the next call, and this is the only one.
        text(unsafe { sys::llama_print_system_info() })
    })
}
