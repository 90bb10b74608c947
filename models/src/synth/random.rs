//! The random numbers of synthetic weights.
//!
//! Each (seed, tensor name, chunk) has its own stream, which depends on nothing else, such as threads or their order. A file is
//! therefore the same with any number of threads.

/// The golden ratio in 64 bits: SplitMix64's increment.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// A SplitMix64 stream (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
///
/// Not for cryptography. Its statistical quality is sufficient for random weights.
#[derive(Debug, Clone)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    /// The stream of one chunk of one tensor.
    pub(super) fn stream(seed: u64, tensor: &str, chunk: u64) -> Self {
        let named = mix(seed.wrapping_add(GAMMA)) ^ fnv1a(tensor.as_bytes());
        Self { state: mix(named).wrapping_add(mix(chunk.wrapping_mul(GAMMA))) }
    }

    /// The next 64 random bits.
    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// Fills `bytes` with random bits.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        let mut words = bytes.chunks_exact_mut(8);
        for word in &mut words {
            word.copy_from_slice(&self.next().to_le_bytes());
        }
        let rest = words.into_remainder();
        if !rest.is_empty() {
            let last = self.next().to_le_bytes();
            rest.copy_from_slice(&last[..rest.len()]);
        }
    }

    /// Two approximately normal numbers with mean 0 and standard deviation 1.
    ///
    /// Each is the centred sum of four independent bytes: an Irwin-Hall distribution, which is limited to ±3.45, so that no outlier
    /// dominates an activation.
    pub(super) fn normal_pair(&mut self) -> [f32; 2] {
        let bits = self.next();
        [sum_of_bytes(bits as u32), sum_of_bytes((bits >> 32) as u32)]
    }

    /// Uniform in [-1, 1).
    pub(super) fn symmetric(&mut self) -> f32 {
        // The significand of an f32 has 24 bits.
        (self.next() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }
}

/// The variance of one byte is (256² - 1) / 12; of four it is 21,845.
const FOUR_BYTES_STD: f32 = 147.800_54;

/// The centred, scaled sum of the four bytes of `bits`.
fn sum_of_bytes(bits: u32) -> f32 {
    // Adds the bytes in pairs: two 16-bit sums, then one.
    let pairs = (bits & 0x00FF_00FF) + ((bits >> 8) & 0x00FF_00FF);
    let sum = (pairs & 0xFFFF) + (pairs >> 16);
    (sum as f32 - 510.0) / FOUR_BYTES_STD
}

/// SplitMix64's output function: every input bit affects every output bit.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// FNV-1a, 64 bits: hashes a tensor's name.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_sequence() {
        // The first outputs of SplitMix64 for state 1234567, as printed in its reference implementation's test vectors.
        let mut random = Random { state: 1_234_567 };
        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn streams_differ_by_seed_name_and_chunk() {
        let first = |seed, name, chunk| Random::stream(seed, name, chunk).next();
        let base = first(1, "blk.0.attn_q.weight", 0);
        assert_eq!(base, first(1, "blk.0.attn_q.weight", 0));
        assert_ne!(base, first(2, "blk.0.attn_q.weight", 0));
        assert_ne!(base, first(1, "blk.1.attn_q.weight", 0));
        assert_ne!(base, first(1, "blk.0.attn_q.weight", 1));
    }

    #[test]
    fn fill_takes_any_length() {
        let (mut long, mut short) = ([0u8; 24], [0u8; 19]);
        Random::stream(7, "t", 0).fill(&mut long);
        Random::stream(7, "t", 0).fill(&mut short);
        assert_eq!(long[..19], short);
    }

    #[test]
    fn normal_numbers_have_mean_0_and_deviation_1() {
        let mut random = Random::stream(3, "t", 0);
        let values: Vec<f64> = (0..100_000).flat_map(|_| random.normal_pair()).map(f64::from).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 0.01, "mean {mean}");
        assert!((variance.sqrt() - 1.0).abs() < 0.01, "variance {variance}");
        assert!(values.iter().all(|v| v.abs() <= 3.46));
    }
}
