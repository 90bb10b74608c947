//! The counting allocator in the traced pass: allocations of an engine are counted in their phase.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use engines::{EngineError, FinishReason, KvBytes, Observer, Phase, Piece, Prompt, Request, Session, Steps, Usage};
use measure::protocol::SharedStatus;
use measure::worker::passes::{Stopwatch, run_traced};
use meter::heap::{AllocationCounter, CountingAllocator};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const MIB: usize = 1 << 20;

/// In prefill, allocates and frees a block of 8 MiB (after 16 MiB outside of phases). In each decode, keeps a block of 1 MiB. In
/// sampling, frees an old block.
#[derive(Default)]
struct AllocatingSession {
    kept: Vec<Vec<u8>>,
    old: Vec<u8>,
    ready: Vec<Vec<u8>>,
}

impl Session for AllocatingSession {
    fn generate(&mut self, request: &Request, observer: &mut dyn Observer) -> Result<Usage, EngineError> {
        // Before the first phase, where engines prepare their threads for recording.
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

    fn kv_bytes(&self) -> Option<KvBytes> {
        None
    }

    fn steps(&mut self) -> Option<&mut dyn Steps> {
        None
    }
}

// One test: the counters are the process's, so nothing else may run beside it.
#[test]
fn allocations_show_in_their_phase() {
    let folder = tempfile::tempdir().unwrap();
    let status = SharedStatus::create(&folder.path().join("status")).unwrap();
    let mut session = AllocatingSession { kept: Vec::with_capacity(16), old: vec![1; 4 * MIB], ready: Vec::new() };
    let request = Request { prompt: Prompt::Tokens(vec![1]), max_new_tokens: 3, ignore_eos: true };
    let mut watch = Stopwatch::new(3, &status);
    let found =
        run_traced(&mut session, &request, 64, None, &mut watch, &mut |_, _, _| {}).unwrap().allocations.unwrap();
    let of = |phase: &str| found.rows.iter().find(|row| row.phase.name() == phase).unwrap();
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    let near = |found: f64, expected: f64| (found - expected).abs() < 0.01;
    assert_eq!(
        found.rows.iter().map(|row| row.phase.name()).collect::<Vec<_>>(),
        ["prefill", "decode", "sample", "other"]
    );
    assert!(near(mib(of("prefill").bytes), 8.0) && near(mib(of("prefill").peak_bytes), 8.0), "{found:?}");
    assert!(near(mib(of("decode").bytes), 3.0) && of("decode").count >= 3, "{found:?}");
    // 4 MiB were freed before the first decode, so it has less memory than the start of the request.
    assert_eq!((of("decode").peak_bytes, of("sample").count), (0, 0), "{found:?}");
    assert!(near(found.held as f64 / MIB as f64, -1.0), "three kept, four freed: {found:?}");

    // A second request has no old block to free.
    let mut watch = Stopwatch::new(3, &status);
    let found =
        run_traced(&mut session, &request, 64, None, &mut watch, &mut |_, _, _| {}).unwrap().allocations.unwrap();
    assert!(near(found.held as f64 / MIB as f64, 3.0), "{found:?}");
    let decode = found.rows.iter().find(|row| row.phase == Phase::Decode).unwrap();
    assert!(near(mib(decode.peak_bytes), 3.0), "{found:?}");

    let mut watch = Stopwatch::new(3, &status);
    let found =
        run_traced(&mut session, &request, 64, Some(record::Reason::new("not now")), &mut watch, &mut |_, _, _| {})
            .unwrap()
            .allocations;
    assert_eq!(found, Err(record::Reason::new("not now")));

    // Only one can count at a time; small blocks can be excluded; without a counter nothing is counted.
    let counting = AllocationCounter::start(MIB).unwrap();
    assert!(AllocationCounter::start(0).unwrap_err().as_str().contains("something else"));
    drop(std::hint::black_box(vec![1_u8; MIB - 1]));
    assert_eq!(counting.read().count, 0);
    let block = std::hint::black_box(vec![1_u8; MIB]);
    let reading = counting.read();
    assert_eq!((reading.count, reading.held, reading.peak), (1, MIB as i64, MIB as i64));
    drop(block);
    assert_eq!(counting.read().held, 0);
    drop(counting);
    drop(std::hint::black_box(vec![1_u8; MIB]));
    assert_eq!(AllocationCounter::start(MIB).unwrap().read().count, 0);
}
