//! Token ids, special tokens and texts against llama.cpp, on real vocabularies.
//!
//! The expected ids are in `fixtures/tokenizer_ids.json`; `tokenizer_files` finds the vocabularies.

#![allow(clippy::unwrap_used, reason = "helper functions of tests; only test functions themselves are exempt")]

mod tokenizer_files;

use std::fs;

use models::gguf::File;
use models::{EncodeOptions, Tokenizer, TokenizerData};
use serde_json::Value;

/// One vocabulary of the fixture with its tokenizer.
struct Oracle {
    texts: Vec<String>,
    expected: Value,
    tokenizer: Tokenizer,
}

const PLAIN: EncodeOptions = EncodeOptions { add_bos: false, parse_special: false };

fn oracle(name: &str) -> Oracle {
    let fixture = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tokenizer_ids.json")).unwrap();
    let fixture: Value = serde_json::from_slice(&fixture).unwrap();
    let texts = fixture["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect();
    let expected = fixture["vocabularies"][name].clone();
    let path = tokenizer_files::path(expected["file"].as_str().unwrap());
    let file = File::open(&path).unwrap();
    let mut data = TokenizerData::from_gguf(&file.header.metadata).unwrap();
    if let Some(pre) = expected["changed"]["tokenizer.ggml.pre"].as_str() {
        data.pre = Some(pre.to_owned());
    }
    Oracle { texts, expected, tokenizer: Tokenizer::new(data).unwrap() }
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

/// The text in the fixture, with U+FFFD for invalid UTF-8.
fn text(value: &Value) -> String {
    if let Some(text) = value["text"].as_str() {
        return text.to_owned();
    }
    let hex = value["hex"].as_str().unwrap();
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Compares all texts of the fixture with one vocabulary. `cleans`: with this vocabulary llama.cpp removes spaces before punctuation
/// when it decodes a text, so its texts are not compared.
fn compare(name: &str, cleans: bool) {
    let Oracle { texts, expected, tokenizer } = oracle(name);
    assert_eq!(tokenizer.vocab_size() as u64, expected["size"].as_u64().unwrap());
    assert_eq!(tokenizer.bos().map(u64::from), expected["bos"].as_u64());
    assert_eq!(tokenizer.eos().map(u64::from), expected["eos"].as_u64());
    assert_eq!(tokenizer.add_bos(), expected["add_bos"].as_bool().unwrap());
    assert_eq!(tokenizer.end_of_generation(), ids(&expected["eog"]));

    let cases = expected["cases"].as_array().unwrap();
    assert_eq!(cases.len(), texts.len());
    let mut wrong = Vec::new();
    for (input, case) in texts.iter().zip(cases) {
        let special = EncodeOptions { add_bos: tokenizer.add_bos(), parse_special: true };
        for (way, options) in [("plain", PLAIN), ("special", special)] {
            let wanted = &case[way];
            let got = tokenizer.encode(input, options).unwrap();
            if got != ids(&wanted["ids"]) {
                wrong.push(format!("{way} {input:?}\n  {got:?}\n  {:?} expected", ids(&wanted["ids"])));
                continue;
            }
            let hidden = tokenizer.decode(&got).unwrap();
            let shown = tokenizer.decode_with_special(&got).unwrap();
            if !cleans {
                let without = wanted.get("back_without_special").unwrap_or(&wanted["back"]);
                for (got, wanted) in [(&shown, text(&wanted["back"])), (&hidden, text(without))] {
                    if *got != wanted {
                        wrong.push(format!("{way} {input:?} is decoded as\n  {got:?}\n  {wanted:?} expected"));
                    }
                }
            } else if way == "plain" && shown != *input {
                wrong.push(format!("plain {input:?} is decoded as {shown:?}"));
            }
            let mut stream = tokenizer.decode_stream();
            let mut pieces: String = got.iter().filter_map(|id| stream.push(*id).unwrap()).collect();
            pieces.extend(stream.flush());
            assert_eq!(pieces, hidden);
        }
    }
    assert!(wrong.is_empty(), "{name}: {} differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
#[ignore = "needs INFEROMETER_SMOLLM2: the path of SmolLM2-135M-Instruct.Q4_1.gguf"]
fn smollm() {
    compare("smollm", false);
}

#[test]
#[ignore = "needs INFEROMETER_VOCABULARIES: the folder with llama.cpp's vocabularies"]
fn llama_bpe() {
    compare("llama-bpe", true);
}

#[test]
#[ignore = "needs INFEROMETER_VOCABULARIES: the folder with llama.cpp's vocabularies"]
fn qwen2() {
    compare("qwen2", false);
}

#[test]
#[ignore = "needs INFEROMETER_VOCABULARIES: the folder with llama.cpp's vocabularies"]
fn deepseek_r1_qwen() {
    compare("deepseek-r1-qwen", false);
}

#[test]
#[ignore = "needs INFEROMETER_VOCABULARIES: the folder with llama.cpp's vocabularies"]
fn llama_spm() {
    compare("llama-spm", false);
}

/// The texts and ids that llama.cpp publishes beside its vocabularies, for every pre-tokenizer with such texts.
#[test]
#[ignore = "needs INFEROMETER_VOCABULARIES: the folder with llama.cpp's vocabularies"]
fn ids_published_by_llama_cpp() {
    let names = [
        "llama-bpe",
        "qwen2",
        "qwen35",
        "llama-spm",
        "phi-3",
        "gpt-2",
        "mpt",
        "starcoder",
        "refact",
        "command-r",
        "falcon",
        "deepseek-llm",
        "deepseek-coder",
        "gemma-4",
    ];
    for name in names {
        let stem = format!("ggml-vocab-{name}.gguf");
        let path = tokenizer_files::path(&stem);
        let file = File::open(&path).unwrap();
        let tokenizer = Tokenizer::new(TokenizerData::from_gguf(&file.header.metadata).unwrap()).unwrap();
        let beside = |ending: &str| fs::read_to_string(path.with_file_name(format!("{stem}.{ending}"))).unwrap();
        let (inputs, outputs) = (beside("inp"), beside("out"));
        let inputs: Vec<_> = inputs.split("\n__ggml_vocab_test__\n").collect();
        let outputs: Vec<_> = outputs.lines().collect();
        assert!(outputs.len() >= 40, "{name}");
        for (index, (input, output)) in inputs.iter().zip(&outputs).enumerate() {
            let wanted: Vec<u32> = output.split_whitespace().map(|id| id.parse().unwrap()).collect();
            assert_eq!(tokenizer.encode(input, PLAIN).unwrap(), wanted, "{name}, text {index}: {input:?}");
        }
    }
}
