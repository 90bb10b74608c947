//! Quantising weights on the command line, and the source of the weights in a run.

use models::digest;
use models::fetch::Quiet;

use crate::support::TestFolder;

#[test]
fn a_run_records_its_weights_and_their_source() {
    let folder = TestFolder::new();
    let sha256 = |name: &str| digest::sha256(&[folder.path(name)], None, &Quiet).unwrap();
    let done = folder.run("models quantize tiny.gguf --quant q4_0").ends_with(0);
    assert_eq!(done.out, "tiny-q4_0.gguf\n");
    assert!(done.err.contains("bits per weight") && done.err.contains("against Q8_0"), "{}", done.err);
    folder.run("models quantize ./tiny-q4_0.gguf --quant q5_1 -o again.gguf").ends_with(0);
    let shown = folder.run("models show ./again.gguf").ends_with(0).out;
    for expected in ["quantisation error", &sha256("tiny.gguf"), &sha256("tiny-q4_0.gguf")] {
        assert!(shown.contains(expected), "{expected}:\n{shown}");
    }
    let line = "run -e mock -m tiny.gguf -m again.gguf --prompt a -n 2 -r 1 -t 1 --trace off --out run";
    folder.run(line).ends_with(0);
    let run = folder.run_file("run");
    let [plain, again] = [0, 1].map(|at| &run["plan"]["models"][at]);
    assert_eq!(plain["sha256"], sha256("tiny.gguf"));
    assert!(plain["source"].is_null() && plain["reasons"]["source"].is_string(), "{plain}");
    assert_eq!(again["sha256"], sha256("again.gguf"));
    assert_eq!(
        (&again["source"]["sha256"], &again["source"]["quantisation"]),
        (&sha256("tiny.gguf").into(), &"Q8_0".into())
    );
    assert_eq!(again["source"]["given"]["sha256"], sha256("tiny-q4_0.gguf"));
    assert!(again["source"]["error"].as_f64().unwrap() > 0.0 && again.get("reasons").is_none(), "{again}");
    // Of 32 elements Q8_0 takes 34 bytes and Q5_1 24; the tied table stays in Q8_0, norms are F32.
    let bits = |model: &serde_json::Value| model["bits_per_weight"].as_f64().unwrap();
    assert!(bits(again) > 6.0 && bits(again) < bits(plain) && bits(plain) < 9.0, "{} {}", bits(again), bits(plain));
}

#[test]
fn a_failed_quantisation_writes_nothing() {
    let folder = TestFolder::new();
    let before = std::fs::read(folder.path("tiny.gguf")).unwrap();
    for line in [
        "models quantize tiny.gguf --quant q8_0 -o tiny.gguf",
        "models quantize tiny.gguf --quant q8_0 -o none/out.gguf",
        "models quantize absent.gguf --quant q8_0 -o out.gguf",
        "models quantize tiny.gguf --quant q6_k -o out.gguf",
        "models quantize tiny.gguf --quant q8_0 --header tiny.gguf -o out.gguf",
    ] {
        let done = folder.run(line).ends_with(2);
        assert_eq!(done.err.matches("error: ").count(), 1, "{line}:\n{}", done.err);
        assert!(done.err.contains("help: ") && done.out.is_empty(), "{line}:\n{}", done.err);
        assert!(!folder.path("out.gguf").exists() && !folder.path("out.gguf.part").exists(), "{line}");
    }
    assert!(before == std::fs::read(folder.path("tiny.gguf")).unwrap());
}
