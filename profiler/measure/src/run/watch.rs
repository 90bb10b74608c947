//! Tells spells: times in which something else than the engine held requests up.
//!
//! A request lies in a spell where a sign stands out from what is usual in this run: the median over the clean requests of the same
//! model so far, warm-up included. What is always there is no spell: warnings tell of it. No figure is changed here; what follows
//! from a spell is [`super::round`]'s.

use models::Bytes;

use meter::environment::{swapped_bytes, throttle_events_now};
use meter::root::Root;
use record::Sample;
use statistics::{mad, median};

/// Requests before which nothing is usual yet.
const FEWEST: usize = 3;
/// A share of processor time must stand out by so many ticks of each processor: the kernel counts whole ones, at both ends.
const TICKS: f64 = 2.0;
/// Whatever varies must stand out by so many median absolute deviations: three standard deviations of a normal distribution, each
/// of which is 1.4826 of them.
const DEVIATIONS: f64 = 3.0 * 1.4826;
/// Frequency over the usual one.
const SLOWED: f64 = 0.9;
/// Bytes that went to or came from swap during a request: less is some program's old page.
const SWAPPED: u64 = 1 << 20;
/// Ticks per second of Linux's accounts, where they cannot be asked.
const TICKS_PER_SECOND: f64 = 100.0;

/// A share that tells of a spell where it is higher than usual.
struct Sign {
    /// What it is, before and behind the number.
    words: (&'static str, &'static str),
    /// Reads it: a share of 1.
    value: fn(&Sample) -> Option<f64>,
    /// How far above the usual.
    above: f64,
    /// Whether it is counted in ticks.
    in_ticks: bool,
}

/// Waiting for storage is no sign: another program's writes cost a mapped model nothing, and weights that were dropped are waited for
/// as memory.
const SIGNS: &[Sign] = &[
    Sign { words: ("others used", "of the processors"), value: |s| s.load_others, above: 0.10, in_ticks: true },
    Sign { words: ("the hypervisor took", "of the processors"), value: |s| s.steal, above: 0.05, in_ticks: true },
    Sign {
        words: ("a control group stopped the engine for", "of the latency"),
        value: |s| of_latency(s, s.throttled_s),
        above: 0.02,
        in_ticks: false,
    },
    Sign {
        words: ("tasks waited for memory for", "of the latency"),
        value: |s| of_latency(s, s.memory_stall_s),
        above: 0.02,
        in_ticks: false,
    },
];

fn of_latency(sample: &Sample, seconds: Option<f64>) -> Option<f64> {
    Some(seconds? / sample.latency_s.filter(|&latency| latency > 0.0)?)
}

/// Totals of the machine that are read around a clean request, while no engine computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Edge {
    /// Bytes to and from swap since boot.
    swapped: Option<u64>,
    /// Times that a core was slowed down by heat since boot.
    throttles: Option<u64>,
}

impl Edge {
    pub(super) fn now() -> Self {
        Self { swapped: swapped_bytes(&Root::system()).ok(), throttles: throttle_events_now() }
    }

    /// What happened since `before`, in words.
    fn since(self, before: Self) -> Vec<String> {
        let grown = |now: Option<u64>, before: Option<u64>| now.zip(before).map_or(0, |(a, b)| a.saturating_sub(b));
        let (swapped, throttles) = (grown(self.swapped, before.swapped), grown(self.throttles, before.throttles));
        let mut found = Vec::new();
        if swapped >= SWAPPED {
            found.push(format!("{} went to or came from swap", Bytes(swapped)));
        }
        if throttles > 0 {
            found.push(format!("cores were slowed down by heat {throttles} times"));
        }
        found
    }
}

/// What is usual for the requests of one model.
#[derive(Debug)]
pub(super) struct Watch {
    ticks_per_second: f64,
    /// Of each sign, all values so far.
    seen: Vec<Vec<f64>>,
    frequencies: Vec<f64>,
}

impl Watch {
    /// Nothing is usual yet. `ticks_per_second` is of the kernel's accounts of processor time.
    pub(super) fn new(ticks_per_second: Option<f64>) -> Self {
        let ticks_per_second = ticks_per_second.unwrap_or(TICKS_PER_SECOND);
        Self { ticks_per_second, seen: vec![Vec::new(); SIGNS.len()], frequencies: Vec::new() }
    }

    /// Learns from a clean request.
    pub(super) fn see(&mut self, sample: &Sample) {
        for (sign, seen) in SIGNS.iter().zip(&mut self.seen) {
            seen.extend((sign.value)(sample));
        }
        self.frequencies.extend(sample.frequency_hz.map(|hertz| hertz as f64));
    }

    /// Whether a clean request lies in a spell, by what was seen before it: what held it up, with numbers. Learns from it.
    pub(super) fn judge(&mut self, sample: &Sample, before: Edge, after: Edge) -> Option<String> {
        let mut found: Vec<String> =
            SIGNS.iter().zip(&self.seen).filter_map(|(sign, seen)| self.stands_out(sign, seen, sample)).collect();
        found.extend(self.slowed(sample));
        found.extend(after.since(before));
        self.see(sample);
        (!found.is_empty()).then(|| found.join("; "))
    }

    fn stands_out(&self, sign: &Sign, seen: &[f64], sample: &Sample) -> Option<String> {
        let value = (sign.value)(sample)?;
        let (usual, varies) = usual(seen)?;
        let ticks = if sign.in_ticks { TICKS / (sample.latency_s? * self.ticks_per_second) } else { 0.0 };
        let (before, behind) = sign.words;
        (value - usual > sign.above.max(varies).max(ticks))
            .then(|| format!("{before} {value:.2} {behind}, {usual:.2} is usual"))
    }

    fn slowed(&self, sample: &Sample) -> Option<String> {
        let hertz = sample.frequency_hz? as f64;
        let (usual, varies) = usual(&self.frequencies)?;
        (hertz < (usual * SLOWED).min(usual - varies))
            .then(|| format!("the processors ran at {:.2} GHz, {:.2} is usual", hertz / 1e9, usual / 1e9))
    }
}

/// The median, and how much the values vary around it anyway.
fn usual(seen: &[f64]) -> Option<(f64, f64)> {
    (seen.len() >= FEWEST).then_some(())?;
    Some((median(seen)?, DEVIATIONS * mad(seen)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(others: f64) -> Sample {
        Sample {
            latency_s: Some(1.0),
            load_others: Some(others),
            steal: Some(0.0),
            throttled_s: Some(0.0),
            memory_stall_s: Some(0.0),
            frequency_hz: Some(3_000_000_000),
            ..Sample::default()
        }
    }

    /// One that has seen requests with these loads.
    fn watch(loads: &[f64]) -> Watch {
        let mut watch = Watch::new(Some(100.0));
        loads.iter().for_each(|&load| watch.see(&sample(load)));
        watch
    }

    fn judge(watch: &mut Watch, sample: &Sample) -> Option<String> {
        watch.judge(sample, Edge::default(), Edge::default())
    }

    #[test]
    fn each_sign_is_told_with_its_numbers() {
        let quiet = [0.01, 0.0, 0.02, 0.01];
        assert_eq!(judge(&mut watch(&quiet), &sample(0.05)), None);
        let told = |change: &dyn Fn(&mut Sample)| {
            let mut changed = sample(0.01);
            change(&mut changed);
            judge(&mut watch(&quiet), &changed).unwrap_or_default()
        };
        insta::assert_snapshot!(told(&|s| s.load_others = Some(0.35)), @"others used 0.35 of the processors, 0.01 is usual");
        insta::assert_snapshot!(told(&|s| s.steal = Some(0.08)), @"the hypervisor took 0.08 of the processors, 0.00 is usual");
        insta::assert_snapshot!(told(&|s| s.throttled_s = Some(0.03)), @"a control group stopped the engine for 0.03 of the latency, 0.00 is usual");
        insta::assert_snapshot!(told(&|s| s.memory_stall_s = Some(0.5)), @"tasks waited for memory for 0.50 of the latency, 0.00 is usual");
        insta::assert_snapshot!(told(&|s| s.frequency_hz = Some(2_600_000_000)), @"the processors ran at 2.60 GHz, 3.00 is usual");
        let two = told(&|s| (s.load_others, s.steal) = (Some(0.5), Some(0.5)));
        assert_eq!(two.matches("is usual").count(), 2);
    }

    #[test]
    fn swap_and_heat_are_told_by_what_they_grew() {
        let mut watch = watch(&[]);
        let before = Edge { swapped: Some(5 << 20), throttles: Some(7) };
        let after = Edge { swapped: Some(8 << 20), throttles: Some(9) };
        let text = watch.judge(&sample(0.0), before, after).unwrap();
        insta::assert_snapshot!(text, @"3.15 MB went to or came from swap; cores were slowed down by heat 2 times");
        assert_eq!(watch.judge(&sample(0.0), before, Edge { swapped: Some((5 << 20) + 4096), ..before }), None);
    }

    #[test]
    fn constant_load_is_no_spell_and_load_that_varies_is_none_either() {
        assert_eq!(judge(&mut watch(&[0.4, 0.41, 0.39]), &sample(0.42)), None);
        let mut restless = watch(&[0.1, 0.5, 0.3, 0.2, 0.4]);
        assert_eq!(judge(&mut restless, &sample(0.6)), None);
        // What goes on becomes usual.
        let mut spell = watch(&[0.0, 0.0, 0.0]);
        assert!(judge(&mut spell, &sample(0.3)).is_some());
        (0..6).for_each(|_| spell.see(&sample(0.3)));
        assert_eq!(judge(&mut spell, &sample(0.3)), None);
    }

    #[test]
    fn a_tick_of_a_short_request_is_no_spell() {
        // 0.05 s are five ticks of each processor: two of them are 0.4.
        let short = |others| Sample { latency_s: Some(0.05), ..sample(others) };
        assert_eq!(judge(&mut watch(&[0.0, 0.0, 0.0]), &short(0.3)), None);
        assert!(judge(&mut watch(&[0.0, 0.0, 0.0]), &short(0.5)).is_some());
    }

    #[test]
    fn nothing_is_usual_at_the_beginning() {
        assert_eq!(judge(&mut watch(&[0.0, 0.0]), &sample(0.9)), None);
        assert_eq!(judge(&mut watch(&[0.0, 0.0, 0.0]), &Sample::default()), None, "what is not known is no sign");
    }
}
