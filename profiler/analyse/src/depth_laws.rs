//! The time of a token against the context, for runs with several depths.

use std::collections::BTreeMap;

use engine_api::Phase;
use record::{Case, DepthLaw, OpGrowth, Pass, Reason, RunFile, Sample};

/// Ops with a smaller share of the growth are not listed.
const LEAST_SHARE: f64 = 0.01;

/// One law for each engine, model and thread count with at least two depths:
///
/// ```text
/// x = (depth + prompt + output / 2) / 1000    thousands of tokens in the context in the middle of the answer
/// y = 1000 / decode_tps                       ms per token, of every clean request
/// growth = least-squares slope of y over x, with its interval; start = mean y - growth mean x
/// of an op   the slope of its time in decode / (output - 1), over the same x, from the traced requests
/// ```
///
/// A line describes attention and the cache that it reads: both grow with each token. Where the law is not a line, its residuals make the
/// interval wider.
pub(crate) fn depth_laws(file: &RunFile) -> Vec<DepthLaw> {
    let mut groups: BTreeMap<(&str, &str, usize), Vec<&Case>> = BTreeMap::new();
    for case in &file.cases {
        groups.entry((&case.engine, &case.model, case.threads)).or_default().push(case);
    }
    let mut laws = Vec::new();
    for ((engine, model, threads), cases) in groups {
        let mut depths: Vec<usize> = cases.iter().map(|case| case.depth).collect();
        depths.sort_unstable();
        depths.dedup();
        if depths.len() < 2 {
            continue;
        }
        let points: Vec<(f64, f64)> = cases.iter().flat_map(|case| points(case)).collect();
        let growth = statistics::slope(&points).ok_or_else(|| {
            Reason::new(format!(
                "a line with an interval takes three requests at two depths; there are {}",
                points.len()
            ))
        });
        let start = growth.clone().and_then(|growth| {
            let mean = |of: fn(&(f64, f64)) -> f64| statistics::mean(&points.iter().map(of).collect::<Vec<_>>());
            let (x, y) = mean(|point| point.0).zip(mean(|point| point.1)).ok_or_else(|| Reason::new("no request"))?;
            Ok(y - growth.value * x)
        });
        laws.push(DepthLaw {
            engine: engine.to_owned(),
            model: model.to_owned(),
            threads,
            depths,
            growth_ms: growth.into(),
            at_start_ms: start.into(),
            ops: ops(&cases),
            ..DepthLaw::absent("not computed")
        });
    }
    laws
}

/// Thousands of tokens in the context in the middle of an answer.
fn context(case: &Case, sample: &Sample) -> Option<f64> {
    let (prompt, output) = (sample.prompt_tokens.value()?, sample.output_tokens.value()?);
    Some((case.depth as f64 + prompt as f64 + output as f64 / 2.0) / 1000.0)
}

/// Context and ms per token of every clean request whose rate is a measurement.
fn points(case: &Case) -> Vec<(f64, f64)> {
    let of = |sample: &Sample| {
        let rate = sample.decode_tps.value().filter(|rate| *rate > 0.0)?;
        let is_estimated = sample.estimated.contains_key("decode_tps");
        (!is_estimated).then_some((context(case, sample)?, 1000.0 / rate))
    };
    case.clean_samples().filter_map(of).collect()
}

/// The growth of each op, the largest first.
fn ops(cases: &[&Case]) -> Vec<OpGrowth> {
    let mut points: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for case in cases {
        let Some((sample, steps)) = traced(case) else { continue };
        let Some(x) = context(case, sample) else { continue };
        for row in case.ops.iter().filter(|row| row.phase == Phase::Decode) {
            points.entry(&row.op).or_default().push((x, 1000.0 * row.time_s / steps));
        }
    }
    let growths: Vec<(&str, f64)> =
        points.iter().filter_map(|(op, points)| Some((*op, statistics::line_slope(points)?))).collect();
    let total: f64 = growths.iter().map(|(_, growth)| growth).sum();
    if total <= 0.0 {
        return Vec::new();
    }
    let mut found: Vec<OpGrowth> = growths
        .into_iter()
        .map(|(op, growth_ms)| OpGrowth { op: op.to_owned(), growth_ms, share: growth_ms / total })
        .filter(|growth| growth.share.abs() >= LEAST_SHARE)
        .collect();
    found.sort_by(|a, b| b.growth_ms.total_cmp(&a.growth_ms));
    found
}

/// A traced request of a case with its number of decode steps.
fn traced(case: &Case) -> Option<(&Sample, f64)> {
    let sample = case.traced.iter().find(|sample| sample.pass == Pass::Traced && !sample.repeated)?;
    let steps = sample.output_tokens.value()?.checked_sub(1).filter(|steps| *steps > 0)?;
    Some((sample, steps as f64))
}

#[cfg(test)]
mod tests {
    use record::OpRow;

    use super::*;

    fn sample(pass: Pass, prompt: usize, output: usize, ms: f64) -> Sample {
        Sample {
            pass,
            prompt_tokens: prompt.into(),
            output_tokens: output.into(),
            decode_tps: (1000.0 / ms).into(),
            ..Sample::absent("not measured")
        }
    }

    /// Each token takes 10 ms and 4 ms more for each 1,000 tokens, of which attention has 3.
    fn file(depths: &[usize], noise: f64) -> RunFile {
        let case = |&depth: &usize| {
            let x = (depth as f64 + 90.0 + 10.0) / 1000.0;
            let clean = [1.0, -1.0].map(|sign| sample(Pass::Clean, 90, 20, 10.0 + 4.0 * x + sign * noise));
            let row = |op: &str, ms: f64| OpRow {
                phase: Phase::Decode.into(),
                op: op.to_owned(),
                time_s: ms * 19.0 / 1000.0,
                ..OpRow::absent("not measured")
            };
            Case {
                engine: "candle".to_owned(),
                model: "m".to_owned(),
                threads: 2,
                depth,
                samples: clean.to_vec(),
                traced: vec![sample(Pass::Traced, 90, 20, 20.0)],
                ops: [row("attention", 1.0 + 3.0 * x), row("q_proj", 5.0), row("kv_write", 0.1 + x)].into(),
                ..Case::default()
            }
        };
        RunFile { cases: depths.iter().map(case).collect(), ..RunFile::default() }
    }

    #[test]
    fn a_line_is_found_and_its_growth_is_divided_among_ops() {
        let laws = depth_laws(&file(&[0, 1000, 4000], 0.0));
        let [law] = laws.as_slice() else { panic!("one engine, one law") };
        let growth = law.growth_ms.value().unwrap();
        assert!((growth.value - 4.0).abs() < 1e-9 && growth.high - growth.low < 1e-6 && growth.n == 6, "{growth:?}");
        assert!((law.at_start_ms.value().unwrap() - 10.0).abs() < 1e-9);
        assert_eq!(law.depths, [0, 1000, 4000]);
        let found: Vec<(&str, i64)> =
            law.ops.iter().map(|op| (op.op.as_str(), (100.0 * op.share).round() as i64)).collect();
        assert_eq!(found, [("attention", 75), ("kv_write", 25)]);
    }

    #[test]
    fn noise_makes_the_interval_wider() {
        let width = |noise| {
            let laws = depth_laws(&file(&[0, 2000], noise));
            let growth = laws[0].growth_ms.value().unwrap();
            assert!(growth.low <= 4.0 && 4.0 <= growth.high);
            growth.high - growth.low
        };
        assert!(width(0.5) > 5.0 * width(0.05));
    }

    #[test]
    fn one_depth_has_no_law_and_few_requests_have_a_reason() {
        assert!(depth_laws(&file(&[512], 0.1)).is_empty());
        let mut two = file(&[0, 512], 0.1);
        two.cases.iter_mut().for_each(|case| case.samples.truncate(1));
        let laws = depth_laws(&two);
        assert!(laws[0].growth_ms.stated_reason().is_some_and(|reason| reason.to_string().contains("there are 2")));
        // Ops need no interval.
        assert_eq!(laws[0].ops[0].op, "attention");
    }
}
