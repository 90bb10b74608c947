//! The gaps between tokens over time: warm-up, trend and stalls.

use super::intervals::gaps;
use record::{Case, Reason, Reasons, Sample, Series, Slope, Stall};
use statistics::{median, slope};

/// A gap so many times the median of its request is a stall.
const STALL: f64 = 3.0;
/// Tokens at the beginning that are slower than the rest by more than this share are warm-up.
const SLOWER: f64 = 0.10;
/// Fewer gaps after the warm-up do not support a trend, which is given per as many tokens or more.
const LEAST_GAPS_OF_TREND: usize = 100;
/// Stalls that are kept, the longest ones.
const MOST_STALLS: usize = 100;

/// The series of a case; `None` where no clean sample has two tokens.
///
/// Each in seconds, with g_i(r) the gap before token i + 2 in round r of the clean pass, warm-up requests left out:
/// ```text
/// median_gap_i = median over r of g_i(r)                    low_i, high_i = least and most over r
/// warm-up      = the first k gaps, each > 1.1 x median of all median_gap; k ends at the first that is not
/// trend        = least-squares slope of median_gap over i after the warm-up, x 1,000; of at least 100 gaps
/// stall        = g_i(r) > 3 x median over i of g_i(r), of any pass
/// ```
/// Medians over rounds leave single stalls out of the trend.
pub fn series(case: &Case) -> Option<Series> {
    let rounds: Vec<Vec<f64>> = case.clean_samples().map(gaps).filter(|gaps| !gaps.is_empty()).collect();
    let longest = rounds.iter().map(Vec::len).max()?;
    let at = |place: usize| rounds.iter().filter_map(|gaps| gaps.get(place).copied()).collect::<Vec<f64>>();
    let median_gap_s: Vec<f64> = (0..longest).filter_map(|place| median(&at(place))).collect();
    let middle = median(&median_gap_s)?;
    let warm_up_tokens = median_gap_s.iter().take_while(|&&gap| gap > middle * (1.0 + SLOWER)).count();
    let steady: Vec<(f64, f64)> =
        median_gap_s.iter().enumerate().skip(warm_up_tokens).map(|(place, &gap)| (place as f64, gap)).collect();
    let trend = slope(&steady).filter(|trend| trend.n >= LEAST_GAPS_OF_TREND).map(|mut trend| {
        for end in [&mut trend.value, &mut trend.low, &mut trend.high] {
            *end *= 1000.0;
        }
        trend
    });
    let instrumented = case.stepped.iter().chain(&case.traced).filter(|sample| sample.counts());
    let mut stalls: Vec<Stall> = case.clean_samples().chain(instrumented).flat_map(stalls).collect();
    let stall_count = stalls.len();
    stalls.sort_by(|a, b| b.gap_s.total_cmp(&a.gap_s));
    stalls.truncate(MOST_STALLS);
    Some(Series {
        low_gap_s: (0..longest).map(|place| at(place).into_iter().fold(f64::INFINITY, f64::min)).collect(),
        high_gap_s: (0..longest).map(|place| at(place).into_iter().fold(0.0, f64::max)).collect(),
        median_gap_s,
        warm_up_tokens,
        trend_s_per_1000: trend.ok_or_else(|| too_few(steady.len())).into(),
        stalls,
        stall_count,
        notes: Reasons::new(),
    })
}

/// The trend, where the data support one: enough gaps, and an interval that excludes 0.
#[must_use]
pub fn supported_trend(series: &Series) -> Option<Slope> {
    let trend = series.trend_s_per_1000.value()?;
    (trend.n >= LEAST_GAPS_OF_TREND && (trend.low > 0.0 || trend.high < 0.0)).then_some(trend)
}

fn too_few(gaps: usize) -> Reason {
    Reason::new(format!("{gaps} gaps follow the warm-up, {LEAST_GAPS_OF_TREND} are needed"))
}

/// The stalls of one request.
fn stalls(sample: &Sample) -> Vec<Stall> {
    let gaps = gaps(sample);
    let Some(middle) = median(&gaps).filter(|&middle| middle > 0.0) else { return Vec::new() };
    let stall = |(place, gap): (usize, &f64)| {
        let at_s = sample.token_times_s.get(place).copied().unwrap_or_default();
        Stall {
            pass: sample.pass,
            round: sample.round,
            // Gap 0 is before the second token.
            token: place + 2,
            gap_s: *gap,
            median_s: middle,
            at_s,
            trace_us: sample.trace_us.clone().map(|start| start + at_s * 1e6),
            notes: Reasons::new(),
        }
    };
    gaps.iter().enumerate().filter(|(_, gap)| **gap > STALL * middle).map(stall).collect()
}

#[cfg(test)]
mod tests {
    use record::RecordedList;

    use super::*;

    /// A request whose first token comes after a second, and whose gaps these are.
    fn sample(round: usize, gaps: &[f64]) -> Sample {
        let mut times = vec![1.0];
        times.extend(gaps.iter().scan(1.0, |at, gap| {
            *at += gap;
            Some(*at)
        }));
        Sample { round, token_times_s: RecordedList::new(times, "unused"), ..Sample::absent("not measured") }
    }

    fn case(samples: Vec<Sample>) -> Case {
        Case { samples, ..Case::default() }
    }

    #[test]
    fn the_median_is_taken_position_by_position() {
        let found =
            series(&case(vec![sample(0, &[1.0, 2.0]), sample(1, &[3.0, 2.0]), sample(2, &[2.0, 5.0, 2.0])])).unwrap();
        for (found, expected) in [
            (&found.median_gap_s, [2.0, 2.0, 2.0]),
            (&found.low_gap_s, [1.0, 2.0, 2.0]),
            (&found.high_gap_s, [3.0, 5.0, 2.0]),
        ] {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?}");
        }
        assert_eq!(found.stall_count, 0);
    }

    #[test]
    fn slow_first_tokens_are_warm_up_and_not_part_of_the_trend() {
        let mut gaps = vec![0.9, 0.5];
        gaps.extend((0..200).map(|place| 0.1 + 1e-5 * f64::from(place)));
        let found = series(&case(vec![sample(0, &gaps)])).unwrap();
        assert_eq!(found.warm_up_tokens, 2);
        let trend = found.trend_s_per_1000.value().unwrap();
        assert!((trend.value - 0.01).abs() < 1e-6 && trend.low <= trend.value && trend.n == 200, "{trend:?}");
    }

    #[test]
    fn few_gaps_support_no_trend() {
        let rising = |gaps: i32| (0..gaps).map(|place| 0.1 + 1e-4 * f64::from(place)).collect::<Vec<f64>>();
        let trend = |gaps: i32| series(&case(vec![sample(0, &rising(gaps))])).unwrap().trend_s_per_1000;
        assert_eq!(trend(31).reason().unwrap(), &"31 gaps follow the warm-up, 100 are needed");
        assert_eq!(trend(99).value(), None);
        assert!(trend(100).is_present());
        let swinging = |slope: f64| {
            (0..120).map(|place| 0.1 + slope * f64::from(place) + 0.01 * f64::from(place % 2)).collect::<Vec<f64>>()
        };
        let supported =
            |slope: f64| supported_trend(&series(&case(vec![sample(0, &swinging(slope))])).unwrap()).is_some();
        assert!(supported(1e-3) && !supported(0.0), "an interval that includes 0 is no trend");
    }

    #[test]
    fn a_stall_has_its_position_in_time_and_trace() {
        let stalled = Sample { trace_us: 5e6.into(), ..sample(1, &[0.1, 0.1, 0.4, 0.1, 0.1]) };
        let found = series(&case(vec![sample(0, &[0.1; 5]), stalled])).unwrap();
        assert_eq!(found.stall_count, 1);
        let stall = &found.stalls[0];
        assert_eq!((stall.round, stall.token, stall.pass), (1, 4, record::Pass::Clean));
        assert!((stall.gap_s - 0.4).abs() < 1e-9 && (stall.at_s - 1.2).abs() < 1e-9);
        assert!((stall.trace_us.value().unwrap() - 6.2e6).abs() < 1e-3);
    }

    #[test]
    fn warm_up_requests_and_single_tokens_have_no_series() {
        let warm = Sample { warmup: true, ..sample(0, &[0.1, 0.1]) };
        assert_eq!(series(&case(vec![warm, sample(0, &[])])), None);
    }
}
