"""The functions of llama.cpp that the oracles use, through the ctypes bindings of llama-cpp-python."""

import ctypes
import hashlib
from contextlib import contextmanager
from typing import Iterator

import llama_cpp as llama
import numpy as np

GGML_TYPE_F32 = 0
FLASH_ATTENTION_DISABLED = 0


def sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@llama.llama_log_callback
def _errors_only(level, text, _data):
    if level == 4:  # GGML_LOG_LEVEL_ERROR
        print(text.decode(errors="replace"), end="", flush=True)


llama.llama_log_set(_errors_only, ctypes.c_void_p(0))
llama.llama_backend_init()


class Vocabulary:
    """A model's vocabulary: text to ids and back."""

    def __init__(self, model):
        self.handle = llama.llama_model_get_vocab(model)
        self.size = llama.llama_vocab_n_tokens(self.handle)

    def tokenize(self, text: str, add_special: bool, parse_special: bool) -> list[int]:
        data = text.encode()
        room = len(data) + 16
        ids = (llama.llama_token * room)()
        count = llama.llama_tokenize(self.handle, data, len(data), ids, room, add_special, parse_special)
        if count < 0:
            raise RuntimeError(f"{text!r} needs {-count} tokens, the buffer has {room}")
        return list(ids[:count])

    def detokenize(self, ids: list[int], unparse_special: bool) -> bytes:
        array = (llama.llama_token * max(1, len(ids)))(*ids)
        room = 64 * len(ids) + 64
        text = ctypes.create_string_buffer(room)
        length = llama.llama_detokenize(self.handle, array, len(ids), text, room, False, unparse_special)
        if length < 0:
            raise RuntimeError(f"the text of {len(ids)} tokens is longer than {room} bytes")
        return text.raw[:length]

    def special(self) -> dict:
        return {
            "bos": llama.llama_vocab_bos(self.handle),
            "eos": llama.llama_vocab_eos(self.handle),
            "eot": llama.llama_vocab_eot(self.handle),
            "add_bos": llama.llama_vocab_get_add_bos(self.handle),
            "add_eos": llama.llama_vocab_get_add_eos(self.handle),
            "eog": [i for i in range(self.size) if self.is_eog(i)],
        }

    def is_eog(self, token: int) -> bool:
        return bool(llama.llama_vocab_is_eog(self.handle, token))


@contextmanager
def load_model(path: str, vocab_only: bool = False) -> Iterator:
    """The model at `path` on the CPU, with its weights as stored in the file (not repacked for this CPU)."""
    params = llama.llama_model_default_params()
    params.vocab_only = vocab_only
    params.n_gpu_layers = 0
    params.use_extra_bufts = False
    model = llama.llama_model_load_from_file(path.encode(), params)
    if not model:
        raise RuntimeError(f"llama.cpp cannot load {path}")
    try:
        yield model
    finally:
        llama.llama_model_free(model)


@contextmanager
def open_context(model, length: int, threads: int = 2) -> Iterator["Context"]:
    """A context of `length` positions: F32 cache, no flash attention, everything in one batch."""
    params = llama.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = length
    params.n_threads = params.n_threads_batch = threads
    params.type_k = params.type_v = GGML_TYPE_F32
    params.flash_attn_type = FLASH_ATTENTION_DISABLED
    context = llama.llama_init_from_model(model, params)
    if not context:
        raise RuntimeError("llama.cpp cannot create a context")
    try:
        yield Context(model, context)
    finally:
        llama.llama_free(context)


class Context:
    """Runs tokens through the model and returns logits."""

    def __init__(self, model, handle):
        self.handle = handle
        self.vocab_size = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
        self.position = 0

    def decode(self, ids: list[int]) -> np.ndarray:
        """Appends `ids` in one batch; returns the logits of each, [len(ids), vocabulary]."""
        batch = llama.llama_batch_init(len(ids), 0, 1)
        try:
            batch.n_tokens = len(ids)
            for i, token in enumerate(ids):
                batch.token[i] = token
                batch.pos[i] = self.position + i
                batch.n_seq_id[i] = 1
                batch.seq_id[i][0] = 0
                batch.logits[i] = 1
            status = llama.llama_decode(self.handle, batch)
            if status != 0:
                raise RuntimeError(f"llama_decode returned {status}")
            rows = [
                np.ctypeslib.as_array(llama.llama_get_logits_ith(self.handle, i), shape=(self.vocab_size,)).copy()
                for i in range(len(ids))
            ]
        finally:
            llama.llama_batch_free(batch)
        self.position += len(ids)
        return np.stack(rows)
