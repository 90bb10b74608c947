//! Folders of safetensors: shapes in both spellings of config.json, shards, and errors.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;

use models::chat::SpecialToken;
use models::{
    Activation, Arch, Checkpoint, DType, Format, Layer, Mixer, NormPlacement, RopeLayout, RopeScaling,
    ShortConvolution, Spec, Temperature,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A llama: 2 layers, hidden 8, ffn 16, 2 heads of 4, 1 key-value head, 3 tokens.
fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "intermediate_size": 16,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 3,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "torch_dtype": "bfloat16",
        "tie_word_embeddings": false
    })
}

fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut config = config();
    change(&mut config);
    config
}

/// Names and shapes of the tensors of [`config`].
fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![3, 8])];
    for layer in 0..2 {
        for (name, shape) in [
            ("input_layernorm", vec![8]),
            ("self_attn.q_proj", vec![8, 8]),
            ("self_attn.k_proj", vec![4, 8]),
            ("self_attn.v_proj", vec![4, 8]),
            ("self_attn.o_proj", vec![8, 8]),
            ("post_attention_layernorm", vec![8]),
            ("mlp.gate_proj", vec![16, 8]),
            ("mlp.up_proj", vec![16, 8]),
            ("mlp.down_proj", vec![8, 16]),
        ] {
            all.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    all.push(("model.norm.weight".to_owned(), vec![8]));
    all.push(("lm_head.weight".to_owned(), vec![3, 8]));
    all
}

/// A safetensors file of two-byte elements, each tensor filled with its index in the list.
fn weights(tensors: &[(String, Vec<usize>)], dtype: &str) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (at, (name, shape)) in tensors.iter().enumerate() {
        let start = data.len();
        data.resize(start + 2 * shape.iter().product::<usize>(), at as u8);
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

struct Folder(TempDir);

impl Folder {
    fn new(config: &Value) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("config.json", config.to_string().as_bytes());
        folder
    }

    /// With all weights in one file.
    fn whole(config: &Value) -> Self {
        let folder = Self::new(config);
        folder.write("model.safetensors", &weights(&tensors(), "BF16"));
        folder
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.path().join(name), bytes).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn open(&self) -> Checkpoint {
        Checkpoint::open(self.path()).unwrap()
    }

    fn error_text(&self) -> String {
        let error = Checkpoint::open(self.path()).expect_err("this folder is wrong").with_advice();
        error.replace(&self.path().display().to_string(), "DIR")
    }

    fn spec(config: &Value) -> Spec {
        Spec::from_config(&Self::new(config).path().join("config.json")).unwrap()
    }
}

#[test]
fn a_folder_with_one_weights_file() {
    let folder = Folder::whole(&config());
    folder.write(
        "tokenizer_config.json",
        br#"{"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": "{{ 1 }}"}"#,
    );
    let checkpoint = folder.open();
    assert_eq!(checkpoint.format(), Format::Safetensors);
    assert_eq!(checkpoint.quantisation(), "BF16");
    assert_eq!(checkpoint.tensors().len(), tensors().len());
    let spec = checkpoint.spec().unwrap();
    let attention = spec.layers[0].mixer.attention().unwrap();
    let rope = attention.rope.as_ref().unwrap();
    assert_eq!((&spec.arch, attention.head_dim, rope.layout), (&Arch::LLAMA, 4, RopeLayout::Halves));
    assert!((rope.theta - 5e5).abs() < 1.0 && !spec.tied_embeddings && !attention.qkv_bias);
    // model.layers.1.mlp.down_proj is the nineteenth, filled with 18.
    let down = checkpoint.tensor("blk.1.ffn_down.weight").unwrap();
    assert_eq!((down.info().dtype, down.info().shape.as_slice()), (DType::BF16, &[8, 16][..]));
    assert!(down.bytes().len() == 256 && down.bytes().iter().all(|byte| *byte == 18));
    let tokens = checkpoint.special_tokens().unwrap();
    assert_eq!(tokens, [SpecialToken::new("bos_token", "<s>"), SpecialToken::new("eos_token", "</s>")]);
    assert_eq!(checkpoint.chat_template().unwrap().unwrap().text, "{{ 1 }}");
    folder.write("chat_template.jinja", b"{{ 2 }}");
    assert_eq!(folder.open().chat_template().unwrap().unwrap().text, "{{ 2 }}");
}

#[test]
fn templates_are_found_where_transformers_finds_them() {
    let folder = Folder::whole(&config());
    let config = |json: &str| folder.write("tokenizer_config.json", json.as_bytes());
    let found = || folder.open().chat_template();
    let text =
        || found().unwrap().map(|template| format!("{} of {}: {}", template.name, template.place, template.text));
    let refused = |expected: &str| {
        let error = found().unwrap_err().with_advice();
        assert!(error.contains(expected), "{error}");
    };
    assert_eq!(text(), None);
    // A processor's file, which tokenizers do not read where they have a template of their own.
    folder.write("chat_template.json", br#"{"chat_template": "P"}"#);
    assert_eq!(text().as_deref(), Some("default of chat_template.json: P"));
    config(r#"{"chat_template": null}"#);
    assert_eq!(text().as_deref(), Some("default of chat_template.json: P"));
    config(r#"{"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]}"#);
    assert_eq!(text().as_deref(), Some("default of tokenizer_config.json: D"));
    assert_eq!(found().unwrap().unwrap().others, ["tool_use"]);
    config(r#"{"chat_template": {"rag": "R", "default": "O"}}"#);
    assert_eq!(text().as_deref(), Some("default of tokenizer_config.json: O"));
    config(r#"{"chat_template": {"rag": "R"}}"#);
    refused("only `rag`");
    config(r#"{"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "rag", "template": "R"}]}"#);
    refused("only `tool_use`, `rag`");
    for broken in [
        r#"{"chat_template": 7}"#,
        r#"{"chat_template": [{"name": "default"}]}"#,
        r#"{"chat_template": {"default": 1}}"#,
    ] {
        config(broken);
        refused("field `chat_template`");
    }
    // Files of their own come before the configuration, also where only some of them are there.
    std::fs::create_dir(folder.path().join("additional_chat_templates")).unwrap();
    folder.write("additional_chat_templates/tool_use.jinja", b"A");
    refused("only `tool_use`");
    folder.write("chat_template.jinja", b"J");
    assert_eq!(text().as_deref(), Some("default of chat_template.jinja: J"));
    assert_eq!(found().unwrap().unwrap().others, ["tool_use"]);
}

#[test]
fn special_tokens_are_those_that_transformers_gives_to_templates() {
    let folder = Folder::whole(&config());
    folder.write(
        "tokenizer_config.json",
        br#"{"bos_token": null, "eos_token": {"content": "</s>"}, "pad_token": "<pad>", "image_token": "<image>",
            "add_bos_token": true, "extra_special_tokens": {"think_end": "</think>"}}"#,
    );
    folder.write("special_tokens_map.json", br#"{"unk_token": "<unk>", "pad_token": "<other>"}"#);
    let tokens = folder.open().special_tokens().unwrap();
    let tokens: Vec<_> = tokens.iter().map(|token| format!("{} {}", token.name, token.text)).collect();
    let expected =
        ["eos_token </s>", "pad_token <pad>", "image_token <image>", "think_end </think>", "unk_token <unk>"];
    assert_eq!(tokens, expected);
}

#[test]
fn a_folder_with_shards() {
    let folder = Folder::new(&config());
    let all = tensors();
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let (first, second) = all.split_at(7);
    folder.write(names[0], &weights(first, "F16"));
    let shard = |at: usize| names[usize::from(at >= 7)];
    let map: serde_json::Map<_, _> =
        all.iter().enumerate().map(|(at, (name, _))| (name.clone(), json!(shard(at)))).collect();
    folder.write("model.safetensors.index.json", json!({"metadata": {}, "weight_map": map}).to_string().as_bytes());
    let missing = folder.error_text();
    insta::assert_snapshot!(missing, @"safetensors DIR/model.safetensors.index.json: weight_map: expected the files of the index (2), found no model-00002-of-00002.safetensors; the folder has model-00001-of-00002.safetensors; fetch the missing files into the folder");
    folder.write(names[1], &weights(second, "F16"));
    let checkpoint = folder.open();
    assert_eq!((checkpoint.files().len(), checkpoint.tensors().len()), (2, all.len()));
    assert_eq!(checkpoint.tensor("output.weight").unwrap().bytes(), [13; 48]);
    folder.write(names[1], &weights(&all[6..], "F16"));
    let twice = folder.error_text();
    assert!(twice.contains("tensor `blk.0.ffn_norm.weight`: expected each tensor once"), "{twice}");
}

/// The index of another sharding beside whole files, and files under other names without an index.
#[test]
fn weights_of_other_names() {
    let all = tensors();
    let (first, second) = all.split_at(7);
    let folder = Folder::new(&config());
    folder.write("model-1-of-2.safetensors", &weights(first, "F16"));
    folder.write("model-2-of-2.safetensors", &weights(second, "F16"));
    folder.write("adapter_model.safetensors", b"not read");
    let map: serde_json::Map<_, _> =
        all.iter().map(|(name, _)| (name.clone(), json!("model-00001-of-00001.safetensors"))).collect();
    folder.write("model.safetensors.index.json", json!({"weight_map": map}).to_string().as_bytes());
    insta::assert_snapshot!(folder.error_text(), @"safetensors DIR/model.safetensors.index.json: weight_map: expected the files of the index (1), found no model-00001-of-00001.safetensors; the folder has model-1-of-2.safetensors, model-2-of-2.safetensors; the index is of another sharding: take the index of the files that are there, or remove it, and all .safetensors files of the folder are read");
    std::fs::remove_file(folder.path().join("model.safetensors.index.json")).unwrap();
    assert_eq!((folder.open().files().len(), folder.open().tensors().len()), (2, all.len()));
    let single = Folder::new(&config());
    single.write("weights.safetensors", &weights(&all, "BF16"));
    assert_eq!(single.open().files(), [single.path().join("weights.safetensors")]);
    // Without one of the files, what is there does not make the model.
    std::fs::remove_file(folder.path().join("model-2-of-2.safetensors")).unwrap();
    let missing = folder.error_text();
    assert!(missing.contains("files are missing, or config.json is of another model"), "{missing}");
}

/// Without `tie_word_embeddings`, the weights show whether the table is used twice.
#[test]
fn embeddings_are_tied_where_there_is_no_output_and_no_word_about_it() {
    let silent = changed(|config| config["tie_word_embeddings"] = Value::Null);
    let without: Vec<_> = tensors().into_iter().filter(|(name, _)| name != "lm_head.weight").collect();
    let folder = Folder::new(&silent);
    folder.write("model.safetensors", &weights(&without, "BF16"));
    assert!(folder.open().spec().unwrap().tied_embeddings);
    assert!(!Folder::whole(&silent).open().spec().unwrap().tied_embeddings);
    let said = Folder::new(&config());
    said.write("model.safetensors", &weights(&without, "BF16"));
    let error = said.error_text();
    assert!(
        error.contains("tensor `output.weight`: expected a tensor of 3 x 8, found none; files are missing"),
        "{error}"
    );
}

#[test]
fn a_config_as_people_have_it() {
    let folder = Folder::whole(&changed(|config| config["architectures"] = json!([])));
    let text = changed(|config| config["quantization_config"] = json!({})).to_string();
    let odd = text.replacen('{', "{\"initializer_range\": NaN, ", 1);
    for bytes in [[b"\xef\xbb\xbf", odd.as_bytes()].concat(), odd.encode_utf16().flat_map(u16::to_le_bytes).collect()] {
        folder.write("config.json", &bytes);
        folder.write("tokenizer_config.json", &[b"\xef\xbb\xbf", &br#"{"eos_token": "</s>"}"#[..]].concat());
        assert!(folder.open().special_tokens().unwrap().contains(&SpecialToken::new("eos_token", "</s>")));
    }
    let needed = changed(|config| config["rms_norm_eps"] = json!("EPS")).to_string().replace("\"EPS\"", "NaN");
    folder.write("config.json", needed.as_bytes());
    assert!(folder.error_text().contains("field `rms_norm_eps`: expected a finite number, found the text `NaN`"));
}

/// A file whose blob was removed from the hub's cache is an error, not an absent file with a default.
#[test]
fn links_to_removed_files_are_errors() {
    let with_link = |name: &str| {
        let folder = Folder::whole(&config());
        let _ = std::fs::remove_file(folder.path().join(name));
        std::os::unix::fs::symlink("../../blobs/0a1b", folder.path().join(name)).unwrap();
        folder
    };
    for name in ["model.safetensors", "config.json"] {
        let error = with_link(name).error_text();
        assert!(
            error.contains(name) && (error.contains("../../blobs/0a1b") || error.contains("No such file")),
            "{error}"
        );
    }
    // Template and special tokens are read when they are needed.
    let folder = with_link("tokenizer_config.json");
    let checkpoint = folder.open();
    for error in [checkpoint.chat_template().unwrap_err(), checkpoint.special_tokens().unwrap_err()] {
        assert!(error.to_string().contains("../../blobs/0a1b"), "{error}");
    }
}

#[test]
fn folders_without_safetensors_name_what_they_have() {
    let of = |names: &[&str]| {
        let folder = Folder::new(&config());
        names.iter().for_each(|name| folder.write(name, b"PK\x03\x04"));
        folder.error_text()
    };
    let errors = [
        of(&["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin", "training_args.bin"]),
        of(&["model.onnx"]),
        of(&["flax_model.msgpack"]),
        of(&["model.safetensors.part"]),
        of(&["a.gguf", "b.gguf"]),
        of(&["a.gguf"]),
        of(&["consolidated.safetensors"]),
    ];
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn paths_in_the_index_are_refused() {
    for name in ["../../secret.safetensors", "/etc/passwd", "sub/x.safetensors", "x.bin", "..", "a\nb.safetensors"] {
        let folder = Folder::new(&config());
        let index = json!({"weight_map": {"lm_head.weight": name}});
        folder.write("model.safetensors.index.json", index.to_string().as_bytes());
        let error = folder.error_text();
        assert!(
            error.contains("weight_map, tensor `lm_head.weight`: expected the plain name of a .safetensors file"),
            "{error}"
        );
    }
}

#[test]
fn a_copy_of_tied_embeddings_is_ignored() {
    let tied = changed(|config| config["tie_word_embeddings"] = json!(true));
    let checkpoint = Folder::whole(&tied).open();
    assert!(checkpoint.spec().unwrap().tied_embeddings);
    assert!(checkpoint.tensor("output.weight").is_err());
}

#[test]
fn rope_scaling_is_read_in_both_spellings() {
    let parameters = json!({
        "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        "rope_type": "llama3"
    });
    let old = Folder::spec(&changed(|config| config["rope_scaling"] = parameters.clone()));
    let new = Folder::spec(&changed(|config| {
        config.as_object_mut().unwrap().remove("rope_theta");
        config.as_object_mut().unwrap().remove("torch_dtype");
        config["dtype"] = json!("bfloat16");
        config["rope_parameters"] = parameters.clone();
        config["rope_parameters"]["rope_theta"] = json!(500_000.0);
    }));
    assert_eq!(old, new);
    let expected =
        RopeScaling::Llama3 { factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 };
    let rope = |spec: &Spec| spec.layers[0].mixer.attention().unwrap().rope.clone().unwrap();
    assert_eq!(rope(&old).scaling, Some(expected));
    let oldest = Folder::spec(&changed(|config| config["rope_scaling"] = json!({"type": "linear", "factor": 2.0})));
    assert_eq!(rope(&oldest).scaling, Some(RopeScaling::Linear { factor: 2.0 }));
    let plain =
        Folder::spec(&changed(|config| config["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 1e6})));
    assert!(rope(&plain).scaling.is_none() && (rope(&plain).theta - 1e6).abs() < 1.0);
}

#[test]
fn sliding_windows_by_architecture() {
    let of = |arch: &str, class: &str, fields: Value| {
        Folder::spec(&changed(|config| {
            config["model_type"] = json!(arch);
            config["architectures"] = json!([class]);
            config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        }))
    };
    let windows = |spec: Spec| spec.attentions().map(|attention| attention.window).collect::<Vec<_>>();
    let mistral = |fields| windows(of("mistral", "MistralForCausalLM", fields));
    assert_eq!(mistral(json!({"sliding_window": 4096})), [Some(4096); 2]);
    assert_eq!(mistral(json!({"sliding_window": null})), [None; 2]);
    let qwen = |fields| of("qwen2", "Qwen2ForCausalLM", fields);
    assert!(qwen(json!({})).attentions().all(|attention| attention.qkv_bias));
    let qwen = |fields| windows(qwen(fields));
    assert_eq!(qwen(json!({"sliding_window": 4096, "use_sliding_window": false})), [None; 2]);
    assert_eq!(qwen(json!({"sliding_window": 4096})), [None; 2]);
    let from_layer =
        |layers: usize| qwen(json!({"sliding_window": 32, "use_sliding_window": true, "max_window_layers": layers}));
    assert_eq!(from_layer(0), [Some(32); 2]);
    assert_eq!(from_layer(1), [None, Some(32)]);
    assert_eq!(from_layer(2), [None; 2]);
    assert_eq!(
        of("llama", "LlamaForCausalLM", json!({"head_dim": 16})).layers[0].mixer.attention().unwrap().head_dim,
        16
    );
}

/// The fields of transformers 4 and 5 give the same shape.
#[test]
fn gemma3_has_windows_norms_and_two_rotary_bases() {
    let of = |fields: Value| {
        Folder::spec(&changed(|config| {
            let config = config.as_object_mut().unwrap();
            config.remove("rope_theta");
            config.insert("model_type".to_owned(), json!("gemma3_text"));
            config.insert("architectures".to_owned(), json!(["Gemma3ForCausalLM"]));
            config.insert("hidden_activation".to_owned(), json!("gelu_pytorch_tanh"));
            config.remove("hidden_act");
            config.insert("query_pre_attn_scalar".to_owned(), json!(16));
            config.insert("num_hidden_layers".to_owned(), json!(3));
            config.insert("sliding_window".to_owned(), json!(32));
            config.extend(fields.as_object().unwrap().clone());
        }))
    };
    let linear = json!({"rope_type": "linear", "factor": 8.0});
    let old = of(json!({
        "rope_theta": 1e6, "rope_local_base_freq": 1e4, "rope_scaling": linear, "sliding_window_pattern": 2,
    }));
    let new = of(json!({
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    }));
    assert_eq!(old, new);
    let windows: Vec<_> = old.attentions().map(|attention| attention.window).collect();
    assert_eq!(windows, [Some(32), None, Some(32)]);
    let rope = |layer: usize| old.layers[layer].mixer.attention().unwrap().rope.clone().unwrap();
    assert_eq!((rope(0).theta, rope(0).scaling), (1e4, None));
    assert_eq!((rope(1).theta, rope(1).scaling), (1e6, Some(RopeScaling::Linear { factor: 8.0 })));
    let layer = &old.layers[0];
    assert_eq!(layer.norms, NormPlacement::BeforeAndAfter);
    assert_eq!(layer.feed_forward.gated().activation, Activation::GeluTanh);
    assert_eq!((layer.mixer.attention().unwrap().qk_norm, layer.mixer.attention().unwrap().scale), (true, Some(0.25)));
    assert_eq!((old.norm_offset, old.embedding_scale), (1.0, Some(8f32.sqrt())));
}

/// The fields as published, in the object of the text part, and as transformers writes them since version 5.19.
#[test]
fn gemma4_has_two_widths_of_heads_and_shared_caches() {
    let text = |fields: Value| {
        let mut config = json!({
            "model_type": "gemma4_text", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 4,
            "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 4, "vocab_size": 3, "rms_norm_eps": 1e-6,
            "max_position_embeddings": 64, "sliding_window": 16, "hidden_activation": "gelu_pytorch_tanh",
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
            "num_kv_shared_layers": 1, "use_double_wide_mlp": true, "hidden_size_per_layer_input": 2,
            "vocab_size_per_layer_input": 3, "final_logit_softcapping": 30.0, "attention_k_eq_v": true,
            "rope_parameters": {
                "full_attention": {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.5},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        });
        config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        config
    };
    let with_media = |text: Value| {
        json!({
            "architectures": ["Gemma4ForConditionalGeneration"], "model_type": "gemma4", "text_config": text,
            "vision_config": {"model_type": "gemma4_vision"}, "tie_word_embeddings": true,
        })
    };
    let published = text(json!({"global_head_dim": 8, "num_global_key_value_heads": 1}));
    let spec = Folder::spec(&with_media(published.clone()));
    let of_layer = json!({"head_dim": 8, "num_key_value_heads": 1});
    let newer = text(json!({"per_layer_config": {"1": of_layer, "3": of_layer}}));
    assert_eq!(spec, Folder::spec(&newer));
    let widths: Vec<_> = spec.attentions().map(|a| (a.head_dim, a.kv_heads, a.window, a.cache_of)).collect();
    assert_eq!(widths, [(4, 2, Some(16), None), (8, 1, None, None), (4, 2, Some(16), None), (8, 1, None, Some(1))]);
    let values: Vec<_> = spec.attentions().map(|a| (a.values_are_keys, a.projects_values())).collect();
    assert_eq!(values, [(false, true), (true, false), (false, true), (false, false)]);
    let rope = spec.layers[1].mixer.attention().unwrap().rope.clone().unwrap();
    assert_eq!((rope.dim, rope.scaling), (8, Some(RopeScaling::Factors(vec![1.0, 1.0, 1e30, 1e30]))));
    assert_eq!((spec.per_layer_width, spec.logit_cap, spec.norm_offset), (Some(2), Some(30.0), 0.0));
    let feed_forward: Vec<_> = spec.layers.iter().map(|layer| layer.feed_forward.gated().width).collect();
    assert_eq!(feed_forward, [16, 16, 16, 32]);

    // Tensors of the text part, of what is not read, and of keys that no layer computes.
    let name = |rest: &str| format!("model.language_model.{rest}.weight");
    let mut tensors = vec![
        (name("embed_tokens"), vec![3, 8]),
        (name("embed_tokens_per_layer"), vec![3, 8]),
        (name("per_layer_model_projection"), vec![8, 8]),
        (name("per_layer_projection_norm"), vec![2]),
        (name("norm"), vec![8]),
        ("model.vision_tower.encoder.layers.0.mlp.up_proj.weight".to_owned(), vec![3, 3]),
        ("model.embed_vision.embedding_projection.weight".to_owned(), vec![8, 3]),
        (name("layers.3.self_attn.k_proj"), vec![8, 8]),
        (name("layers.3.self_attn.k_norm"), vec![8]),
    ];
    for (at, layer) in spec.layers.iter().enumerate() {
        let attention = layer.mixer.attention().unwrap();
        let (q, kv, head) = (attention.q_width(), attention.kv_width(), attention.head_dim);
        let width = layer.feed_forward.gated().width;
        let mut add =
            |part: &str, shape: &[usize]| tensors.push((name(&format!("layers.{at}.{part}")), shape.to_vec()));
        for norm in ["input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm"] {
            add(norm, &[8]);
        }
        add("post_feedforward_layernorm", &[8]);
        add("post_per_layer_input_norm", &[8]);
        add("self_attn.q_proj", &[q, 8]);
        add("self_attn.o_proj", &[8, q]);
        add("self_attn.q_norm", &[head]);
        if attention.has_own_cache() {
            add("self_attn.k_proj", &[kv, 8]);
            add("self_attn.k_norm", &[head]);
        }
        if attention.projects_values() {
            add("self_attn.v_proj", &[kv, 8]);
        }
        add("mlp.gate_proj", &[width, 8]);
        add("mlp.up_proj", &[width, 8]);
        add("mlp.down_proj", &[8, width]);
        add("per_layer_input_gate", &[2, 8]);
        add("per_layer_projection", &[8, 2]);
        tensors.push((format!("model.language_model.layers.{at}.layer_scalar"), vec![1]));
    }
    let folder = Folder::new(&with_media(published));
    folder.write("model.safetensors", &weights(&tensors, "BF16"));
    let checkpoint = folder.open();
    assert_eq!(checkpoint.spec().unwrap(), &spec);
    assert!(checkpoint.tensor("blk.2.layer_output_scale.weight").is_ok());
    assert!(checkpoint.tensor("per_layer_token_embd.weight").is_ok());
}

/// Without these, other logits would be computed.
#[test]
fn parts_of_gemma4_that_are_missing_are_named() {
    let error = |fields: Value| {
        let mut config = json!({
            "architectures": ["Gemma4ForCausalLM"], "model_type": "gemma4_text", "hidden_size": 8,
            "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
            "head_dim": 4, "global_head_dim": 4, "vocab_size": 3, "rms_norm_eps": 1e-6, "max_position_embeddings": 64,
        });
        config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let folder = Folder::new(&config);
        Spec::from_config(&folder.path().join("config.json")).unwrap_err().to_string()
    };
    for (fields, part) in [
        (json!({"enable_moe_block": true}), "num_experts"),
        (json!({"use_bidirectional_attention": "all"}), "use_bidirectional_attention"),
        (json!({"vocab_size_per_layer_input": 2}), "vocab_size_per_layer_input"),
        (json!({"num_kv_shared_layers": 2}), "num_kv_shared_layers"),
        (json!({"num_kv_shared_layers": 1}), "a layer with a cache for layer 1"),
        (json!({"final_logit_softcapping": -1.0}), "bound of the logits"),
    ] {
        let text = error(fields);
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// The width is two thirds of the stated one times a factor, rounded up to a multiple, unless the file says that it is the width.
#[test]
fn lfm2_has_convolutions_and_a_computed_width() {
    let of = |fields: Value| {
        changed(|config| {
            config["model_type"] = json!("lfm2");
            config["architectures"] = json!(["Lfm2ForCausalLM"]);
            config["num_hidden_layers"] = json!(3);
            config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        })
    };
    let spec = |fields: Value| Folder::spec(&of(fields));
    let convolutions = |spec: &Spec| {
        let is_convolution = |layer: &Layer| matches!(layer.mixer, Mixer::ShortConvolution(_));
        spec.layers.iter().map(is_convolution).collect::<Vec<_>>()
    };
    let width = |spec: &Spec| spec.layers[2].feed_forward.gated().width;
    let by_type = json!({"layer_types": ["conv", "full_attention", "conv"], "conv_L_cache": 5, "block_multiple_of": 8});
    let by_type = spec(by_type);
    assert_eq!(convolutions(&by_type), [true, false, true]);
    assert_eq!(by_type.layers[0].mixer, Mixer::ShortConvolution(ShortConvolution { channels: 8, kernel: 5 }));
    assert!(by_type.attentions().all(|attention| attention.qk_norm));
    // 16 x 2 / 3 = 10, rounded up to 16; with a factor of 2 it is 20 and 24.
    assert_eq!(width(&by_type), 16);
    let older = spec(json!({
        "full_attn_idxs": [2], "block_ff_dim": 16, "intermediate_size": null, "block_ffn_dim_multiplier": 2.0,
        "block_multiple_of": 8, "rms_norm_eps": null, "norm_eps": 1e-4, "tie_embedding": true,
    }));
    assert_eq!((convolutions(&older), width(&older), older.tied_embeddings), (vec![true, true, false], 24, true));
    assert!((older.norm_eps - 1e-4).abs() < 1e-9);
    assert_eq!(width(&spec(json!({"block_auto_adjust_ff_dim": false}))), 16);
    assert_eq!(convolutions(&spec(json!({}))), [false; 3]);
    let refused = |fields: Value| Folder::whole(&of(fields)).error_text();
    assert!(refused(json!({"conv_bias": true})).contains("conv_bias"));
    assert!(refused(json!({"layer_types": ["conv", "conv", "mamba"]})).contains("expected conv and full_attention"));
    assert!(refused(json!({"layer_types": ["conv"]})).contains("one for each of 3 layers"));
    assert!(refused(json!({"layer_types": ["conv", "conv", "conv"], "conv_L_cache": 1})).contains("expected 2 to 64"));
}

#[test]
fn qwen3_smollm3_and_ministral3() {
    let of = |arch: &str, class: &str, fields: Value| {
        Folder::spec(&changed(|config| {
            config["model_type"] = json!(arch);
            config["architectures"] = json!([class]);
            config["num_hidden_layers"] = json!(8);
            config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        }))
    };
    let qwen = of("qwen3", "Qwen3ForCausalLM", json!({}));
    assert!(qwen.attentions().all(|attention| attention.qk_norm && !attention.qkv_bias && attention.rope.is_some()));
    let without = |spec: Spec| {
        spec.attentions().enumerate().filter(|(_, a)| a.rope.is_none()).map(|(layer, _)| layer).collect::<Vec<_>>()
    };
    let smollm = |fields| without(of("smollm3", "SmolLM3ForCausalLM", fields));
    assert_eq!(smollm(json!({})), [3, 7]);
    assert_eq!(smollm(json!({"no_rope_layers": [1, 0, 1, 1, 1, 1, 1, 0]})), [1, 7]);
    assert_eq!(smollm(json!({"no_rope_layer_interval": 3})), [2, 5]);
    let yarn = json!({
        "rope_type": "yarn", "factor": 16.0, "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 16, "rope_theta": 1e6, "llama_4_scaling_beta": 0.1,
    });
    let ministral = of("ministral3", "Ministral3ForCausalLM", json!({"rope_parameters": yarn}));
    let attention = ministral.layers[7].mixer.attention().unwrap();
    assert_eq!(attention.temperature, Some(Temperature { scale: 0.1, context: 16 }));
    let temperature = attention.temperature.unwrap();
    assert!((temperature.factor(15) - 1.0).abs() < 1e-9);
    assert!((temperature.factor(40) - (1.0 + 0.1 * 3f32.ln())).abs() < 1e-6);
    let rope = attention.rope.as_ref().unwrap();
    assert!((rope.magnitude() - 1.0).abs() < 1e-9, "both scales are equal");
    let plain = json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}});
    let spec = of("qwen3", "Qwen3ForCausalLM", plain);
    let magnitude = spec.layers[0].mixer.attention().unwrap().rope.as_ref().unwrap().magnitude();
    assert!((magnitude - (1.0 + 0.1 * 4f32.ln())).abs() < 1e-6, "{magnitude}");
}

/// A model of text and images: the text part is read under the names of both versions of transformers, the other parts are not.
#[test]
fn the_text_part_of_a_model_with_other_parts() {
    let text = changed(|config| {
        config["model_type"] = json!("mistral");
        config.as_object_mut().unwrap().remove("architectures");
    });
    let plain = Folder::whole(&text).open();
    let vision = ("vision_tower.patch_conv.weight".to_owned(), vec![4, 3, 2, 2]);
    let projector = ("multi_modal_projector.linear_1.weight".to_owned(), vec![8, 4]);
    let rename = |new: bool| {
        let rename = |(name, shape): (String, Vec<usize>)| match (new, name.strip_prefix("model.")) {
            (true, Some(rest)) => (format!("model.language_model.{rest}"), shape),
            (true, None) => (name, shape),
            (false, _) => (format!("language_model.{name}"), shape),
        };
        let prefix = if new { "model." } else { "" };
        let others = [&vision, &projector].map(|(name, shape)| (format!("{prefix}{name}"), shape.clone()));
        tensors().into_iter().map(rename).chain(others).collect::<Vec<_>>()
    };
    let config = json!({"architectures": ["Mistral3ForConditionalGeneration"], "model_type": "mistral3",
        "text_config": text, "vision_config": {"hidden_size": 4}});
    for new in [false, true] {
        let folder = Folder::new(&config);
        folder.write("model.safetensors", &weights(&rename(new), "BF16"));
        let found = folder.open();
        assert!(found.has_other_parts() && !plain.has_other_parts());
        assert_eq!((found.spec().unwrap(), found.tensors()), (plain.spec().unwrap(), plain.tensors()), "{new}");
        for info in plain.tensors() {
            let bytes = |checkpoint: &Checkpoint| checkpoint.tensor(&info.name).unwrap().bytes().to_vec();
            assert_eq!(bytes(&found), bytes(&plain), "{}", info.name);
        }
    }
    // Names of other parts are errors in a folder of a text model, and unknown ones everywhere.
    let folder = Folder::new(&text);
    folder.write("model.safetensors", &weights(&rename(false), "BF16"));
    assert!(Checkpoint::open(folder.path()).is_err());
    let folder = Folder::new(&config);
    let unknown = [rename(true), vec![("model.other_tower.weight".to_owned(), vec![4])]].concat();
    folder.write("model.safetensors", &weights(&unknown, "BF16"));
    assert!(Checkpoint::open(folder.path()).is_err());
}

/// Qwen 3.5 with experts: the matrices of all experts in one tensor, the rows of gate before those of up, and a gated shared expert.
#[test]
fn experts_of_qwen35_in_one_tensor_have_gate_before_up() {
    let config = json!({
        "model_type": "qwen3_5_moe_text", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 4, "vocab_size": 3, "max_position_embeddings": 64, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": false, "layer_types": ["full_attention"], "num_experts": 3, "num_experts_per_tok": 2,
        "moe_intermediate_size": 4, "shared_expert_intermediate_size": 6, "linear_num_key_heads": 1,
        "linear_num_value_heads": 1, "linear_key_head_dim": 4, "linear_value_head_dim": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    });
    let layer = |name: &str| format!("model.layers.0.{name}");
    let tensors: Vec<(String, Vec<usize>)> = vec![
        ("model.embed_tokens.weight".to_owned(), vec![3, 8]),
        (layer("input_layernorm.weight"), vec![8]),
        // Queries and an output gate.
        (layer("self_attn.q_proj.weight"), vec![16, 8]),
        (layer("self_attn.k_proj.weight"), vec![4, 8]),
        (layer("self_attn.v_proj.weight"), vec![4, 8]),
        (layer("self_attn.o_proj.weight"), vec![8, 8]),
        (layer("self_attn.q_norm.weight"), vec![4]),
        (layer("self_attn.k_norm.weight"), vec![4]),
        (layer("post_attention_layernorm.weight"), vec![8]),
        (layer("mlp.gate.weight"), vec![3, 8]),
        (layer("mlp.experts.gate_up_proj"), vec![3, 8, 8]),
        (layer("mlp.experts.down_proj"), vec![3, 8, 4]),
        (layer("mlp.shared_expert.gate_proj.weight"), vec![6, 8]),
        (layer("mlp.shared_expert.up_proj.weight"), vec![6, 8]),
        (layer("mlp.shared_expert.down_proj.weight"), vec![8, 6]),
        (layer("mlp.shared_expert_gate.weight"), vec![1, 8]),
        ("model.norm.weight".to_owned(), vec![8]),
        ("lm_head.weight".to_owned(), vec![3, 8]),
    ];
    let folder = Folder::new(&config);
    let mut bytes = weights(&tensors, "BF16");
    // Rows 0 to 3 of an expert are those of gate.
    let (_, shape) = &tensors[10];
    let before: usize = tensors[..10].iter().map(|(_, shape)| 2 * shape.iter().product::<usize>()).sum();
    let (data, size) = (bytes.len() - total(&tensors), 2 * shape.iter().product::<usize>());
    for (row, stored) in bytes[data + before..][..size].chunks_exact_mut(16).enumerate() {
        stored.fill(row as u8);
    }
    folder.write("model.safetensors", &bytes);
    let checkpoint = folder.open();
    let rows = |part: &str| -> Vec<u8> {
        let bytes = checkpoint.tensor(&format!("blk.0.{part}.weight")).unwrap().bytes().to_vec();
        bytes.chunks_exact(16).map(|row| row[0]).collect()
    };
    assert_eq!(rows("ffn_gate_exps"), [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19]);
    assert_eq!(rows("ffn_up_exps"), [4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23]);
    let shape = |part: &str| checkpoint.tensor(&format!("blk.0.{part}.weight")).unwrap().info().shape.clone();
    assert_eq!((shape("ffn_down_exps"), shape("ffn_gate_inp_shexp")), (vec![3, 8, 4], vec![8]));
}

/// Bytes of the data of [`weights`].
fn total(tensors: &[(String, Vec<usize>)]) -> usize {
    tensors.iter().map(|(_, shape)| 2 * shape.iter().product::<usize>()).sum()
}

#[test]
fn wrong_folders_are_refused() {
    let with_config = |change: &dyn Fn(&mut Value)| Folder::whole(&changed(change)).error_text();
    let with_weights = |bytes: &[u8]| {
        let folder = Folder::new(&config());
        folder.write("model.safetensors", bytes);
        folder.error_text()
    };
    let raw_config = |bytes: &[u8]| {
        let folder = Folder::whole(&config());
        folder.write("config.json", bytes);
        folder.error_text()
    };
    let sound = weights(&tensors(), "BF16");
    let mut renamed = tensors();
    renamed[3].0 = "model.layers.0.self_attn.inner_norm.weight".to_owned();
    let mut reshaped = tensors();
    reshaped[3].1 = vec![8, 4];
    let errors = [
        ("no weights", Folder::new(&config()).error_text()),
        ("architecture", with_config(&|config| config["architectures"] = json!(["GemmaForCausalLM"]))),
        ("no architecture", raw_config(b"{}")),
        ("another head", with_config(&|config| config["architectures"] = json!(["LlamaForSequenceClassification"]))),
        ("not JSON", raw_config(b"{\"hidden_size\": 8,\n  oops}")),
        ("an empty config", raw_config(b"")),
        ("no hidden size", with_config(&|config| config["hidden_size"] = Value::Null)),
        ("hidden size a text", with_config(&|config| config["hidden_size"] = json!("8"))),
        ("hidden size negative", with_config(&|config| config["hidden_size"] = json!(-8))),
        ("too many layers", with_config(&|config| config["num_hidden_layers"] = json!(u64::MAX))),
        ("heads that do not divide", with_config(&|config| config["num_attention_heads"] = json!(3))),
        ("gelu", with_config(&|config| config["hidden_act"] = json!("gelu"))),
        ("biases in the feed-forward block", with_config(&|config| config["mlp_bias"] = json!(true))),
        ("dynamic", with_config(&|config| config["rope_scaling"] = json!({"rope_type": "dynamic", "factor": 4.0}))),
        (
            "llama3 without factor",
            with_config(&|config| {
                config["rope_scaling"] = json!({"rope_type": "llama3", "low_freq_factor": 1, "high_freq_factor": 4});
            }),
        ),
        ("MLX in seven bits", with_config(&|config| config["quantization"] = json!({"group_size": 64, "bits": 7}))),
        ("GPTQ", with_config(&|config| config["quantization_config"] = json!({"quant_method": "gptq", "bits": 4}))),
        ("one layer too many", with_config(&|config| config["num_hidden_layers"] = json!(3))),
        ("an unknown tensor", with_weights(&weights(&renamed, "BF16"))),
        ("a tensor of another shape", with_weights(&weights(&reshaped, "BF16"))),
        ("sixteen-bit integers", with_weights(&weights(&tensors(), "I16"))),
        ("cut", with_weights(&sound[..sound.len() - 1])),
        ("longer than its header says", with_weights(&[&sound[..], b"x"].concat())),
        ("cut inside the header", with_weights(&sound[..100])),
        ("a header that is too long", with_weights(&[&u64::MAX.to_le_bytes()[..], b"{}"].concat())),
        ("an empty file", with_weights(b"")),
        ("a web page", with_weights(b"<!doctype html>")),
        ("a GGUF file", with_weights(b"GGUF\x03\0\0\0\0\0\0\0")),
    ];
    let errors: String = errors.iter().map(|(name, text)| format!("{name}\n    {text}\n")).collect();
    insta::assert_snapshot!(errors);
}
