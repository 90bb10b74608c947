//! The size of a long trace: a million ops through the recorder, its batches and the writer.

#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::fs;

use traces::chrome::{self, Process, Writer};
use traces::record::{self, Complete, Config, Name};
use traces::{Nanos, check, summary};

/// The ops of a decoder block of an 8B model.
static OPS: [(Name, [usize; 3]); 15] = [
    (Name::new("attn_norm"), [1, 4096, 0]),
    (Name::new("q_proj"), [1, 4096, 4096]),
    (Name::new("k_proj"), [1, 4096, 1024]),
    (Name::new("v_proj"), [1, 4096, 1024]),
    (Name::new("rope"), [1, 5120, 0]),
    (Name::new("kv_write"), [1, 1024, 0]),
    (Name::new("attention"), [1, 0, 32]),
    (Name::new("o_proj"), [1, 4096, 4096]),
    (Name::new("attn_residual"), [1, 4096, 0]),
    (Name::new("ffn_norm"), [1, 4096, 0]),
    (Name::new("gate_proj"), [1, 4096, 14_336]),
    (Name::new("up_proj"), [1, 4096, 14_336]),
    (Name::new("silu_mul"), [1, 14_336, 0]),
    (Name::new("down_proj"), [1, 14_336, 4096]),
    (Name::new("ffn_residual"), [1, 4096, 0]),
];
const LAYERS: usize = 32;
const SPANS: u64 = 1_000_000;
/// A machine that has been up for a hundred days.
const EPOCH: Nanos = Nanos::from_secs(100 * 24 * 3600);

#[test]
fn a_million_ops_take_less_than_108_megabytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let process = Process { pid: 65_432, name: "inferometer".into() };
    let mut writer = Writer::since(EPOCH, &path, process).unwrap();
    record::start(Config { per_thread: 1 << 16 });
    let (mut time, mut spans, mut context) = (EPOCH, 0, 64);
    while spans < SPANS {
        for layer in 0..LAYERS {
            for (name, shape) in &OPS {
                let [m, k, n] = *shape;
                // The visible positions are part of the attention's shape.
                let k = if k == 0 { context } else { k };
                record::emit(Complete::op(name, layer, [m, k, n], time, Nanos(19_123)));
                time += Nanos(20_007);
                spans += 1;
            }
        }
        context += 1;
        if record::fullness() > 0.9 {
            writer.write(&record::drain()).unwrap();
        }
    }
    record::stop();
    writer.write(&record::drain()).unwrap();
    let written = writer.finish().unwrap();
    assert_eq!((written.dropped, written.bytes), (0, fs::metadata(&path).unwrap().len()));
    let per_span = written.bytes as f64 / spans as f64;
    assert!(per_span < 108.0, "{per_span:.1} bytes per span");

    // The omitted fields lose nothing: readers restore all categories, and all durations are there.
    let trace = chrome::read(&path).unwrap();
    assert_eq!(check::check_trace(&trace).unwrap().errors(), 0);
    let summary = summary::summarise(&trace).unwrap();
    assert_eq!(summary.spans, spans);
    assert!(summary.rows.iter().all(|row| row.category == "op" && row.mean() == Nanos(19_123)));
    assert_eq!(summary.rows.len(), OPS.len());
}
