//! One engine that is measured twice, under two names.

use std::fs;

use serde_json::json;

use crate::support::{TestFolder, prompts};

#[test]
fn an_engine_is_compared_with_itself_with_another_setting() {
    let folder = TestFolder::new();
    fs::write(folder.path("one.toml"), prompts(1)).unwrap();
    let line = "run -e mock -e slow.1=mock --set mock.bandwidth_gbs=8 --set slow.1.bandwidth_gbs=4 --set mock.jitter_percent=0 \
                -m tiny.gguf --prompts one.toml -n 4 -r 2 -t 1 --out run";
    let done = folder.run(line).ends_with(0);
    assert!(done.out.contains("slow.1 = mock") && !done.out.contains("mock = mock"), "{}", done.out);
    let file = folder.run_file("run");
    let plan = &file["plan"];
    assert_eq!(plan["engines"], json!(["mock", "slow.1"]));
    assert_eq!(plan["engine_of"], json!({ "slow.1": "mock" }));
    assert_eq!(plan["settings"][1], json!(["slow.1", "bandwidth_gbs", "4"]));
    let identities = file["environment"]["engines"].as_array().unwrap();
    assert_eq!((identities.len(), &identities[1]["name"]), (2, &json!("mock")));
    let case = |index: usize| &file["cases"][index];
    let ids = [case(0)["id"].as_str().unwrap(), case(1)["id"].as_str().unwrap()];
    assert_eq!(ids, ["mock/tiny/p1/t1/d0", "slow.1/tiny/p1/t1/d0"]);
    assert_eq!(case(0)["output"]["sha256"], case(1)["output"]["sha256"]);
    let decode = |index: usize| case(index)["samples"][1]["decode_s"].as_f64().unwrap();
    assert!((decode(1) / decode(0) - 2.0).abs() < 0.01, "half the bandwidth: {} and {}", decode(0), decode(1));

    // The same engines can be resumed; another engine under the same name cannot.
    let resumed = line.replace("--out run", "--resume run");
    folder.run(&resumed).ends_with(0);
    let other = folder.run(&resumed.replace("slow.1=mock", "slow.1=candle").replace("bandwidth_gbs=4", "extra_mlp=1"));
    assert!(other.ends_with(2).err.contains("has another plan"));
}
