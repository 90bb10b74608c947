//! Ceilings and probes of a real run: their presence and order, and that ceilings are measured once. Rates are not compared.

use serde_json::Value;

use crate::support::TestFolder;

const RUN: &str = "run -e candle -m tiny.gguf --prompt hello -n 4 -r 2 -t 1,2 --trace off";

fn is_positive_or_has_a_reason(object: &Value, field: &str) {
    match object[field].as_f64().or_else(|| object[field]["median"].as_f64()) {
        Some(value) => assert!(value > 0.0, "{field}: {object}"),
        None => assert!(object["reasons"][field].is_string(), "{field} is absent without a reason: {object}"),
    }
}

#[test]
fn a_run_measures_ceilings_once_and_probes_between_its_rounds() {
    let folder = TestFolder::new();
    let first = folder.run(&format!("{RUN} --out one")).ends_with(0);
    assert!(first.err.contains("ceilings with 1 thread,") && first.err.contains("ceilings with 2 threads"));
    let file = folder.run_file("one");
    let ceilings = &file["ceilings"];
    for field in ["file_read_cold", "file_read_warm", "page_fault_s"] {
        is_positive_or_has_a_reason(ceilings, field);
    }
    let entries = ceilings["threads"].as_array().unwrap();
    assert_eq!(entries.iter().map(|entry| entry["threads"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    for entry in entries {
        for field in ["memory_read", "memory_read_huge", "copy", "fma_f32", "dot_i8", "dispatch_s"] {
            is_positive_or_has_a_reason(entry, field);
        }
    }
    let probes = file["ceiling_probes"].as_array().unwrap();
    let order: Vec<_> = probes
        .iter()
        .map(|probe| {
            is_positive_or_has_a_reason(probe, "memory_read");
            is_positive_or_has_a_reason(probe, "compute");
            let probed =
                (probe["moment"].as_str().unwrap(), probe["round"].as_u64(), probe["threads"].as_u64().unwrap());
            assert_eq!(probe["model"], "tiny");
            probed
        })
        .collect();
    let both = |moment, round| [(moment, round, 1), (moment, round, 2)];
    let expected = [both("before", None), both("round", Some(0)), both("round", Some(1)), both("after", None)];
    assert_eq!(order, expected.concat());
    let warnings = file["warnings"].to_string();
    assert!(!warnings.contains("while it was stopped"), "{warnings}");

    let second = folder.run(&format!("{RUN} --out two")).ends_with(0);
    // If another program disturbed the measurement, the next run may repeat it.
    if ceilings["disturbed"].as_f64().is_none_or(|share| share < 0.15) {
        assert!(!second.err.contains("measuring the ceilings"), "{}", second.err);
        assert_eq!(folder.run_file("two")["ceilings"], *ceilings, "they are known by then");
    }

    folder.run(&format!("{RUN} --resume one")).ends_with(0);
    let resumed = folder.run_file("one");
    assert_eq!(resumed["ceiling_probes"], file["ceiling_probes"], "nothing was left to measure, and nothing is lost");
}
