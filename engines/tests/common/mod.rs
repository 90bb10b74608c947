//! Shared by the test binaries: paths of fixtures and of the real model, loading with the thread count of this process.
#![allow(dead_code, clippy::print_stdout, reason = "each test binary uses a part of it, and tests print figures")]

pub(crate) mod golden;
pub(crate) mod joined_latent;
pub(crate) mod tiny;

use std::path::{Path, PathBuf};

use engines::{Engine, EngineError, KvType, LoadOptions, Session};
use models::{Activation, Checkpoint, Layer, Mixer};

/// The variable with the path of the real model.
const SMOLLM2: &str = "INFEROMETER_SMOLLM2";

/// SmolLM2 135M, which is not in the repository. Tests that need it are ignored by default, and fail without it.
pub(crate) fn smollm2() -> Checkpoint {
    let path = std::env::var_os(SMOLLM2).unwrap_or_else(|| panic!("{SMOLLM2} is not set: {SMOLLM2_FILE}"));
    Checkpoint::open(Path::new(&path)).unwrap_or_else(|error| panic!("{SMOLLM2}: {error}"))
}

/// Gemma 3 270M, which is not in the repository either.
pub(crate) fn gemma3() -> Checkpoint {
    let path = std::env::var_os(GEMMA3).unwrap_or_else(|| {
        panic!("{GEMMA3} is not set: it is the path that `inferometer models fetch gemma-3-270m` prints")
    });
    Checkpoint::open(Path::new(&path)).unwrap_or_else(|error| panic!("{GEMMA3}: {error}"))
}

/// The variable with the path of Gemma 3 270M.
const GEMMA3: &str = "INFEROMETER_GEMMA3";

/// What the variable names.
const SMOLLM2_FILE: &str = "it is the path of SmolLM2-135M-Instruct.Q4_1.gguf, which `inferometer models fetch` prints";

pub(crate) fn fixtures() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"))
}

/// Options for comparisons of logits: an F32 cache.
pub(crate) fn exact(context: usize) -> LoadOptions {
    LoadOptions { context, kv_type: KvType::F32.into(), ..LoadOptions::default() }
}

/// Loads with the number of threads that the engine has in this process.
pub(crate) fn load(engine: &dyn Engine, checkpoint: &Checkpoint, options: &LoadOptions) -> Box<dyn Session> {
    match engine.load(checkpoint, options) {
        Err(EngineError::Threads { found, .. }) => engine
            .load(checkpoint, &LoadOptions { threads: found, ..options.clone() })
            .expect("it loads with its own threads"),
        other => other.expect("it loads"),
    }
}

/// A part of layers: its name in a refusal, and whether a layer has it.
type LayerPart = (&'static str, fn(&Layer) -> bool);

/// The parts of layers that MLX's decoder does not have.
const MISSING_IN_MLX: [LayerPart; 8] = [
    ("gated delta net", |layer| matches!(layer.mixer, Mixer::GatedDeltaNet(_))),
    ("latent attention", |layer| layer.mixer.latent_attention().is_some()),
    ("short convolution", |layer| matches!(layer.mixer, Mixer::ShortConvolution(_))),
    ("experts", |layer| layer.feed_forward.experts().is_some()),
    ("clamped SwiGLU", |layer| layer.feed_forward.gated().activation == Activation::ClampedSwiglu),
    ("sinks", |layer| layer.mixer.attention().is_some_and(|attention| attention.sinks)),
    ("norm of the values", |layer| layer.mixer.attention().is_some_and(|attention| attention.v_norm)),
    ("partial rotary embedding", |layer| {
        let rope = layer.mixer.attention().and_then(|attention| Some((attention, attention.rope.as_ref()?)));
        rope.is_some_and(|(attention, rope)| {
            rope.dim < attention.head_dim && (rope.magnitude() - 1.0).abs() > f32::EPSILON
        })
    }),
];

/// Whether an engine refuses a model that others run. It must name the part that is missing; any other refusal fails.
pub(crate) fn is_refused(label: &str, checkpoint: &Checkpoint, options: &LoadOptions) -> bool {
    let layers = checkpoint.spec().map_or(&[][..], |spec| &spec.layers);
    let missing = layers.iter().find_map(|layer| MISSING_IN_MLX.iter().find(|(_, has)| has(layer)));
    let Some((part, _)) = missing.filter(|_| label == "mlx") else { return false };
    let engine = engines::registry::find(label).expect("it is registered").open().expect("it is built in");
    let error = engine.load(checkpoint, options).err().expect("it is refused");
    assert!(error.to_string().contains(part), "{error}");
    true
}

/// Largest difference of two vectors, relative to the largest element of the second.
pub(crate) fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len(), "lengths differ");
    let scale = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    found.iter().zip(expected).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / scale
}
