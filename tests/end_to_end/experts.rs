//! The experts that a run saw, against a count of their own: in these models attention and experts add nothing, so that every layer sees
//! the embedding of a token, and its choice of experts follows from the file alone.

use std::collections::BTreeSet;
use std::fs;

use models::{Checkpoint, DType};
use serde_json::Value;

use crate::support::TestFolder;

const PROMPT: usize = 21;
const NEW: usize = 9;
const EXPERTS: usize = 8;
const USED: usize = 2;
const LAYERS: usize = 3;
const EPSILON: f64 = 1e-5;

const QWEN3MOE: &str = r#"{
  "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 96,
  "moe_intermediate_size": 32, "num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": true, "decoder_sparse_step": 1,
  "mlp_only_layers": [], "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 512,
  "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false
}"#;

const GPT_OSS: &str = r#"{
  "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 32,
  "num_local_experts": 8, "num_experts_per_tok": 2, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
  "head_dim": 32, "vocab_size": 512, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "sliding_window": 16,
  "swiglu_limit": 7.0, "attention_bias": true, "tie_word_embeddings": false,
  "rope_scaling": { "rope_type": "yarn", "factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0, "original_max_position_embeddings": 128,
    "truncate": false }
}"#;

/// A number of 16 bits as a float; the test has no subnormal ones but 0.
fn half(bytes: [u8; 2]) -> f64 {
    let bits = u16::from_le_bytes(bytes);
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let value = if exponent == 0 {
        fraction / 1024.0 * 2f64.powi(-14)
    } else {
        (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15)
    };
    if bits >> 15 == 1 { -value } else { value }
}

/// All elements of a tensor.
fn elements(checkpoint: &Checkpoint, name: &str) -> Vec<f64> {
    let view = checkpoint.tensor(name).unwrap();
    let bytes = view.bytes();
    match view.info().dtype {
        DType::F32 => bytes.chunks_exact(4).map(|of| f64::from(f32::from_le_bytes(of.try_into().unwrap()))).collect(),
        DType::F16 => bytes.chunks_exact(2).map(|of| half(of.try_into().unwrap())).collect(),
        // 32 elements: a scale, then 8 bits each.
        DType::Q8_0 => bytes
            .chunks_exact(34)
            .flat_map(|block| {
                let scale = half([block[0], block[1]]);
                block[2..].iter().map(move |byte| scale * f64::from(byte.cast_signed()))
            })
            .collect(),
        other => panic!("{name} has the type {other}"),
    }
}

/// Makes a model whose layers add nothing to the residual stream.
fn write(folder: &TestFolder, config: &str, quant: &str) -> Checkpoint {
    fs::write(folder.path("experts.json"), config).unwrap();
    folder.run(&format!("models synth experts.json --quant {quant} -o experts.gguf")).ends_with(0);
    let path = folder.path("experts.gguf");
    let zeroed: Vec<_> = {
        let checkpoint = Checkpoint::open(&path).unwrap();
        let is_last = |name: &str| name.contains(".attn_output.") || name.contains(".ffn_down_exps.");
        let names = checkpoint.tensors().iter().map(|info| info.name.as_str()).filter(|name| is_last(name));
        names.map(|name| checkpoint.tensor(name).unwrap().range()).collect()
    };
    assert!(zeroed.len() >= 2 * LAYERS);
    let mut bytes = fs::read(&path).unwrap();
    zeroed.into_iter().for_each(|range| bytes[range].fill(0));
    fs::write(&path, bytes).unwrap();
    Checkpoint::open(&path).unwrap()
}

/// The experts that a token chooses in each layer.
struct Router {
    hidden: usize,
    embedding: Vec<f64>,
    /// Norm, weight and bias of each layer.
    layers: Vec<(Vec<f64>, Vec<f64>, Vec<f64>)>,
}

impl Router {
    fn of(checkpoint: &Checkpoint, biased: bool) -> Self {
        let layer = |at: usize| {
            let of = |name: &str| elements(checkpoint, &format!("blk.{at}.{name}"));
            let bias = if biased { of("ffn_gate_inp.bias") } else { vec![0.0; EXPERTS] };
            (of("ffn_norm.weight"), of("ffn_gate_inp.weight"), bias)
        };
        let hidden = checkpoint.spec().unwrap().hidden;
        Self { hidden, embedding: elements(checkpoint, "token_embd.weight"), layers: (0..LAYERS).map(layer).collect() }
    }

    fn chosen(&self, layer: usize, token: usize) -> Vec<usize> {
        let x = &self.embedding[token * self.hidden..][..self.hidden];
        let mean = x.iter().map(|x| x * x).sum::<f64>() / self.hidden as f64;
        let (norm, weight, bias) = &self.layers[layer];
        let x: Vec<f64> = x.iter().zip(norm).map(|(x, norm)| x / (mean + EPSILON).sqrt() * norm).collect();
        let score = |expert: usize| {
            let row = &weight[expert * self.hidden..][..self.hidden];
            row.iter().zip(&x).map(|(w, x)| w * x).sum::<f64>() + bias[expert]
        };
        let mut ranked: Vec<(f64, usize)> = (0..EXPERTS).map(|expert| (score(expert), expert)).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        ranked[..USED].iter().map(|(_, expert)| *expert).collect()
    }
}

/// Bytes of one expert in a layer: of gate and up, and of down.
fn sizes(checkpoint: &Checkpoint, layer: usize) -> [f64; 2] {
    let of = |part: &str| {
        let prefix = format!("blk.{layer}.{part}.");
        let parts = checkpoint.tensors().iter().filter(|info| info.name.starts_with(&prefix));
        parts.map(|info| info.bytes.get()).sum::<u64>() as f64 / EXPERTS as f64
    };
    [of("ffn_gate_exps") + of("ffn_up_exps"), of("ffn_down_exps")]
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("expected a number, found {value}"))
}

#[track_caller]
fn close(what: &str, found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() <= 0.02, "{what}: found {found}, expected {expected}");
}

/// A model and what its engines make of it.
struct Subject<'a> {
    folder: &'a TestFolder,
    checkpoint: &'a Checkpoint,
    /// Router and experts have biases.
    biased: bool,
}

/// `prunes`: whether the engine computes only the last token after the attention of the last block.
fn compare(subject: &Subject<'_>, engine: &str, prunes: bool) {
    let Subject { folder, checkpoint, biased } = *subject;
    let out = format!("run-{}", engine.replace(':', "-"));
    let line = format!(
        "run -e {engine} -m experts.gguf --prompt-tokens {PROMPT} -n {NEW} --ignore-eos -r 1 --warmup 0 -t 1 --batch 16 --out {out}"
    );
    folder.run(&line).ends_with(0);
    let file = folder.run_file(&out);
    let case = &file["cases"][0];
    let router = Router::of(checkpoint, biased);
    let ids = |name: &str| -> Vec<usize> {
        case["output"][name].as_array().unwrap().iter().map(|id| number(id) as usize).collect()
    };
    let (prompt, answer) = (ids("prompt_ids"), ids("token_ids"));
    assert_eq!((prompt.len(), answer.len()), (PROMPT, NEW), "{engine}");
    // The last token of the answer is not computed.
    let decode = answer[..NEW - 1].chunks(1).collect();
    let mut bytes = [("prefill", [0.0, 0.0]), ("decode", [0.0, 0.0])];
    for (phase, passes) in [("prefill", prompt.chunks(16).collect::<Vec<_>>()), ("decode", decode)] {
        for tokens_of_pass in passes.iter().map(|pass| pass.len()).collect::<BTreeSet<_>>() {
            // Each with its number.
            let of_size = |(_, pass): &(usize, &&[usize])| pass.len() == tokens_of_pass;
            let last = passes.len() - 1;
            let passes: Vec<(usize, &&[usize])> = passes.iter().enumerate().filter(of_size).collect();
            let row = |list: &Value| -> Vec<Value> {
                let of = |row: &&Value| row["phase"] == phase && row["pass_tokens"] == tokens_of_pass;
                list.as_array().unwrap().iter().filter(of).cloned().collect()
            };
            let rows = row(&case["experts"]);
            let mut of_passes = 0.0;
            for layer in 0..LAYERS {
                let size = sizes(checkpoint, layer);
                let mut counts = [0.0; EXPERTS];
                let (mut distinct, mut ran) = (0, 0);
                for (at, pass) in &passes {
                    let is_pruned = prunes && phase == "prefill" && layer + 1 == LAYERS;
                    let tokens = if is_pruned { &pass[pass.len() - usize::from(*at == last)..] } else { pass };
                    let of_tokens = || tokens.iter().flat_map(|token| router.chosen(layer, *token));
                    of_tokens().for_each(|expert| counts[expert] += 1.0);
                    distinct += of_tokens().collect::<BTreeSet<_>>().len();
                    ran += usize::from(!tokens.is_empty());
                }
                let found = rows.iter().find(|row| row["layer"] == layer);
                let Some(found) = found else {
                    assert_eq!(ran, 0, "{engine}: {phase} has no row of layer {layer}");
                    continue;
                };
                let what = format!("{engine}, {phase} of {tokens_of_pass}, layer {layer}");
                assert_eq!(found["passes"], ran, "{what}");
                let tokens: Vec<f64> = found["tokens"].as_array().unwrap().iter().map(number).collect();
                assert_eq!(tokens, counts, "{what}");
                close(&what, number(&found["distinct"]), distinct as f64 / ran as f64);
                close(&what, number(&found["bytes"]), distinct as f64 * (size[0] + size[1]) / ran as f64);
                let most = counts.iter().fold(0f64, |most, count| most.max(*count));
                close(&what, number(&found["max_to_mean"]), most * EXPERTS as f64 / counts.iter().sum::<f64>());
                of_passes += distinct as f64 * (size[0] + size[1]);
                let sum = bytes.iter_mut().find(|(of, _)| *of == phase).unwrap();
                (sum.1[0], sum.1[1]) = (sum.1[0] + distinct as f64 * size[0], sum.1[1] + distinct as f64 * size[1]);
            }
            let what = format!("{engine}, passes of {tokens_of_pass} in {phase}");
            let found = row(&case["expert_passes"]);
            assert_eq!((found.len(), &found[0]["passes"]), (1, &passes.len().into()), "{what}");
            close(&what, number(&found[0]["expert_bytes"]), of_passes / passes.len() as f64);
            assert!(number(&found[0]["streamed_bytes"]) > number(&found[0]["expert_bytes"]), "{what}");
        }
    }
    for (phase, sums) in bytes {
        for (op, expected) in ["experts_gate_up", "experts_down"].iter().zip(sums) {
            let rows = case["ops"].as_array().unwrap();
            let row = rows.iter().find(|row| row["phase"] == phase && row["op"] == *op).unwrap();
            close(&format!("{engine}, {op} in {phase}"), number(&row["streamed_bytes"]), expected);
        }
    }
    let report = folder.run(&format!("report {out} --format md")).ends_with(0).out;
    assert!(report.contains("a decoded token reads") && report.contains("of 8 experts per layer"), "{report}");
    assert!(report.contains("by an even choice") && report.contains("max / mean"), "{report}");
}

/// Compares the engines of this build among these, each with whether it prunes.
fn compare_all(config: &str, quant: &str, biased: bool, engines: &[(&str, bool)]) {
    let folder = TestFolder::new();
    let checkpoint = write(&folder, config, quant);
    let subject = Subject { folder: &folder, checkpoint: &checkpoint, biased };
    let is_built = |name: &str| ::engines::registry::find(name).is_ok_and(|entry| entry.open().is_ok());
    engines.iter().filter(|(name, _)| is_built(name)).for_each(|(name, prunes)| compare(&subject, name, *prunes));
}

#[test]
fn qwen3moe_reads_the_experts_that_its_router_chooses() {
    let engines = [("candle", false), ("candle:tensor", false), ("llama-cpp", true)];
    compare_all(QWEN3MOE, "q8_0", false, &engines);
}

/// llama.cpp computes its last block for all tokens. candle's own operations do not have the type of the experts.
#[test]
fn gpt_oss_reads_the_experts_that_its_router_chooses() {
    compare_all(GPT_OSS, "mxfp4", true, &[("candle", false), ("llama-cpp", false)]);
}
