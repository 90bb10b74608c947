//! Every instruction set against the scalar reference.
#![allow(clippy::float_cmp, reason = "results are equal to the last bit")]

use super::super::rows::Rows;
use super::super::weight::tests::quantised;
use super::super::{matmul, vector};
use super::*;
use models::DType;

fn noise(length: usize, seed: f32) -> Vec<f32> {
    (0..length).map(|i| ((i as f32 + 1.0) * 0.618 + seed).sin() * 10f32.powi(i as i32 % 7 - 3)).collect()
}

/// The levels with fused multiply-add, whose results are equal to the last bit.
fn fused_levels() -> impl Iterator<Item = Level> {
    Level::available().filter(|level| *level != Level::Scalar)
}

#[test]
fn the_order_of_a_sum_is_the_documented_one_to_the_last_bit() {
    for length in [1, 15, 16, 17, 48, 64, 80, 128, 200, 333] {
        let (a, b) = (noise(length, 0.3), noise(length, 1.7));
        let expected = |fused: fn(f32, f32, f32) -> f32| {
            let mut sums = [[0f32; LANES]; 4];
            for (i, (a, b)) in a.iter().zip(&b).enumerate() {
                let lane = &mut sums[i / LANES % 4][i % LANES];
                *lane = fused(*a, *b, *lane);
            }
            let mut lanes: [f32; LANES] =
                std::array::from_fn(|i| (sums[0][i] + sums[2][i]) + (sums[1][i] + sums[3][i]));
            for width in [8, 4, 2, 1] {
                for lane in 0..width {
                    lanes[lane] += lanes[lane + width];
                }
            }
            lanes[0]
        };
        assert_eq!(vector::dot::<Scalar>(&a, &b), expected(|a, b, c| a * b + c), "{length} elements");
        for level in fused_levels() {
            let dot = with_simd!(level, S => S::call(&|(a, b)| vector::dot::<S>(a, b), (&a[..], &b[..])));
            assert_eq!(dot, expected(f32::mul_add), "{}, {length} elements", level.name());
        }
    }
}

#[test]
fn sixteen_sums_are_those_of_each() {
    let numbers = noise(256, 0.9);
    let rows: &[[f32; LANES]] = numbers.as_chunks().0;
    let one_by_one: [f32; LANES] = std::array::from_fn(|i| <Scalar as Simd>::Lanes::load(&rows[i]).sum());
    for level in Level::available() {
        let sums = with_simd!(level, S => {
            S::call(&|rows: &[[f32; LANES]]| <S as Simd>::Lanes::sums(std::array::from_fn(|i| <S as Simd>::Lanes::load(&rows[i]))), rows)
        });
        assert_eq!(sums, one_by_one, "{}", level.name());
    }
}

/// Matrix products of every type, for few rows and for panels: equal to the last bit on all processors with fused multiply-add, and
/// up to rounding without.
#[test]
fn products_are_those_of_the_scalar_reference() {
    for dtype in
        DType::ALL.into_iter().filter(|dtype| dtype.is_quantised() && !matches!(dtype, DType::Q8_1 | DType::Q8_K))
    {
        for (m, k, n) in [(1, 256, 7), (3, 768, 16), (4, 512, 33), (13, 1280, 48), (29, 256, 1)] {
            let weight = quantised(dtype, n, k, &noise(n * k, 0.5));
            let numbers = noise(m * k, 2.0);
            let products = |level| {
                let (mut x, mut out) = (Rows::new(m, k), Rows::new(m, n));
                x.resize(m).copy_from_slice(&numbers);
                with_simd!(level, S => matmul::matmul::<S>(&mut x, &weight, &mut out));
                out.read().to_vec()
            };
            let reference = products(Level::Scalar);
            let size = reference.iter().fold(0f32, |most, x| most.max(x.abs()));
            let mut first: Option<Vec<f32>> = None;
            for level in fused_levels() {
                let found = products(level);
                for (found, reference) in found.iter().zip(&reference) {
                    let error = (found - reference).abs() / size;
                    assert!(error < 2e-6, "{}, {dtype}, {m} x {k} x {n}: {error:e}", level.name());
                }
                let first = first.get_or_insert_with(|| found.clone());
                assert_eq!(*first, found, "{}, {dtype}, {m} x {k} x {n}", level.name());
            }
        }
    }
}
