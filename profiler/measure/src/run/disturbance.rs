//! [`DisturbanceDetector`]: finds requests that something else than the engine delayed.
//!
//! A request is disturbed if an indicator exceeds what is usual in this run: the median over the clean requests of the same model so far
//! that were not disturbed, including warm-up. A load that was there from the beginning is not a disturbance; warnings report it. A load
//! that begins later and stays disturbs every further request. No figure is changed here, but the request is repeated at the end of the
//! round.

use models::Bytes;
use record::Sample;
use statistics::{mad, median};

/// With fewer requests nothing is usual yet.
const FEWEST: usize = 3;
/// A share of processor time must exceed the usual one by this many ticks of each processor: the kernel counts whole ticks, at both ends.
const TICKS: f64 = 2.0;
/// A value that varies must exceed the usual one by this many median absolute deviations: three standard deviations of a normal
/// distribution, each of which is 1.4826 median absolute deviations.
const DEVIATIONS: f64 = 3.0 * 1.4826;
/// A frequency below this share of the usual one is a disturbance.
const SLOWED: f64 = 0.9;
/// Bytes that were swapped during a request: fewer may be an old page of some program.
const SWAPPED: u64 = 1 << 20;
/// Clock ticks per second of Linux, if the system does not report them.
const TICKS_PER_SECOND: f64 = 100.0;

/// A share that shows a disturbance if it is higher than usual.
struct Indicator {
    /// Its description before and after the number.
    words: (&'static str, &'static str),
    /// Its value, as a share of 1.
    value: fn(&Sample) -> Option<f64>,
    /// How far it must exceed the usual value.
    above: f64,
    /// Whether it is measured in clock ticks.
    in_ticks: bool,
}

/// Waiting for storage is not an indicator: writes of another program do not delay a mapped model, and waits for weights that were
/// dropped from the page cache count as waits for memory.
const INDICATORS: &[Indicator] = &[
    Indicator {
        words: ("other programs used", "of the processors"),
        value: |s| s.load_others.value(),
        above: 0.10,
        in_ticks: true,
    },
    Indicator {
        words: ("the hypervisor took", "of the processors"),
        value: |s| s.steal.value(),
        above: 0.05,
        in_ticks: true,
    },
    Indicator {
        words: ("a control group stopped the engine for", "of the latency"),
        value: |s| of_latency(s, s.throttled_s.value()),
        above: 0.02,
        in_ticks: false,
    },
    Indicator {
        words: ("tasks waited for memory for", "of the latency"),
        value: |s| of_latency(s, s.memory_stall_s.value()),
        above: 0.02,
        in_ticks: false,
    },
];

fn of_latency(sample: &Sample, seconds: Option<f64>) -> Option<f64> {
    Some(seconds? / sample.latency_s.value().filter(|&latency| latency > 0.0)?)
}

/// Totals of the machine, read before and after a clean request, while no engine computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct MachineTotals {
    /// Bytes to and from swap since boot.
    pub(super) swapped_bytes: Option<u64>,
    /// How often heat slowed a core down since boot.
    pub(super) throttle_events: Option<u64>,
}

impl MachineTotals {
    /// The disturbances since `before`, in words.
    fn since(self, before: Self) -> Vec<String> {
        let grown = |now: Option<u64>, before: Option<u64>| now.zip(before).map_or(0, |(a, b)| a.saturating_sub(b));
        let (swapped, throttles) =
            (grown(self.swapped_bytes, before.swapped_bytes), grown(self.throttle_events, before.throttle_events));
        let mut found = Vec::new();
        if swapped >= SWAPPED {
            found.push(format!("{} were swapped out or in", Bytes(swapped)));
        }
        if throttles > 0 {
            found.push(format!("heat slowed cores down {throttles} times"));
        }
        found
    }
}

/// Knows what is usual for the requests of one model.
#[derive(Debug)]
pub(super) struct DisturbanceDetector {
    ticks_per_second: f64,
    /// All values so far, for each indicator.
    seen: Vec<Vec<f64>>,
    frequencies: Vec<f64>,
}

impl DisturbanceDetector {
    /// A detector without requests. `ticks_per_second` is the unit of the kernel's processor times.
    pub(super) fn new(ticks_per_second: Option<f64>) -> Self {
        let ticks_per_second = ticks_per_second.unwrap_or(TICKS_PER_SECOND);
        Self { ticks_per_second, seen: vec![Vec::new(); INDICATORS.len()], frequencies: Vec::new() }
    }

    /// Adds a clean request that was not disturbed to what is usual.
    pub(super) fn learn(&mut self, sample: &Sample) {
        for (indicator, seen) in INDICATORS.iter().zip(&mut self.seen) {
            seen.extend((indicator.value)(sample));
        }
        self.frequencies.extend(sample.frequency_hz.value().map(|hertz| hertz as f64));
    }

    /// What disturbed a clean request, with numbers, compared with the requests before it. If nothing did, adds it to what is usual.
    pub(super) fn detect(&mut self, sample: &Sample, before: MachineTotals, after: MachineTotals) -> Option<String> {
        let mut found: Vec<String> = INDICATORS
            .iter()
            .zip(&self.seen)
            .filter_map(|(indicator, seen)| self.stands_out(indicator, seen, sample))
            .collect();
        found.extend(self.slowed(sample));
        found.extend(after.since(before));
        found.extend(others(sample));
        if found.is_empty() {
            self.learn(sample);
            return None;
        }
        Some(found.join("; "))
    }

    fn stands_out(&self, indicator: &Indicator, seen: &[f64], sample: &Sample) -> Option<String> {
        let value = (indicator.value)(sample)?;
        let (usual, varies) = usual(seen)?;
        let ticks = if indicator.in_ticks { TICKS / (sample.latency_s.value()? * self.ticks_per_second) } else { 0.0 };
        let (before, after) = indicator.words;
        (value - usual > indicator.above.max(varies).max(ticks))
            .then(|| format!("{before} {value:.2} {after} (usually {usual:.2})"))
    }

    fn slowed(&self, sample: &Sample) -> Option<String> {
        let hertz = sample.frequency_hz.value()? as f64;
        let (usual, varies) = usual(&self.frequencies)?;
        (hertz < (usual * SLOWED).min(usual - varies))
            .then(|| format!("the processors ran at {:.2} GHz (usually {:.2})", hertz / 1e9, usual / 1e9))
    }
}

/// Other clients of the server: none is usual, however often they appear.
fn others(sample: &Sample) -> Option<String> {
    let others = sample.server.as_ref()?.other_requests.filter(|&others| others > 0)?;
    let requests = if others == 1 { "request" } else { "requests" };
    Some(format!("the server worked on {others} {requests} of other clients"))
}

/// The median, and how far values usually vary around it.
fn usual(seen: &[f64]) -> Option<(f64, f64)> {
    (seen.len() >= FEWEST).then_some(())?;
    Some((median(seen)?, DEVIATIONS * mad(seen)?))
}

#[cfg(test)]
mod tests {
    use record::ServerSample;

    use super::*;

    fn sample(others: f64) -> Sample {
        Sample {
            latency_s: 1.0.into(),
            load_others: others.into(),
            steal: 0.0.into(),
            throttled_s: 0.0.into(),
            memory_stall_s: 0.0.into(),
            frequency_hz: 3_000_000_000.into(),
            ..Sample::absent("not measured")
        }
    }

    /// A detector that has seen requests with these loads.
    fn detector(loads: &[f64]) -> DisturbanceDetector {
        let mut detector = DisturbanceDetector::new(Some(100.0));
        loads.iter().for_each(|&load| detector.learn(&sample(load)));
        detector
    }

    fn detect(detector: &mut DisturbanceDetector, sample: &Sample) -> Option<String> {
        detector.detect(sample, MachineTotals::default(), MachineTotals::default())
    }

    #[test]
    fn each_indicator_is_reported_with_its_numbers() {
        let idle = [0.01, 0.0, 0.02, 0.01];
        assert_eq!(detect(&mut detector(&idle), &sample(0.05)), None);
        let detected = |change: &dyn Fn(&mut Sample)| {
            let mut changed = sample(0.01);
            change(&mut changed);
            detect(&mut detector(&idle), &changed).unwrap_or_default()
        };
        insta::assert_snapshot!(detected(&|s| s.load_others = 0.35.into()), @"other programs used 0.35 of the processors (usually 0.01)");
        insta::assert_snapshot!(detected(&|s| s.steal = 0.08.into()), @"the hypervisor took 0.08 of the processors (usually 0.00)");
        insta::assert_snapshot!(detected(&|s| s.throttled_s = 0.03.into()), @"a control group stopped the engine for 0.03 of the latency (usually 0.00)");
        insta::assert_snapshot!(detected(&|s| s.memory_stall_s = 0.5.into()), @"tasks waited for memory for 0.50 of the latency (usually 0.00)");
        insta::assert_snapshot!(detected(&|s| s.frequency_hz = 2_600_000_000.into()), @"the processors ran at 2.60 GHz (usually 3.00)");
        let two = detected(&|s| (s.load_others, s.steal) = (0.5.into(), 0.5.into()));
        assert_eq!(two.matches("(usually ").count(), 2);
    }

    #[test]
    fn other_clients_of_a_server_are_always_a_disturbance() {
        let with = |others: Option<usize>| Sample {
            server: Some(ServerSample { other_requests: others, ..ServerSample::absent("not reported") }),
            ..sample(0.0)
        };
        let mut detector = detector(&[]);
        assert_eq!(detect(&mut detector, &with(Some(0))), None);
        assert_eq!(detect(&mut detector, &with(None)), None, "an unknown number is no disturbance");
        for _ in 0..5 {
            let found = detect(&mut detector, &with(Some(2)));
            assert_eq!(found.as_deref(), Some("the server worked on 2 requests of other clients"));
        }
    }

    #[test]
    fn swap_and_heat_are_reported_by_their_growth() {
        let mut detector = detector(&[]);
        let before = MachineTotals { swapped_bytes: Some(5 << 20), throttle_events: Some(7) };
        let after = MachineTotals { swapped_bytes: Some(8 << 20), throttle_events: Some(9) };
        let text = detector.detect(&sample(0.0), before, after).unwrap();
        insta::assert_snapshot!(text, @"3.15 MB were swapped out or in; heat slowed cores down 2 times");
        assert_eq!(
            detector.detect(&sample(0.0), before, MachineTotals { swapped_bytes: Some((5 << 20) + 4096), ..before }),
            None
        );
    }

    #[test]
    fn only_a_load_that_was_not_there_before_is_a_disturbance() {
        assert_eq!(detect(&mut detector(&[0.4, 0.41, 0.39]), &sample(0.42)), None);
        let mut varying = detector(&[0.1, 0.5, 0.3, 0.2, 0.4]);
        assert_eq!(detect(&mut varying, &sample(0.6)), None);
        // A load that begins and stays never becomes usual.
        let mut rising = detector(&[0.0, 0.0, 0.0]);
        assert!((0..9).all(|_| detect(&mut rising, &sample(0.3)).is_some()));
        assert_eq!(detect(&mut rising, &sample(0.05)), None);
    }

    #[test]
    fn a_tick_of_a_short_request_is_not_a_disturbance() {
        // 0.05 s are five ticks of each processor: two of them are 0.4.
        let short = |others| Sample { latency_s: 0.05.into(), ..sample(others) };
        assert_eq!(detect(&mut detector(&[0.0, 0.0, 0.0]), &short(0.3)), None);
        assert!(detect(&mut detector(&[0.0, 0.0, 0.0]), &short(0.5)).is_some());
    }

    #[test]
    fn without_earlier_requests_nothing_is_disturbed() {
        assert_eq!(detect(&mut detector(&[0.0, 0.0]), &sample(0.9)), None);
        assert_eq!(
            detect(&mut detector(&[0.0, 0.0, 0.0]), &Sample::absent("not measured")),
            None,
            "an unknown value is not an indicator"
        );
    }
}
