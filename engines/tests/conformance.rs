//! Conformance of all engines of the registry that compute in this process.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test prints figures and fails by panicking"
)]

mod common;

use std::path::Path;

use engines::registry::ENGINES;
use engines::{
    Engine, EngineError, FinishReason, Flow, KvType, KvTypes, LoadOptions, NullObserver, Observer, Phase, Piece,
    Prompt, Request,
};
use models::cost::{self, OpKind, WeightTypes};
use models::fetch::Quiet;
use models::synth::{self, Quant, Recipe, TokenizerSource};
use models::{Arch, Attention, Checkpoint, DType, Layer, Rope, RopeLayout, Spec};

/// A small model with grouped queries. The width of every matrix is a multiple of 256, so that it can be stored in any type.
fn spec(window: Option<usize>) -> Spec {
    Spec {
        arch: Arch::LLAMA,
        hidden: 256,
        vocab: 384,
        context_length: 512,
        norm_eps: 1e-5,
        norm_offset: 0.0,
        tied_embeddings: false,
        embedding_scale: None,
        per_layer_width: None,
        logit_cap: None,
        layers: vec![
            Layer::plain(
                Attention {
                    window,
                    ..Attention::plain(
                        4,
                        2,
                        64,
                        Some(Rope { theta: 10_000.0, dim: 64, layout: RopeLayout::Interleaved, scaling: None })
                    )
                },
                512
            );
            2
        ],
    }
}

/// Runs a check with every engine of this build, plain and in each of its variants, on the same small model.
fn for_every_engine(check: impl Fn(&dyn Engine, &Checkpoint)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for quant in [Quant::Q4_1, Quant::F16] {
        let path = folder.path().join(format!("{}.gguf", quant.name()));
        let checkpoint = synthetic(&path, quant, None);
        for entry in ENGINES {
            for label in std::iter::once(entry.name.to_owned())
                .chain(entry.variants.iter().map(|(variant, _)| format!("{}:{variant}", entry.name)))
            {
                let selection = engines::registry::find(&label).expect("it is in the registry");
                match selection.open() {
                    // Servers are tested in openai_conformance.rs.
                    Ok(engine) if engine.caps().remote => {}
                    Ok(engine) => {
                        println!("{label}, {}", quant.name());
                        let _clock = engine.caps().virtual_time.then(traces::clock::VirtualClock::install);
                        check(engine.as_ref(), &checkpoint);
                    }
                    Err(error) => println!("{error}"),
                }
            }
        }
    }
}

fn synthetic(path: &Path, quant: Quant, window: Option<usize>) -> Checkpoint {
    let spec = spec(window);
    let recipe = Recipe { name: "tiny", spec: &spec, quant, seed: 7, tokenizer: TokenizerSource::default() };
    synth::write(&recipe, path, &Quiet).expect("a small file can be written");
    Checkpoint::open(path).expect("it opens").with_window(window)
}

fn options() -> LoadOptions {
    LoadOptions { context: 64, ..LoadOptions::default() }
}

fn request(tokens: impl IntoIterator<Item = u32>, max_new_tokens: usize) -> Request {
    Request { prompt: Prompt::Tokens(tokens.into_iter().collect()), max_new_tokens, ignore_eos: true }
}

/// Records every call.
#[derive(Default)]
struct Record {
    edges: Vec<(bool, Phase)>,
    tokens: Vec<u32>,
    text: String,
    stop_after: Option<usize>,
}

impl Observer for Record {
    fn begin(&mut self, phase: Phase) {
        self.edges.push((true, phase));
    }

    fn end(&mut self, phase: Phase) {
        self.edges.push((false, phase));
    }

    fn cancel(&mut self, phase: Phase) {
        panic!("an engine in this process knows that {} takes place", phase.name());
    }

    fn piece(&mut self, piece: Piece<'_>) -> Flow {
        assert_eq!(piece.index, self.tokens.len(), "pieces come in order");
        self.tokens.push(piece.token.expect("an engine in this process reports its tokens"));
        self.text.push_str(piece.text);
        if self.stop_after == Some(self.tokens.len()) { Flow::Stop } else { Flow::Continue }
    }
}

#[test]
fn phases_come_in_order_and_never_overlap() {
    for_every_engine(|engine, checkpoint| {
        let mut session = common::load(engine, checkpoint, &options());
        let mut record = Record::default();
        let prompt = Prompt::Text { text: "hello world".to_owned(), add_bos: false, messages: Vec::new() };
        let request = Request { prompt, max_new_tokens: 3, ignore_eos: true };
        let usage = session.generate(&request, &mut record).expect("it runs");
        let split = engine.caps().phases;
        let token = |first: Phase| {
            [(first, true), (Phase::Sample, split.sample), (Phase::Detokenize, split.detokenize)].into_iter()
        };
        let expected = std::iter::once((Phase::Tokenize, split.tokenize))
            .chain(token(Phase::Prefill))
            .chain(token(Phase::Decode))
            .chain(token(Phase::Decode))
            .filter(|(_, is_separate)| *is_separate)
            .flat_map(|(phase, _)| [(true, phase), (false, phase)]);
        assert_eq!(record.edges, expected.collect::<Vec<_>>());
        assert_eq!((usage.output_tokens, usage.finish), (3, FinishReason::Length));
        assert_eq!(record.tokens.len(), usage.output_tokens, "one piece per output token");
        assert_eq!(usage.prompt_tokens, usage.prompt_ids.len());
    });
}

#[test]
fn repeated_requests_give_the_same_tokens() {
    for_every_engine(|engine, checkpoint| {
        let output = |session: &mut dyn engines::Session| {
            let mut record = Record::default();
            session.generate(&request(5..25, 12), &mut record).expect("it runs");
            (record.tokens, record.text)
        };
        let mut session = common::load(engine, checkpoint, &options());
        let first = output(session.as_mut());
        session.reset().expect("it resets");
        assert_eq!(output(session.as_mut()), first, "after a reset");
        let mut other = common::load(engine, checkpoint, &options());
        assert_eq!(output(other.as_mut()), first, "in another session");
        let mut batched = common::load(engine, checkpoint, &LoadOptions { batch: Some(20), ..options() });
        assert_eq!(output(batched.as_mut()), first, "with another batch");
    });
}

#[test]
fn steps_give_the_tokens_of_generate() {
    for_every_engine(|engine, checkpoint| {
        let mut session = common::load(engine, checkpoint, &options());
        let mut record = Record::default();
        let usage = session.generate(&request(5..25, 12), &mut record).expect("it runs");
        session.reset().expect("it resets");
        let Some(steps) = session.steps() else {
            assert!(!engine.caps().steps, "a session has the steps of its capabilities");
            return;
        };
        assert!(matches!(steps.sample(), Err(EngineError::OutOfOrder { .. })), "nothing was run yet");
        assert!(matches!(steps.logits(), Err(EngineError::OutOfOrder { .. })), "nothing was run yet");
        steps.prefill(&usage.prompt_ids).expect("it runs");
        let mut tokens = vec![steps.sample().expect("a token")];
        while tokens.len() < 12 {
            steps.decode(tokens[tokens.len() - 1]).expect("it runs");
            steps.sync().expect("it waits");
            tokens.push(steps.sample().expect("a token"));
        }
        assert_eq!(tokens, record.tokens);
        let logits = steps.logits().expect("logits");
        assert_eq!(logits.len(), checkpoint.spec().unwrap().vocab);
        assert!(logits.iter().all(|logit| *logit <= logits[tokens[11] as usize]), "the sampled token is the best one");
    });
}

#[test]
fn a_generation_continues_after_the_present_context() {
    for_every_engine(|engine, checkpoint| {
        let mut at_once = common::load(engine, checkpoint, &options());
        let (mut all, mut rest) = (Record::default(), Record::default());
        at_once.generate(&request(5..25, 8), &mut all).expect("it runs");
        let mut in_two = common::load(engine, checkpoint, &options());
        if let Some(steps) = in_two.steps() {
            steps.prefill(&(5..17).collect::<Vec<_>>()).expect("it runs");
            in_two.generate(&request(17..25, 8), &mut rest).expect("it runs");
            assert_eq!(rest.tokens, all.tokens);
        }
    });
}

#[test]
fn cache_bytes_are_exact_per_token() {
    for_every_engine(|engine, checkpoint| {
        for kv_type in KvType::all().map(KvTypes::from) {
            let options = LoadOptions { kv_type, ..options() };
            if let Err(error) = engine.check(&options) {
                let refused = format!("a KV cache of type {kv_type}");
                assert!(kv_type != KvTypes::default() && error.to_string().contains(&refused), "{error}");
                continue;
            }
            let mut session = common::load(engine, checkpoint, &options);
            let per_token = checkpoint.spec().unwrap().kv_bytes_per_token(kv_type).get();
            assert_eq!(session.kv_bytes().expect("its cache is known").used, 0);
            assert!(session.kv_bytes().expect("its cache is known").reserved >= 64 * per_token);
            session.generate(&request(5..25, 4), &mut NullObserver).expect("it runs");
            // The last token was sampled, not run.
            assert_eq!(session.kv_bytes().expect("its cache is known").used, (20 + 3) * per_token);
            session.reset().expect("it resets");
            assert_eq!(session.kv_bytes().expect("its cache is known").used, 0);
        }
    });
}

#[test]
fn a_rewound_context_is_that_of_a_fresh_session() {
    for_every_engine(|engine, checkpoint| {
        if engine.caps().virtual_time {
            return;
        }
        let (expected, _) = after_a_rewind(engine, checkpoint, &options(), 20, 0);
        let (found, rewound) = after_a_rewind(engine, checkpoint, &options(), 20, 9);
        assert!(rewound, "a context without windows and states can be rewound");
        assert_eq!(found, expected);
    });
}

/// The logits of a prompt after `depth` tokens, in a session that ran `more` other tokens before it returned to them; and whether it
/// could return.
fn after_a_rewind(
    engine: &dyn Engine,
    checkpoint: &Checkpoint,
    options: &LoadOptions,
    depth: u32,
    more: u32,
) -> (Vec<f32>, bool) {
    let filler: Vec<u32> = (5..5 + depth).collect();
    let mut session = common::load(engine, checkpoint, options);
    let steps = session.steps().expect("it has steps");
    steps.prefill(&filler).expect("it runs");
    for token in 0..more {
        steps.decode(300 + token).expect("it runs");
    }
    let rewound = session.rewind(filler.len()).expect("it answers");
    if !rewound {
        session.reset().expect("it resets");
    }
    let steps = session.steps().expect("it has steps");
    if !rewound {
        steps.prefill(&filler).expect("it runs");
    }
    steps.prefill(&[50, 51, 52]).expect("it runs");
    (steps.logits().expect("it ran"), rewound)
}

/// A ring keeps the window and one batch: what a few tokens overwrote is not needed, what many overwrote is.
#[test]
fn a_window_is_rewound_only_as_far_as_it_is_kept() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let checkpoint = synthetic(&folder.path().join("window.gguf"), Quant::Q8_0, Some(16));
    for label in ["candle", "candle:tensor", "mlx"] {
        let Ok(engine) = engines::registry::find(label).expect("it is in the registry").open() else { continue };
        let options = LoadOptions { batch: Some(8), context: 60, ..LoadOptions::default() };
        let (expected, _) = after_a_rewind(engine.as_ref(), &checkpoint, &options, 30, 0);
        // Capacity 16 + 8 - 1: eight tokens fit beside the sixteen that the next query reads.
        for (more, can) in [(4, true), (8, true), (9, false), (20, false)] {
            let (found, rewound) = after_a_rewind(engine.as_ref(), &checkpoint, &options, 30, more);
            assert_eq!(rewound, can, "{label}, {more} tokens");
            assert_eq!(found, expected, "{label}, {more} tokens");
        }
    }
}

#[test]
fn a_window_bounds_the_cache() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let checkpoint = synthetic(&folder.path().join("window.gguf"), Quant::Q8_0, Some(16));
    for entry in ENGINES {
        let Ok(engine) = engines::registry::find(entry.name).expect("it is in the registry").open() else { continue };
        if engine.caps().remote {
            continue;
        }
        let options = LoadOptions { batch: Some(8), context: 60, ..LoadOptions::default() };
        if let Err(error @ EngineError::Unsupported { .. }) = engine.load(&checkpoint, &options) {
            println!("{} has no sliding window: {error}", entry.name);
            assert!(error.to_string().contains("window of 16"), "{error}");
            common::load(engine.as_ref(), &checkpoint, &LoadOptions { context: 16, ..options });
            continue;
        }
        let mut session = common::load(engine.as_ref(), &checkpoint, &options);
        session.generate(&request(0..50, 10), &mut NullObserver).expect("it runs past its window");
        let per_token = checkpoint.spec().unwrap().kv_bytes_per_token(DType::F16).get();
        let kv = session.kv_bytes().expect("its cache is known");
        assert!(kv.reserved <= (16 + 8) * per_token, "{}: {kv:?}", entry.name);
        assert_eq!(kv.used, kv.reserved, "{}", entry.name);
    }
}

#[test]
fn a_request_that_does_not_fit_is_refused_and_the_session_stays_usable() {
    for_every_engine(|engine, checkpoint| {
        let mut session = common::load(engine, checkpoint, &options());
        let error = session.generate(&request(0..60, 5), &mut NullObserver).unwrap_err();
        assert!(matches!(error, EngineError::ContextFull { needed: 65, context: 64 }), "{error}");
        assert!(matches!(session.generate(&request([], 5), &mut NullObserver), Err(EngineError::EmptyPrompt)));
        let outside = session.generate(&request([1, 384], 5), &mut NullObserver).unwrap_err().to_string();
        assert!(outside.contains("384"), "{outside}");
        session.reset().expect("it resets");
        let usage = session.generate(&request(0..60, 4), &mut NullObserver).expect("exactly what fits");
        assert_eq!(usage.output_tokens, 4);
        let error = session.steps().map(|steps| steps.prefill(&[1, 2]));
        assert!(matches!(error, None | Some(Err(EngineError::ContextFull { .. }))), "{error:?}");
    });
}

#[test]
fn an_observer_can_stop_it() {
    for_every_engine(|engine, checkpoint| {
        let mut session = common::load(engine, checkpoint, &options());
        let mut record = Record { stop_after: Some(2), ..Record::default() };
        let usage = session.generate(&request(5..25, 12), &mut record).expect("it stops");
        assert_eq!((usage.output_tokens, usage.finish), (2, FinishReason::Interrupted));
        assert_eq!(record.edges.last(), Some(&(false, Phase::Detokenize)), "nothing is run after the last piece");
    });
}

#[test]
fn a_request_for_no_tokens_is_a_prefill() {
    for_every_engine(|engine, checkpoint| {
        let mut session = common::load(engine, checkpoint, &options());
        let mut record = Record::default();
        let usage = session.generate(&request(5..25, 0), &mut record).expect("it runs");
        assert_eq!((usage.output_tokens, usage.finish), (0, FinishReason::Length));
        assert_eq!(record.edges, [(true, Phase::Prefill), (false, Phase::Prefill)]);
    });
}

#[test]
fn unknown_settings_are_refused() {
    for_every_engine(|engine, checkpoint| {
        let settings = [("no_such_setting".to_owned(), redaction::Sensitive::setting("no_such_setting", "1"))].into();
        let error = engine.load(checkpoint, &LoadOptions { settings, ..options() }).err().expect("it is refused");
        assert!(error.to_string().contains("no_such_setting"), "{error}");
    });
}

/// The recorder belongs to the process, so that marks of other tests can be among them, which changes no name.
#[test]
fn ops_have_the_names_and_shapes_of_the_cost_model() {
    for_every_engine(|engine, checkpoint| {
        let mut session = common::load(engine, checkpoint, &options());
        traces::record::start(traces::record::Config::default());
        let _ = traces::record::drain();
        session.generate(&request(5..25, 3), &mut NullObserver).expect("it runs");
        traces::record::stop();
        let batch = traces::record::drain();
        let ops: Vec<_> = batch.events.iter().filter(|event| event.kind == traces::record::Kind::Op).collect();
        if engine.caps().op_times == engines::OpTimes::None {
            assert!(ops.is_empty());
            return;
        }
        let types = WeightTypes::of(checkpoint).unwrap();
        for cost in cost::decode_ops(checkpoint.spec().unwrap(), &types, DType::F16, 20) {
            let kind = cost.kind;
            assert!(ops.iter().any(|op| op.name == kind.name()), "no op is called {}", kind.name());
        }
        for op in ops {
            assert!(OpKind::from_name(op.name).is_some(), "the cost model has no op {}", op.name);
        }
    });
}
