//! Non-negative least squares on a few features, with the error for unseen points.

/// Relative error of a fit to a single point, which cannot be estimated: an assumption.
pub(super) const ALONE: f64 = 0.15;
/// The least relative error: that of the timing itself.
const FINEST: f64 = 0.01;
/// How much another feature has to lower the error to be used, relative and absolute.
const WORTH: (f64, f64) = (0.95, 1e-6);

/// One observation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    /// One value per feature.
    pub(super) features: Vec<f64>,
    /// What was measured, above 0.
    pub(super) value: f64,
    /// How much it counts.
    pub(super) weight: f64,
}

/// `value = sum of coefficient x feature`, coefficients not negative.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fit {
    /// One per feature; 0 where it is not used.
    pub(super) coefficients: Vec<f64>,
    /// Relative standard error for a point that was not seen: the root mean square over leave-one-out, widened for few points.
    pub(super) error: f64,
    /// Points.
    pub(super) points: usize,
}

impl Fit {
    /// The value for these features.
    pub(super) fn value(&self, features: &[f64]) -> f64 {
        dot(&self.coefficients, features)
    }
}

/// Fits points that share their features; `None` without any.
///
/// ```text
/// minimise  sum_i  w_i ((sum_j c_j f_ij) / v_i - 1)^2   over c_j >= 0
/// error     t95(n - 1) / 1.96  sqrt( sum_i w_i e_i^2 / sum_i w_i ),   e_i = fit without point i at point i / v_i - 1
/// ```
///
/// Unit: that of the values; the error is relative. Relative residuals, since values span orders of magnitude. The active set is
/// found by trying all of them (Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23, on at most a handful of
/// features); of two sets that fit alike, the smaller one is taken, then the one whose features come first.
pub(super) fn fit(points: &[Point]) -> Option<Fit> {
    let coefficients = solve(points)?;
    let misses = (points.len() > 1).then(|| {
        let sum = (0..points.len()).fold((0.0, 0.0), |(squares, weights), out| {
            let others: Vec<Point> =
                points.iter().enumerate().filter(|(at, _)| *at != out).map(|(_, point)| point.clone()).collect();
            let point = &points[out];
            let miss = solve(&others).map_or(ALONE, |without| dot(&without, &point.features) / point.value - 1.0);
            (squares + point.weight * miss * miss, weights + point.weight)
        });
        (sum.0 / sum.1).sqrt()
    });
    let error = misses.map_or(ALONE, |rms| rms.max(FINEST) * student(points.len() - 1) / 1.96);
    Some(Fit { coefficients, error, points: points.len() })
}

/// The 97.5 % point of Student's t for so many degrees of freedom, at least 2. Source: the usual tables; between the entries the
/// next smaller one, which is wider.
fn student(freedom: usize) -> f64 {
    const TABLE: [(usize, f64); 10] = [
        (30, 2.04),
        (20, 2.09),
        (14, 2.14),
        (10, 2.23),
        (8, 2.31),
        (6, 2.45),
        (5, 2.57),
        (4, 2.78),
        (3, 3.18),
        (0, 4.30),
    ];
    TABLE.iter().find(|(least, _)| freedom >= *least).map_or(4.30, |(_, value)| *value)
}

/// The best non-negative coefficients.
fn solve(points: &[Point]) -> Option<Vec<f64>> {
    let features = points.first()?.features.len();
    let mut best: Option<(f64, Vec<f64>)> = None;
    let mut sets: Vec<u32> = (1..1u32 << features).collect();
    sets.sort_by_key(|set| set.count_ones());
    for set in sets {
        let used: Vec<usize> = (0..features).filter(|feature| set & (1 << feature) != 0).collect();
        if used.len() > points.len() {
            continue;
        }
        let Some(found) = least_squares(points, &used).filter(|found| found.iter().all(|value| *value >= 0.0)) else {
            continue;
        };
        let mut coefficients = vec![0.0; features];
        for (feature, value) in used.into_iter().zip(found) {
            coefficients[feature] = value;
        }
        let error = misfit(points, &coefficients);
        if best.as_ref().is_none_or(|(known, _)| error < known * WORTH.0 - WORTH.1) {
            best = Some((error, coefficients));
        }
    }
    best.map(|(_, coefficients)| coefficients)
}

/// Root mean square of the relative residuals.
fn misfit(points: &[Point], coefficients: &[f64]) -> f64 {
    let (squares, weights) = points.iter().fold((0.0, 0.0), |(squares, weights), point| {
        let miss = dot(coefficients, &point.features) / point.value - 1.0;
        (squares + point.weight * miss * miss, weights + point.weight)
    });
    (squares / weights).sqrt()
}

/// Weighted least squares on some of the features, by the normal equations of columns scaled to length 1; `None` where the columns
/// depend on each other.
fn least_squares(points: &[Point], used: &[usize]) -> Option<Vec<f64>> {
    let n = used.len();
    let row = |point: &Point| -> (Vec<f64>, f64) {
        let scale = point.weight.sqrt() / point.value;
        (used.iter().map(|&feature| point.features[feature] * scale).collect(), point.weight.sqrt())
    };
    let rows: Vec<(Vec<f64>, f64)> = points.iter().map(row).collect();
    let length = |column: usize| rows.iter().map(|(row, _)| row[column] * row[column]).sum::<f64>().sqrt();
    let lengths: Vec<f64> = (0..n).map(length).collect();
    if lengths.iter().any(|length| *length <= 0.0 || !length.is_finite()) {
        return None;
    }
    // [n, n + 1]: A^T A beside A^T b.
    let mut system: Vec<Vec<f64>> = (0..n)
        .map(|i| {
            let column = |j: usize| rows.iter().map(|(row, _)| row[i] / lengths[i] * row[j] / lengths[j]).sum::<f64>();
            let target = rows.iter().map(|(row, target)| row[i] / lengths[i] * target).sum::<f64>();
            (0..n).map(column).chain([target]).collect()
        })
        .collect();
    let solved = eliminate(&mut system)?;
    Some(solved.iter().zip(&lengths).map(|(value, length)| value / length).collect())
}

/// Gaussian elimination with pivots; `None` where the matrix is singular to working precision.
fn eliminate(system: &mut [Vec<f64>]) -> Option<Vec<f64>> {
    let n = system.len();
    for column in 0..n {
        let pivot = (column..n).max_by(|&a, &b| system[a][column].abs().total_cmp(&system[b][column].abs()))?;
        if system[pivot][column].abs() < 1e-9 {
            return None;
        }
        system.swap(column, pivot);
        for row in column + 1..n {
            let (above, below) = system.split_at_mut(row);
            let factor = below[0][column] / above[column][column];
            for (value, pivot) in below[0].iter_mut().zip(&above[column]).skip(column) {
                *value -= factor * pivot;
            }
        }
    }
    let mut values = vec![0.0; n];
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|at| system[row][at] * values[at]).sum();
        values[row] = (system[row][n] - known) / system[row][row];
    }
    Some(values)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(features: &[f64], value: f64) -> Point {
        Point { features: features.to_vec(), value, weight: 1.0 }
    }

    #[test]
    fn one_point_gives_a_rate_and_two_an_overhead_too() {
        let one = fit(&[point(&[10.0, 1.0], 20.0)]).unwrap();
        assert_eq!((one.coefficients, one.error), (vec![2.0, 0.0], ALONE));
        let two = fit(&[point(&[10.0, 1.0], 25.0), point(&[100.0, 1.0], 205.0)]).unwrap();
        assert!((two.value(&[1000.0, 1.0]) - 2005.0).abs() < 1e-6, "{two:?}");
        assert!(fit(&[]).is_none());
    }

    #[test]
    fn nothing_becomes_negative() {
        // The best line has an intercept below 0; the best one that may be used goes through 0.
        let found = fit(&[point(&[10.0, 1.0], 8.0), point(&[20.0, 1.0], 20.0), point(&[30.0, 1.0], 33.0)]).unwrap();
        assert!(found.coefficients[0] > 0.0 && found.coefficients[1] >= 0.0, "{found:?}");
        assert!(found.error > 0.05);
    }

    proptest! {
        #[test]
        fn what_was_planted_is_found(overhead in 1e-7f64..1e-5, per_row in 1e-9f64..1e-7, rate in 1e9f64..1e11, noise in 0.0f64..0.01, seed in 0usize..7) {
            let sizes: [[f64; 2]; 7] = [
                [2048.0, 512.0], [2048.0, 2048.0], [2048.0, 8192.0], [8192.0, 2048.0], [576.0, 192.0], [576.0, 1536.0], [1536.0, 576.0],
            ];
            let features = |[inputs, outputs]: [f64; 2]| vec![inputs * outputs * 0.5625, outputs, 1.0];
            let truth = |size: [f64; 2]| size[0] * size[1] * 0.5625 / rate + per_row * size[1] + overhead;
            let points: Vec<Point> = sizes
                .iter()
                .enumerate()
                .map(|(at, size)| {
                    let sign = if (at + seed) % 2 == 0 { 1.0 } else { -1.0 };
                    Point { features: features(*size), value: truth(*size) * (1.0 + noise * sign), weight: 1.0 }
                })
                .collect();
            let found = fit(&points).unwrap();
            let unseen = [3072.0, 8192.0];
            let miss = found.value(&features(unseen)) / truth(unseen) - 1.0;
            prop_assert!(miss.abs() < 0.001 + 6.0 * noise, "{miss} {found:?}");
            prop_assert!(miss.abs() < 1.96 * found.error, "{miss} outside {}", found.error);
        }
    }
}
