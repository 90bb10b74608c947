//! The counting allocator in the traced pass: what an engine allocates shows in the phase in which it does.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use engines::{EngineError, FinishReason, KvBytes, Observer, Phase, Piece, Prompt, Request, Session, Steps, Usage};
use measure::drive::{Stopwatch, trace};
use measure::worker::Beacon;
use meter::heap::{Counted, Counting};

#[global_allocator]
static ALLOCATOR: Counted = Counted;

const MIB: usize = 1 << 20;

/// Allocates a block of 8 MiB and gives it back in its prefill (after 16 MiB that belong to no phase), keeps one of 1 MiB of each decode, gives back a block of its own
/// in its sampling.
#[derive(Default)]
struct Greedy {
    kept: Vec<Vec<u8>>,
    old: Vec<u8>,
    ready: Vec<Vec<u8>>,
}

impl Session for Greedy {
    fn generate(&mut self, request: &Request, observer: &mut dyn Observer) -> Result<Usage, EngineError> {
        // Before the first phase: engines ready their threads for recording there.
        self.ready.push(vec![1_u8; 16 * MIB]);
        observer.begin(Phase::Prefill);
        drop(std::hint::black_box(vec![1_u8; 8 * MIB]));
        observer.end(Phase::Prefill);
        for index in 0..request.max_new_tokens {
            observer.begin(Phase::Sample);
            self.old = Vec::new();
            observer.end(Phase::Sample);
            let _ = observer.piece(Piece { index, token: Some(1), text: "a" });
            observer.begin(Phase::Decode);
            self.kept.push(vec![1_u8; MIB]);
            observer.end(Phase::Decode);
        }
        let output_tokens = request.max_new_tokens;
        Ok(Usage { prompt_tokens: 1, prompt_ids: vec![1], output_tokens, finish: FinishReason::Length, reported: None })
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn kv_bytes(&self) -> KvBytes {
        KvBytes::default()
    }

    fn steps(&mut self) -> Option<&mut dyn Steps> {
        None
    }
}

// One test: the counters are the process's, so nothing else may run beside it.
#[test]
fn allocations_show_in_their_phase() {
    let folder = tempfile::tempdir().unwrap();
    let beacon = Beacon::create(&folder.path().join("beacon")).unwrap();
    let mut session = Greedy { kept: Vec::with_capacity(16), old: vec![1; 4 * MIB], ready: Vec::new() };
    let request = Request { prompt: Prompt::Tokens(vec![1]), max_new_tokens: 3, ignore_eos: true };
    let mut watch = Stopwatch::new(3, &beacon);
    let told = trace(&mut session, &request, 64, None, &mut watch, &mut |_, _, _| {}).unwrap().allocations.unwrap();
    let of = |phase: &str| told.rows.iter().find(|row| row.phase == phase).unwrap();
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    let near = |found: f64, expected: f64| (found - expected).abs() < 0.01;
    assert_eq!(
        told.rows.iter().map(|row| row.phase.as_str()).collect::<Vec<_>>(),
        ["prefill", "decode", "sample", "other"]
    );
    assert!(near(mib(of("prefill").bytes), 8.0) && near(mib(of("prefill").peak_bytes), 8.0), "{told:?}");
    assert!(near(mib(of("decode").bytes), 3.0) && of("decode").count >= 3, "{told:?}");
    // 4 MiB were given back before the first decode: it holds less than the request began with.
    assert_eq!((of("decode").peak_bytes, of("sample").count), (0, 0), "{told:?}");
    assert!(near(told.held as f64 / MIB as f64, -1.0), "three kept, four given back: {told:?}");

    // A second request has nothing old to give back.
    let mut watch = Stopwatch::new(3, &beacon);
    let told = trace(&mut session, &request, 64, None, &mut watch, &mut |_, _, _| {}).unwrap().allocations.unwrap();
    assert!(near(told.held as f64 / MIB as f64, 3.0), "{told:?}");
    let decode = told.rows.iter().find(|row| row.phase == "decode").unwrap();
    assert!(near(mib(decode.peak_bytes), 3.0), "{told:?}");

    let mut watch = Stopwatch::new(3, &beacon);
    let told = trace(&mut session, &request, 64, Some("not now"), &mut watch, &mut |_, _, _| {}).unwrap().allocations;
    assert_eq!(told, Err("not now".to_owned()));

    // Two cannot count at once; small blocks can be left out; nothing is counted when nobody asks.
    let counting = Counting::start(MIB).unwrap();
    assert!(Counting::start(0).unwrap_err().contains("something else"));
    drop(std::hint::black_box(vec![1_u8; MIB - 1]));
    assert_eq!(counting.read().count, 0);
    let block = std::hint::black_box(vec![1_u8; MIB]);
    let reading = counting.read();
    assert_eq!((reading.count, reading.held, reading.peak), (1, MIB as i64, MIB as i64));
    drop(block);
    assert_eq!(counting.read().held, 0);
    drop(counting);
    drop(std::hint::black_box(vec![1_u8; MIB]));
    assert_eq!(Counting::start(MIB).unwrap().read().count, 0);
}
