//! A context over a model: its cache, its threads, and the computation of tokens.

use std::ptr::{self, NonNull};

use llama_cpp_sys_2 as sys;

use super::super::failed;
use super::super::settings::{MASK_BITS, Priority, Settings};
use super::graph::{Graph, Marking, on_node};
use super::model::Model;
use super::{clear_messages, messages_or};
use crate::{EngineError, FlashAttention, KvBytes, KvType, KvTypes};

/// How a context is made.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct ContextOptions {
    /// Minimum capacity in tokens.
    pub(in super::super) context: usize,
    /// Prompt tokens per forward pass.
    pub(in super::super) batch: usize,
    /// Number of compute threads.
    pub(in super::super) threads: usize,
    /// How threads run, and tokens per call.
    pub(in super::super) settings: Settings,
    /// Element types of the KV cache.
    pub(in super::super) kv_types: KvTypes,
    /// Fused attention.
    pub(in super::super) flash_attention: FlashAttention,
    /// How the nodes of its graph become ops.
    pub(in super::super) graph: Graph,
}

/// The type among ggml's.
const fn ggml_type(kv_type: KvType) -> sys::ggml_type {
    match kv_type {
        KvType::F32 => sys::GGML_TYPE_F32,
        KvType::F16 => sys::GGML_TYPE_F16,
        KvType::BF16 => sys::GGML_TYPE_BF16,
        KvType::Q8_0 => sys::GGML_TYPE_Q8_0,
        KvType::Q4_0 => sys::GGML_TYPE_Q4_0,
        KvType::Q4_1 => sys::GGML_TYPE_Q4_1,
        KvType::IQ4_NL => sys::GGML_TYPE_IQ4_NL,
        KvType::Q5_0 => sys::GGML_TYPE_Q5_0,
        KvType::Q5_1 => sys::GGML_TYPE_Q5_1,
    }
}

/// A KV cache and buffers over a model. Not shared between threads.
pub(in super::super) struct Context {
    // The order of the fields is the order in which they are dropped: first what points to the others.
    pointer: Computing,
    #[expect(dead_code, reason = "kept alive for the context")]
    threads: Pools,
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

/// Pools of threads: for single tokens, and for prompts if those have another number.
struct Pools {
    single: Threads,
    prompts: Option<Threads>,
}

/// The compute threads. Without a pool llama.cpp would start new threads for each graph.
struct Threads(NonNull<sys::ggml_threadpool>);

impl Threads {
    fn new(count: i32, settings: &Settings) -> Result<Self, EngineError> {
        // SAFETY: it takes a number and returns plain values.
        let mut params = unsafe { sys::ggml_threadpool_params_default(count) };
        params.strict_cpu = settings.cpu_strict;
        params.poll = settings.poll.unwrap_or(params.poll);
        params.prio = match settings.priority {
            Priority::Low => sys::GGML_SCHED_PRIO_LOW,
            Priority::Normal => sys::GGML_SCHED_PRIO_NORMAL,
            Priority::Medium => sys::GGML_SCHED_PRIO_MEDIUM,
            Priority::High => sys::GGML_SCHED_PRIO_HIGH,
            Priority::Realtime => sys::GGML_SCHED_PRIO_REALTIME,
        };
        if !settings.cpu_mask.is_empty() {
            for processor in 0..MASK_BITS.min(params.cpumask.len()) {
                params.cpumask[processor] = settings.cpu_mask.has(processor);
            }
        }
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

impl Context {
    /// Reserves a KV cache; all passes use the same context, so that they measure the same thing.
    pub(in super::super) fn new(model: Model, options: ContextOptions) -> Result<Self, EngineError> {
        let count = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let threads = i32::try_from(options.threads.max(1)).unwrap_or(i32::MAX);
        let settings = options.settings;
        let prompt_threads = settings.threads_batch.map_or(threads, |count| i32::try_from(count).unwrap_or(threads));
        let per_call = settings.n_batch.max(options.batch);
        clear_messages();
        // SAFETY: it takes nothing and returns plain values.
        let mut params = unsafe { sys::llama_context_default_params() };
        params.n_ctx = count(options.context);
        params.n_batch = count(per_call);
        params.n_ubatch = count(options.batch);
        params.n_seq_max = 1;
        params.n_threads = threads;
        params.n_threads_batch = prompt_threads;
        params.type_k = ggml_type(options.kv_types.keys);
        params.type_v = ggml_type(options.kv_types.values);
        params.flash_attn_type = match options.flash_attention {
            // Only fused attention reads quantised values.
            FlashAttention::Auto if options.kv_types.values.is_quantised() => sys::LLAMA_FLASH_ATTN_TYPE_ENABLED,
            // Fused attention reads the cache as F16: an F32 cache would be rounded in every pass.
            FlashAttention::Auto if options.kv_types == KvType::F32.into() => sys::LLAMA_FLASH_ATTN_TYPE_DISABLED,
            FlashAttention::Auto => sys::LLAMA_FLASH_ATTN_TYPE_AUTO,
            FlashAttention::On => sys::LLAMA_FLASH_ATTN_TYPE_ENABLED,
            FlashAttention::Off => sys::LLAMA_FLASH_ATTN_TYPE_DISABLED,
        };
        params.no_perf = true;
        params.embeddings = settings.embeddings;
        let marks = Marking::new(options.graph);
        params.cb_eval = Some(on_node);
        params.cb_eval_user_data = marks.data();
        // SAFETY: the model is alive; the parameters are the library's defaults with plain values changed; the callback's
        // data lives until the context is dropped.
        let context = unsafe { sys::llama_init_from_model(model.pointer.as_ptr(), params) };
        let pointer = NonNull::new(context).map(Computing);
        let pointer = pointer
            .ok_or_else(|| failed("load", messages_or("llama.cpp cannot make a context and reported no reason")))?;
        let single = Threads::new(threads, &settings)?;
        let prompts = (prompt_threads != threads).then(|| Threads::new(prompt_threads, &settings)).transpose()?;
        let pools = Pools { single, prompts };
        let prompts = pools.prompts.as_ref().map_or(ptr::null_mut(), |pool| pool.0.as_ptr());
        // SAFETY: both are alive; the context is freed before the pool.
        unsafe { sys::llama_attach_threadpool(pointer.0.as_ptr(), pools.single.0.as_ptr(), prompts) };
        let vocab = model.vocab();
        Ok(Self { pointer, threads: pools, marks, model, vocab, per_call })
    }

    /// Bytes of caches and states with so many tokens, as the graph shows them; `None` before the first computation.
    pub(in super::super) fn cache_bytes(&self, tokens: usize) -> Option<KvBytes> {
        self.marks.cache_bytes(tokens)
    }

    pub(in super::super) fn model(&self) -> &Model {
        &self.model
    }

    /// Tokens that the KV cache was reserved for.
    pub(in super::super) fn cells(&self) -> usize {
        // SAFETY: the context is alive.
        unsafe { sys::llama_n_ctx(self.pointer.0.as_ptr()) as usize }
    }

    /// Appends tokens to the context and runs them; afterwards the logits are those of the last one.
    pub(in super::super) fn decode(&mut self, place: &'static str, tokens: &[u32]) -> Result<(), EngineError> {
        let ids: Option<Vec<i32>> = tokens.iter().map(|id| i32::try_from(*id).ok()).collect();
        let mut ids = ids.ok_or_else(|| failed(place, "a token id beyond 2^31"))?;
        clear_messages();
        for part in ids.chunks_mut(self.per_call) {
            let count = i32::try_from(part.len()).unwrap_or(i32::MAX);
            // SAFETY: the buffer has `count` ids and lives until the call below has returned.
            let batch = unsafe { sys::llama_batch_get_one(part.as_mut_ptr(), count) };
            self.marks.begin();
            // SAFETY: the context is alive, and the batch points to ids of the vocabulary (the caller checked).
            let outcome = unsafe { sys::llama_decode(self.pointer.0.as_ptr(), batch) };
            self.wait();
            self.marks.end();
            if outcome != 0 {
                let reason = messages_or("llama.cpp reported no reason");
                return Err(failed(place, format!("llama_decode returned {outcome}: {reason}")));
            }
        }
        Ok(())
    }

    /// Waits until the computation is complete.
    pub(in super::super) fn wait(&mut self) {
        // SAFETY: the context is alive.
        unsafe { sys::llama_synchronize(self.pointer.0.as_ptr()) };
    }

    /// Logits of the last token that ran, `[vocab]`.
    pub(in super::super) fn logits(&mut self) -> Result<&[f32], EngineError> {
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
    pub(in super::super) fn clear(&mut self) {
        // SAFETY: the context is alive.
        let memory = unsafe { sys::llama_get_memory(self.pointer.0.as_ptr()) };
        // SAFETY: the memory belongs to the context.
        unsafe { sys::llama_memory_clear(memory, false) };
    }

    /// Removes what follows the first `tokens` tokens. `false`: it cannot, since a state has no earlier positions, or a window has lost
    /// them; then all has to be removed.
    pub(in super::super) fn truncate(&mut self, tokens: usize) -> bool {
        let Ok(first) = sys::llama_pos::try_from(tokens) else { return false };
        // SAFETY: the context is alive.
        let memory = unsafe { sys::llama_get_memory(self.pointer.0.as_ptr()) };
        // SAFETY: the memory belongs to the context; the end -1 is the end of the sequence.
        let removed = unsafe { sys::llama_memory_seq_rm(memory, 0, first, -1) };
        // SAFETY: the memory belongs to the context.
        removed && unsafe { sys::llama_memory_seq_pos_min(memory, 0) } == 0
    }
}

#[cfg(test)]
mod tests {
    use models::fetch::Quiet;
    use models::synth::{self, Quant, Recipe, TokenizerSource};

    use super::super::model::Part;
    use super::*;

    fn context(path: &std::path::Path, settings: Settings) -> Context {
        let options = ContextOptions {
            context: 32,
            batch: 16,
            threads: 1,
            settings,
            kv_types: KvTypes::default(),
            flash_attention: FlashAttention::Auto,
            graph: Graph::Opaque,
        };
        Context::new(Model::load(path, Part::All, &settings).unwrap(), options).unwrap()
    }

    /// llama.cpp computes the embedding of a token only where it is set.
    #[test]
    fn embeddings_are_computed_where_they_are_set() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.gguf");
        let mut spec = models::registry::find("smollm2-135m").unwrap().spec();
        spec.layers.truncate(1);
        spec.vocab = 384;
        let recipe =
            Recipe { name: "small", spec: &spec, quant: Quant::F16, seed: 1, tokenizer: TokenizerSource::default() };
        synth::write(&recipe, &path, &Quiet).unwrap();
        for embeddings in [false, true] {
            let mut context = context(&path, Settings { embeddings, ..Settings::default() });
            context.decode("prefill", &[3, 5, 7]).unwrap();
            assert!(context.logits().unwrap().iter().all(|logit| logit.is_finite()));
            // SAFETY: the context is alive; -1 is the last output.
            let embedding = unsafe { sys::llama_get_embeddings_ith(context.pointer.0.as_ptr(), -1) };
            assert_eq!(!embedding.is_null(), embeddings);
        }
    }
}
