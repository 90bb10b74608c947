//! Reading: the sum of all 64-bit words, the cheapest computation that needs every byte.

/// Words that are added at once: eight registers of 512 bits.
const LANES: usize = 64;
/// Bytes of them.
const BLOCK: usize = LANES * 8;

/// The wrapping sum of the little-endian words of `bytes`, read as `STREAMS` parallel parts, which use more of the hardware's
/// prefetchers. Reads `bytes.len()` bytes; bytes that do not fill a word are left out.
#[inline(never)]
pub(in crate::worker::prober) fn sum<const STREAMS: usize>(bytes: &[u8]) -> u64 {
    let blocks = bytes.len() / BLOCK / STREAMS;
    let mut lanes = [0_u64; LANES];
    let (together, rest) = bytes.split_at(blocks * BLOCK * STREAMS);
    let streams: [&[[u8; BLOCK]]; STREAMS] = std::array::from_fn(|stream| {
        let (whole, _) = together.as_chunks();
        &whole[stream * blocks..(stream + 1) * blocks]
    });
    for block in 0..blocks {
        for stream in &streams {
            if let Some(block) = stream.get(block) {
                add(&mut lanes, block);
            }
        }
    }
    let (words, _) = rest.as_chunks();
    let rest = words.iter().fold(0, |sum: u64, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    lanes.iter().fold(rest, |sum, lane| sum.wrapping_add(*lane))
}

#[inline(always)]
fn add(lanes: &mut [u64; LANES], block: &[u8; BLOCK]) {
    let (words, _) = block.as_chunks();
    for (lane, word) in lanes.iter_mut().zip(words) {
        *lane = lane.wrapping_add(u64::from_le_bytes(*word));
    }
}

/// Writes the words 1, 2, 3, ... and returns their sum: what [`sum`] must find.
pub(in crate::worker::prober) fn fill(bytes: &mut [u8]) -> u64 {
    let mut number = 0_u64;
    let mut sum = 0_u64;
    let (words, _) = bytes.as_chunks_mut();
    for word in words {
        number += 1;
        sum = sum.wrapping_add(number);
        *word = number.to_le_bytes();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read() {
        for length in [0, 7, 8, 511, 512, 4096, 4097, 8 * 512 + 40, 3 * 8 * 512 + 520] {
            let mut bytes = vec![0xff; length];
            let written = fill(&mut bytes);
            let words = (length / 8) as u64;
            assert_eq!(written, words * (words + 1) / 2);
            assert_eq!((sum::<1>(&bytes), sum::<8>(&bytes)), (written, written), "{length} bytes");
            if let Some(byte) = bytes.get_mut(length / 16 * 8) {
                *byte = byte.wrapping_add(1);
                let more = if length >= 8 { 1 } else { 0 };
                let found = sum::<8>(&bytes);
                assert!(found == written.wrapping_add(more) || found == written.wrapping_sub(255), "{length} bytes");
            }
        }
    }
}
