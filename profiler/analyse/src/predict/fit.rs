//! Non-negative least squares on a few features, with the error for what was not measured.

use std::collections::BTreeMap;

/// Relative error of a fit to a single point, which cannot be estimated: an assumption.
pub(super) const ALONE: f64 = 0.15;
/// The least relative error: that of the timing itself.
const FINEST: f64 = 0.01;
/// How much another feature has to lower the error to be used, relative and absolute.
const WORTH: (f64, f64) = (0.95, 1e-6);

/// One observation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point<'a> {
    /// The points that the error leaves out together, because they repeat one measurement; `None` for a point of its own.
    pub(super) group: Option<&'a str>,
    /// One value per feature.
    pub(super) features: Vec<f64>,
    /// What was measured, above 0.
    pub(super) value: f64,
    /// How much it counts.
    pub(super) weight: f64,
}

impl Point<'_> {
    /// Fitted / measured - 1.
    fn residual(&self, coefficients: &[f64]) -> f64 {
        dot(coefficients, &self.features) / self.value - 1.0
    }
}

/// `value = sum of coefficient x feature`, coefficients not negative.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fit {
    /// One per feature; 0 where it is not used.
    pub(super) coefficients: Vec<f64>,
    /// Relative standard error for what was not measured: the root mean square over leave-one-out, widened for few groups.
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
/// error     t95(g - 1) / 1.96  sqrt( sum_i w_i e_i^2 / sum_i w_i ),   e_i = fit without the group of point i at point i / v_i - 1
/// ```
///
/// Unit: that of the values; the error is relative. Relative residuals, since values span orders of magnitude. The active set is
/// found by trying all of them (Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23, on at most a handful of
/// features); of two sets that fit alike, the smaller one is taken, then the one whose features come first.
///
/// A point without a group is a group of its own.
pub(super) fn fit(points: &[Point<'_>]) -> Option<Fit> {
    let features = points.first()?.features.len();
    let groups = groups(points);
    let moments: Vec<Moments> = groups.iter().map(|group| Moments::of(group, features)).collect();
    let all = moments.iter().fold(Moments::none(features), |all, group| all.plus(group));
    let coefficients = solve(&all)?;
    let error = match groups.len() {
        1 => ALONE,
        n => left_out(&groups, &moments, features).max(FINEST) * student(n - 1) / 1.96,
    };
    Some(Fit { coefficients, error, points: points.len() })
}

/// The points by what is left out together.
fn groups<'a>(points: &'a [Point<'a>]) -> Vec<Vec<&'a Point<'a>>> {
    let mut named: BTreeMap<&str, Vec<&Point<'a>>> = BTreeMap::new();
    let mut groups = Vec::new();
    for point in points {
        match point.group {
            Some(name) => named.entry(name).or_default().push(point),
            None => groups.push(vec![point]),
        }
    }
    groups.extend(named.into_values());
    groups
}

/// The root mean square of the relative residuals of points at a fit without their group.
///
/// No closed form from the leverages: the active set without a group may be another one. The sums of all other groups are those before it
/// and those after it, which takes linear time, and loses no digits as a difference to the sums of all would.
fn left_out(groups: &[Vec<&Point<'_>>], moments: &[Moments], features: usize) -> f64 {
    let mut after = vec![Moments::none(features)];
    for group in moments[1..].iter().rev() {
        let next = after[after.len() - 1].plus(group);
        after.push(next);
    }
    let mut before = Moments::none(features);
    let (mut squares, mut weights) = (0.0, 0.0);
    for ((group, own), after) in groups.iter().zip(moments).zip(after.iter().rev()) {
        let without = solve(&before.plus(after));
        for point in group {
            let miss = without.as_ref().map_or(ALONE, |without| point.residual(without));
            squares += point.weight * miss * miss;
            weights += point.weight;
        }
        before = before.plus(own);
    }
    (squares / weights).sqrt()
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

/// The sums over points that a least-squares fit depends on, of rows `a = f sqrt(w) / v` and targets `b = sqrt(w)`.
#[derive(Debug, Clone)]
struct Moments {
    /// [features, features]: the sum of `a a^T`.
    gram: Vec<Vec<f64>>,
    /// One per feature: the sum of `a b`.
    target: Vec<f64>,
    /// The sum of `b^2`: that of the weights.
    weight: f64,
    /// Points.
    points: usize,
}

impl Moments {
    /// Of no points.
    fn none(features: usize) -> Self {
        Self { gram: vec![vec![0.0; features]; features], target: vec![0.0; features], weight: 0.0, points: 0 }
    }

    fn of(points: &[&Point<'_>], features: usize) -> Self {
        let mut sums = Self::none(features);
        for point in points {
            let root = point.weight.sqrt();
            let row: Vec<f64> = point.features.iter().map(|feature| feature * root / point.value).collect();
            for (i, value) in row.iter().enumerate() {
                sums.gram[i].iter_mut().zip(&row).for_each(|(sum, other)| *sum += value * other);
                sums.target[i] += value * root;
            }
            sums.weight += point.weight;
            sums.points += 1;
        }
        sums
    }

    /// Of these points and others.
    fn plus(&self, other: &Self) -> Self {
        let add = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<_>>();
        Self {
            gram: self.gram.iter().zip(&other.gram).map(|(a, b)| add(a, b)).collect(),
            target: add(&self.target, &other.target),
            weight: self.weight + other.weight,
            points: self.points + other.points,
        }
    }

    /// Root mean square of the relative residuals, to about 1e-8.
    ///
    /// ```text
    /// sqrt( (c^T G c - 2 c^T t + W) / W )
    /// ```
    fn misfit(&self, coefficients: &[f64]) -> f64 {
        let squares: f64 = self.gram.iter().zip(coefficients).map(|(row, value)| value * dot(row, coefficients)).sum();
        ((squares - 2.0 * dot(&self.target, coefficients) + self.weight).max(0.0) / self.weight).sqrt()
    }

    /// Weighted least squares on some of the features, by the normal equations of columns scaled to length 1; `None` where the columns
    /// depend on each other.
    fn least_squares(&self, used: &[usize]) -> Option<Vec<f64>> {
        let lengths: Vec<f64> = used.iter().map(|&column| self.gram[column][column].sqrt()).collect();
        if lengths.iter().any(|length| *length <= 0.0 || !length.is_finite()) {
            return None;
        }
        // [n, n + 1]: A^T A beside A^T b.
        let mut system: Vec<Vec<f64>> = used
            .iter()
            .zip(&lengths)
            .map(|(&i, length)| {
                let column = |(&j, other): (&usize, &f64)| self.gram[i][j] / length / other;
                used.iter().zip(&lengths).map(column).chain([self.target[i] / length]).collect()
            })
            .collect();
        let solved = eliminate(&mut system)?;
        Some(solved.iter().zip(&lengths).map(|(value, length)| value / length).collect())
    }
}

/// The best non-negative coefficients; `None` without points.
fn solve(moments: &Moments) -> Option<Vec<f64>> {
    let features = moments.target.len();
    let mut best: Option<(f64, Vec<f64>)> = None;
    let mut sets: Vec<u32> = (1..1u32 << features).collect();
    sets.sort_by_key(|set| set.count_ones());
    for set in sets {
        let used: Vec<usize> = (0..features).filter(|feature| set & (1 << feature) != 0).collect();
        if used.len() > moments.points {
            continue;
        }
        let Some(found) = moments.least_squares(&used).filter(|found| found.iter().all(|value| *value >= 0.0)) else {
            continue;
        };
        let mut coefficients = vec![0.0; features];
        for (feature, value) in used.into_iter().zip(found) {
            coefficients[feature] = value;
        }
        let error = moments.misfit(&coefficients);
        if best.as_ref().is_none_or(|(known, _)| error < known * WORTH.0 - WORTH.1) {
            best = Some((error, coefficients));
        }
    }
    best.map(|(_, coefficients)| coefficients)
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

    const MODELS: [&str; 16] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];

    fn point(model: &'static str, features: &[f64], value: f64) -> Point<'static> {
        Point { group: Some(model), features: features.to_vec(), value, weight: 1.0 }
    }

    /// The fit and the residuals by their definitions: rows instead of sums, and one fit after the other.
    mod plain {
        use super::super::*;

        pub(super) fn solve(points: &[&Point<'_>]) -> Option<Vec<f64>> {
            let features = points.first()?.features.len();
            let mut sets: Vec<Vec<usize>> = (1..1u32 << features)
                .map(|set| (0..features).filter(|at| set & (1 << at) != 0).collect())
                .filter(|set: &Vec<usize>| set.len() <= points.len())
                .collect();
            sets.sort_by_key(Vec::len);
            let mut best: Option<(f64, Vec<f64>)> = None;
            for set in sets {
                let Some(coefficients) = on(points, &set, features) else { continue };
                let error = rms(points.iter().map(|point| (point.weight, point.residual(&coefficients))));
                if best.as_ref().is_none_or(|(known, _)| error < known * WORTH.0 - WORTH.1) {
                    best = Some((error, coefficients));
                }
            }
            best.map(|(_, coefficients)| coefficients)
        }

        /// Orthogonal columns by Gram and Schmidt, instead of normal equations.
        fn on(points: &[&Point<'_>], set: &[usize], features: usize) -> Option<Vec<f64>> {
            let column = |at: usize| -> Vec<f64> {
                points.iter().map(|point| point.features[at] * point.weight.sqrt() / point.value).collect()
            };
            let target: Vec<f64> = points.iter().map(|point| point.weight.sqrt()).collect();
            let mut orthogonal: Vec<Vec<f64>> = Vec::new();
            let mut upper = vec![vec![0.0; set.len()]; set.len()];
            for (j, &at) in set.iter().enumerate() {
                let mut rest = column(at);
                let whole = dot(&rest, &rest).sqrt();
                for (i, known) in orthogonal.iter().enumerate() {
                    upper[i][j] = dot(known, &rest);
                    rest.iter_mut().zip(known).for_each(|(rest, known)| *rest -= upper[i][j] * known);
                }
                let length = dot(&rest, &rest).sqrt();
                if length < 1e-5 * whole {
                    return None;
                }
                upper[j][j] = length;
                orthogonal.push(rest.iter().map(|value| value / length).collect());
            }
            let mut coefficients = vec![0.0; features];
            for i in (0..set.len()).rev() {
                let known: f64 = (i + 1..set.len()).map(|j| upper[i][j] * coefficients[set[j]]).sum();
                coefficients[set[i]] = (dot(&orthogonal[i], &target) - known) / upper[i][i];
            }
            coefficients.iter().all(|value| *value >= 0.0).then_some(coefficients)
        }

        pub(super) fn rms(residuals: impl Iterator<Item = (f64, f64)>) -> f64 {
            let sums =
                residuals.fold((0.0, 0.0), |sums, (weight, miss)| (sums.0 + weight * miss * miss, sums.1 + weight));
            (sums.0 / sums.1).sqrt()
        }
    }

    #[test]
    fn one_point_gives_a_rate_and_two_an_overhead_too() {
        let one = fit(&[point("a", &[10.0, 1.0], 20.0)]).unwrap();
        assert_eq!((one.coefficients, one.error), (vec![2.0, 0.0], ALONE));
        let two = fit(&[point("a", &[10.0, 1.0], 25.0), point("b", &[100.0, 1.0], 205.0)]).unwrap();
        assert!((two.value(&[1000.0, 1.0]) - 2005.0).abs() < 1e-6, "{two:?}");
        assert!(fit(&[]).is_none());
    }

    #[test]
    fn nothing_becomes_negative() {
        // The best line has an intercept below 0; the best one that may be used goes through 0.
        let found =
            fit(&[point("a", &[10.0, 1.0], 8.0), point("b", &[20.0, 1.0], 20.0), point("c", &[30.0, 1.0], 33.0)])
                .unwrap();
        assert!(found.coefficients[0] > 0.0 && found.coefficients[1] >= 0.0, "{found:?}");
        assert!(found.error > 0.05);
    }

    #[test]
    fn cases_of_a_model_count_as_one() {
        let truth = [("a", 10.0, 23.0), ("b", 40.0, 78.0), ("c", 90.0, 185.0), ("d", 200.0, 390.0)];
        let cases = |n: usize| {
            let of = |(model, size, value): (&'static str, f64, f64)| {
                (0..n).map(move |case| point(model, &[size, 1.0], value * (1.0 + 1e-4 * case as f64)))
            };
            fit(&truth.into_iter().flat_map(of).collect::<Vec<_>>()).unwrap()
        };
        let (one, many) = (cases(1), cases(50));
        assert_eq!((one.points, many.points), (4, 200));
        assert!((many.error / one.error - 1.0).abs() < 0.1, "{one:?} {many:?}");
        // One model says nothing of others, however often it was measured.
        let alone: Vec<Point<'_>> =
            (0..50).map(|case| point("a", &[10.0, 1.0], 20.0 + 0.01 * f64::from(case))).collect();
        assert!((fit(&alone).unwrap().error - ALONE).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn the_error_is_that_of_the_plain_loop(
            rows in proptest::collection::vec((0usize..16, 0i32..9, 0i32..6, 0.5f64..1.5, 0.01f64..1.0), 2..40),
            truth in proptest::array::uniform3(0.0f64..1.0),
            alone in 0usize..40,
        ) {
            // Sizes on a grid: columns that almost depend on each other would not have the same digits in both computations.
            let of = |&(model, a, b, noise, weight): &(usize, i32, i32, f64, f64)| {
                let features = [2f64.powi(a), 3f64.powi(b), 1.0];
                Point { weight, ..point(MODELS[model], &features, (dot(&features, &truth) + 1e-3) * noise) }
            };
            let mut points: Vec<Point<'_>> = rows.iter().map(of).collect();
            points.iter_mut().skip(alone).for_each(|point| point.group = None);
            let all: Vec<&Point<'_>> = points.iter().collect();
            let found = fit(&points).unwrap();
            let expected = plain::solve(&all).unwrap();
            for (found, expected) in found.coefficients.iter().zip(&expected) {
                prop_assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{found} {expected}");
            }
            let apart = |a: &Point<'_>, b: &Point<'_>| !std::ptr::eq(a, b) && (a.group.is_none() || a.group != b.group);
            let miss = |point: &Point<'_>| {
                let others: Vec<&Point<'_>> = points.iter().filter(|other| apart(other, point)).collect();
                (point.weight, plain::solve(&others).map_or(ALONE, |without| point.residual(&without)))
            };
            let mut firsts: Vec<&Point<'_>> = Vec::new();
            for point in &points {
                if firsts.iter().all(|first| apart(first, point)) {
                    firsts.push(point);
                }
            }
            if let [_] = firsts[..] {
                prop_assert!((found.error - ALONE).abs() < 1e-12);
                return Ok(());
            }
            let expected = plain::rms(points.iter().map(miss)).max(FINEST) * student(firsts.len() - 1) / 1.96;
            prop_assert!((found.error / expected - 1.0).abs() < 1e-6, "{} {expected}", found.error);
        }

        #[test]
        fn what_was_planted_is_found(overhead in 1e-7f64..1e-5, per_row in 1e-9f64..1e-7, rate in 1e9f64..1e11, noise in 0.0f64..0.01, seed in 0usize..7) {
            let sizes: [[f64; 2]; 7] = [
                [2048.0, 512.0], [2048.0, 2048.0], [2048.0, 8192.0], [8192.0, 2048.0], [576.0, 192.0], [576.0, 1536.0], [1536.0, 576.0],
            ];
            let features = |[inputs, outputs]: [f64; 2]| vec![inputs * outputs * 0.5625, outputs, 1.0];
            let truth = |size: [f64; 2]| size[0] * size[1] * 0.5625 / rate + per_row * size[1] + overhead;
            let points: Vec<Point<'_>> = sizes
                .iter()
                .enumerate()
                .map(|(at, size)| {
                    let sign = if (at + seed) % 2 == 0 { 1.0 } else { -1.0 };
                    point(MODELS[at], &features(*size), truth(*size) * (1.0 + noise * sign))
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
