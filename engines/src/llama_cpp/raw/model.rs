//! A model's weights and vocabulary.

use std::ffi::CString;
use std::path::Path;
use std::ptr::{self, NonNull};

use llama_cpp_sys_2 as sys;

use super::super::settings::{LazyMode, LoadMode, Settings};
use super::super::{failed, unsupported};
use super::{clear_messages, messages_or, not_locked, place_on_nodes, start};
use crate::EngineError;

/// Size of the first buffer for the text of a token, in bytes.
const PIECE_BYTES: usize = 64;

/// What is loaded of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Part {
    /// Weights and vocabulary.
    All,
    /// The vocabulary alone.
    Vocabulary,
}

/// A model's weights and vocabulary.
#[derive(Debug)]
pub(in super::super) struct Model {
    pub(super) pointer: NonNull<sys::llama_model>,
    vocab: NonNull<sys::llama_vocab>,
}

impl Model {
    /// Loads a GGUF file, or its vocabulary alone.
    pub(in super::super) fn load(path: &Path, part: Part, settings: &Settings) -> Result<Self, EngineError> {
        start();
        place_on_nodes(settings)?;
        clear_messages();
        let name = path.to_str().and_then(|path| CString::new(path).ok());
        let name = name.ok_or_else(|| failed("load", format!("the path {} is not UTF-8", path.display())))?;
        // SAFETY: it takes nothing and returns plain values.
        let mut params = unsafe { sys::llama_model_default_params() };
        // The null-terminated list of devices for offloading: none.
        let mut devices = [ptr::null_mut()];
        params.devices = devices.as_mut_ptr();
        params.n_gpu_layers = 0;
        params.vocab_only = part == Part::Vocabulary;
        params.load_mode = match settings.load_mode {
            LoadMode::Auto => sys::LLAMA_LOAD_MODE_AUTO,
            LoadMode::None => sys::LLAMA_LOAD_MODE_NONE,
            LoadMode::Mmap => sys::LLAMA_LOAD_MODE_MMAP,
            LoadMode::Mlock => sys::LLAMA_LOAD_MODE_MLOCK,
            LoadMode::MmapMlock => sys::LLAMA_LOAD_MODE_MMAP_MLOCK,
            LoadMode::DirectIo => sys::LLAMA_LOAD_MODE_DIRECT_IO,
        };
        params.lazy_mode = match settings.lazy_mode {
            LazyMode::Off => sys::LLAMA_LAZY_MODE_OFF,
            LazyMode::Auto => sys::LLAMA_LAZY_MODE_AUTO,
            LazyMode::On => sys::LLAMA_LAZY_MODE_ON,
        };
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
        let model = Self { pointer, vocab };
        let is_locked = matches!(settings.load_mode, LoadMode::Mlock | LoadMode::MmapMlock);
        match not_locked().filter(|_| is_locked && part == Part::All) {
            None => Ok(model),
            Some(reason) => Err(unsupported(
                format!("locked memory here: the system refuses it ({reason})"),
                "choose another load mode, or raise the limit of locked memory (ulimit -l, RLIMIT_MEMLOCK)",
            )),
        }
    }

    /// Size of the vocabulary.
    pub(in super::super) fn vocab(&self) -> usize {
        // SAFETY: the vocabulary lives as long as the model.
        let count = unsafe { sys::llama_vocab_n_tokens(self.vocab.as_ptr()) };
        usize::try_from(count).unwrap_or(0)
    }

    /// Whether it has tokens with texts: files for tests have ids alone.
    pub(in super::super) fn has_texts(&self) -> bool {
        // SAFETY: the vocabulary lives as long as the model.
        unsafe { sys::llama_vocab_type(self.vocab.as_ptr()) != sys::LLAMA_VOCAB_TYPE_NONE }
    }

    /// Whether it reads its whole input before it writes, as translators do.
    pub(in super::super) fn has_encoder(&self) -> bool {
        // SAFETY: the model is alive.
        unsafe { sys::llama_model_has_encoder(self.pointer.as_ptr()) }
    }

    /// Whether a text begins with BOS.
    pub(in super::super) fn adds_bos(&self) -> bool {
        // SAFETY: the vocabulary lives as long as the model.
        unsafe { sys::llama_vocab_get_add_bos(self.vocab.as_ptr()) }
    }

    /// BOS, if the vocabulary has one.
    pub(in super::super) fn bos(&self) -> Option<u32> {
        // SAFETY: the vocabulary lives as long as the model.
        u32::try_from(unsafe { sys::llama_vocab_bos(self.vocab.as_ptr()) }).ok()
    }

    /// Whether a token of a vocabulary with texts is a control token.
    pub(in super::super) fn is_control(&self, token: u32) -> bool {
        // SAFETY: the vocabulary lives as long as the model, has texts, and the caller passes one of its ids.
        i32::try_from(token).is_ok_and(|id| unsafe { sys::llama_vocab_is_control(self.vocab.as_ptr(), id) })
    }

    /// The ids that end a generation.
    pub(in super::super) fn end_of_generation(&self) -> Vec<u32> {
        // SAFETY: the vocabulary lives as long as the model, and the id is in it.
        let ends = |id: i32| unsafe { sys::llama_vocab_is_eog(self.vocab.as_ptr(), id) };
        let count = i32::try_from(self.vocab()).unwrap_or(i32::MAX);
        (0..count).filter(|id| ends(*id)).filter_map(|id| u32::try_from(id).ok()).collect()
    }

    /// Text to ids, with BOS in front if requested; special tokens are parsed if requested.
    pub(in super::super) fn tokenize(
        &self,
        text: &str,
        add_bos: bool,
        parse_special: bool,
    ) -> Result<Vec<u32>, EngineError> {
        if !self.has_texts() {
            return Err(failed("tokenize", "the file has no texts of tokens"));
        }
        let length = i32::try_from(text.len()).map_err(|_| failed("tokenize", "the text is longer than 2 GB"))?;
        let call = |ids: &mut [i32]| {
            let capacity = i32::try_from(ids.len()).unwrap_or(i32::MAX);
            let (from, to) = (text.as_ptr().cast(), ids.as_mut_ptr());
            // SAFETY: text and buffer have the given lengths, and the vocabulary is alive.
            unsafe { sys::llama_tokenize(self.vocab.as_ptr(), from, length, to, capacity, false, parse_special) }
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
        let number =
            |id: i32| u32::try_from(id).map_err(|_| failed("tokenize", format!("llama_tokenize gave the id {id}")));
        let bos = self.bos().filter(|_| add_bos);
        bos.into_iter().map(Ok).chain(ids.into_iter().map(number)).collect()
    }

    /// The bytes of a token of the vocabulary; empty for a control token.
    pub(in super::super) fn piece(&self, token: u32) -> Result<Vec<u8>, EngineError> {
        if !self.has_texts() {
            return Ok(Vec::new());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_an_invalid_file_has_the_message_of_llama_cpp() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("no.gguf");
        std::fs::write(&path, b"GGUF but nothing else").expect("it can be written");
        let error = Model::load(&path, Part::All, &Settings::default()).map(drop).unwrap_err().to_string();
        assert!(error.contains("load") && error.contains("no.gguf") && error.len() > 40, "{error}");
        println!("{error}");
    }
}
