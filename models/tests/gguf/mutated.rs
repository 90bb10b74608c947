//! Valid files with bytes changed, removed or repeated: the reader neither panics nor needs much more memory than the file has.

use std::path::Path;

use models::gguf::Header;
use proptest::prelude::*;

use crate::allocations;
use crate::models::tiny;
use crate::writer::File;

/// Reads `bytes`, and checks the consistency of an accepted header.
fn read(bytes: &[u8]) {
    let (result, peak) = allocations::peak(|| Header::parse(Path::new("mutated.gguf"), bytes));
    assert!(peak <= 16 * bytes.len() + (16 << 10), "{peak} bytes allocated for a file of {}", bytes.len());
    if let Ok(header) = result {
        for tensor in &header.tensors {
            assert!(tensor.range.start >= header.data_start as usize && tensor.range.end <= bytes.len());
            let elements =
                tensor.shape.iter().try_fold(1u64, |product, side| product.checked_mul(*side as u64)).unwrap();
            let blocks = elements / tensor.dtype.block_elems() as u64;
            assert_eq!(tensor.range.len() as u64, blocks * tensor.dtype.block_bytes() as u64);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_are_handled(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = File::valid().bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        read(&bytes);
    }

    #[test]
    fn changed_words_are_handled(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), 0u32..64), 1..4)) {
        let mut bytes = tiny().bytes();
        for (at, word, shift) in changes {
            let at = at.index(bytes.len() - 8);
            bytes[at..at + 8].copy_from_slice(&(word >> shift).to_le_bytes());
        }
        read(&bytes);
    }

    #[test]
    fn truncated_and_repeated_bytes_are_handled(cut in any::<prop::sample::Index>(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let bytes = File::valid().bytes();
        read(&bytes[..cut.index(bytes.len())]);
        let mut longer = bytes.clone();
        let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
        longer.splice(to..to, bytes[from..].iter().copied());
        read(&longer);
    }
}

/// With more cases than in a normal run: `INFEROMETER_MUTATIONS=100000 cargo test -p models --test gguf mutations`.
#[test]
fn mutations() {
    let count: u64 = std::env::var("INFEROMETER_MUTATIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(2000);
    let valid = tiny().bytes();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        // xorshift64*: a reproducible generator.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    for _ in 0..count {
        let mut bytes = valid.clone();
        for _ in 0..=random() % 4 {
            let at = random() as usize % bytes.len();
            match random() % 4 {
                0 => bytes[at] = random() as u8,
                1 => bytes[at] ^= 1 << (random() % 8),
                2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random() as usize % 5],
                _ => {
                    let end = (at + 8).min(bytes.len());
                    bytes[at..end].fill([0, 0xff][random() as usize % 2]);
                }
            }
        }
        if random() % 8 == 0 {
            bytes.truncate(random() as usize % bytes.len() + 1);
        }
        read(&bytes);
    }
}
