//! Bad input: one error on stderr, exit code 2, no run folder.

use std::fmt::Write as _;
use std::fs;

use crate::support::TestFolder;

/// The errors of all lines. Each must exit with code 2.
fn errors(folder: &TestFolder, lines: &[&str]) -> String {
    let mut all = String::new();
    for line in lines {
        let done = folder.run(line).ends_with(2);
        assert_eq!(done.out, "", "{line} wrote to stdout");
        assert!(done.err.starts_with("error: "), "{line}:\n{}", done.err);
        assert!(!folder.path("runs").exists() && !folder.path("new").exists(), "{line} left a folder");
        write!(all, "$ inferometer {line}\n{}\n", done.err.replace(&folder.path("").display().to_string(), "DIR/"))
            .unwrap();
    }
    all
}

#[test]
fn unknown_names() {
    let folder = TestFolder::new();
    insta::assert_snapshot!(errors(
        &folder,
        &[
            "run -e candel -m tiny.gguf",
            "run -e candle:fast -m tiny.gguf",
            "run -e mock -m smolm2-135m",
            "run -e mock -m tiny.gguf --prompts sed",
            "run -e mock -m tiny.gguf --counters cycels",
            "run -e mock -m tiny.gguf --set candle.x=1",
            "run -e mock -e mock -m tiny.gguf",
            "run -e mock -e a=mock -m tiny.gguf --set b.x=1",
            "run -e Twin=mock -m tiny.gguf",
            "run -e candle=mock -m tiny.gguf",
            "run -e twin=mokc -m tiny.gguf",
            "run -e candle -m tiny.gguf --set candle.extra=1",
            "models show lama",
            "models synth llama-3.2-1b --quant q4",
            "models quantize tiny.gguf --quant q4_k_m",
        ]
    ));
}

#[test]
fn arguments_that_clap_refuses() {
    let folder = TestFolder::new();
    insta::assert_snapshot!(errors(
        &folder,
        &[
            "rnu",
            "run --thread 2",
            "run -r 0",
            "run --kv-type f8",
            "run --set x",
            "run --timeout 0",
            "run --prompt a --prompt-tokens 5",
            "run --quant q4_0",
            "report",
            "trace check"
        ]
    ));
}

#[test]
fn files_that_are_not_models() {
    let folder = TestFolder::new();
    let model = fs::read(folder.path("tiny.gguf")).unwrap();
    fs::write(folder.path("cut.gguf"), &model[..model.len() / 2]).unwrap();
    fs::write(folder.path("short.gguf"), &model[..10]).unwrap();
    fs::write(folder.path("empty.gguf"), "").unwrap();
    fs::write(folder.path("page.gguf"), "<!DOCTYPE html><html>404</html>").unwrap();
    // A header that announces 2^62 tensors.
    let mut hostile = model.clone();
    hostile[8..16].copy_from_slice(&(1_u64 << 62).to_le_bytes());
    fs::write(folder.path("hostile.gguf"), hostile).unwrap();
    fs::create_dir(folder.path("folder")).unwrap();
    fs::write(folder.path("bert.json"), r#"{"model_type": "bert", "hidden_size": 64}"#).unwrap();
    insta::assert_snapshot!(errors(
        &folder,
        &[
            "run -e mock -m ./absent.gguf --out new",
            "run -e mock -m ./cut.gguf --out new",
            "run -e mock -m ./short.gguf --out new",
            "run -e mock -m ./empty.gguf --out new",
            "run -e mock -m ./page.gguf --out new",
            "run -e mock -m ./hostile.gguf --out new",
            "run -e mock -m ./folder --out new",
            "run -e mock -m ./bert.json --synthetic --out new",
            "models show ./cut.gguf",
        ]
    ));
}

#[test]
fn invalid_prompts() {
    let folder = TestFolder::new();
    fs::write(folder.path("mistake.toml"), "description = \"x\"\n\n[[prompt]]\nid = \"a\"\ntxt = \"hello\"\n").unwrap();
    fs::write(
        folder.path("twice.toml"),
        "[[prompt]]\nid = \"a\"\ntext = \"x\"\n[[prompt]]\nid = \"a\"\ntext = \"y\"\n",
    )
    .unwrap();
    fs::write(folder.path("none.toml"), "description = \"x\"\n").unwrap();
    insta::assert_snapshot!(errors(
        &folder,
        &[
            "run -e mock -m tiny.gguf --prompts mistake.toml --out new",
            "run -e mock -m tiny.gguf --prompts twice.toml --out new",
            "run -e mock -m tiny.gguf --prompts none.toml --out new",
            "run -e mock -m tiny.gguf --prompts absent.toml --out new",
            "run -e mock -m tiny.gguf --prompt-tokens 500 --ctx 256 --out new",
        ]
    ));
}

#[test]
fn invalid_folders() {
    let folder = TestFolder::new();
    fs::write(folder.path("file"), "").unwrap();
    folder.run("run -e mock -m tiny.gguf --prompt a -n 1 -r 1 -t 1 --out taken").ends_with(0);
    fs::create_dir(folder.path("void")).unwrap();
    insta::assert_snapshot!(errors(
        &folder,
        &[
            "run -e mock -m tiny.gguf --prompt a -n 1 -r 1 -t 1 --out file/run",
            "run -e mock -m tiny.gguf --prompt a -n 1 -r 1 -t 1 --out taken",
            "run -e mock -m tiny.gguf --prompt a -n 1 -r 1 -t 1 --resume void",
            "run -e mock -m tiny.gguf --prompt a -n 1 -r 1 -t 1 --resume absent",
            "report void",
            "report absent",
            "predict -m llama-3.2-1b -e openai",
            "trace check absent.json",
            "trace summary file",
            "models synth llama-3.2-1b --quant q4_0 -o file/x.gguf",
        ]
    ));
}

#[test]
fn a_failed_fetch_names_every_origin() {
    let folder = TestFolder::new();
    let done = folder.run("run -e mock -m smollm2-135m --out new").ends_with(2);
    assert!(done.err.contains("HF_HUB_OFFLINE") || done.err.contains("offline"), "{}", done.err);
    assert!(!folder.path("new").exists());
}
