//! What would help, with the gain that the figures predict: time of the phase now / time after it.

use super::facts::Facts;
use super::rules::{self, ALLOCATION_S};
use record::Advice;

/// Smaller types of weights that still answer well, the larger first, with their bits per weight (ggml's blocks: quantised bits
/// and scales).
const TYPES: &[(&str, f64)] = &[("q4_0", 4.5), ("q3_k", 3.4375)];
/// A change that gains less than this is no advice.
const WORTH: f64 = 1.05;

fn say(text: impl Into<String>, predicted_gain: Option<f64>) -> Advice {
    Advice { text: text.into(), predicted_gain: predicted_gain.filter(|gain| gain.is_finite()) }
}

/// `time / (time - saved)`: what taking away a part of the time gives. `None` where nothing would be left.
fn without(saved: Option<f64>, time: Option<f64>) -> Option<f64> {
    let (saved, time) = (saved?, time?);
    (saved >= 0.0 && saved < time).then(|| time / (time - saved))
}

fn worth(gain: Option<f64>) -> Option<f64> {
    gain.filter(|&gain| gain >= WORTH)
}

pub(super) fn cold_file(facts: &Facts) -> Vec<Advice> {
    // What the verdict gives to storage, less the same bytes at the warm rate.
    let share = rules::of(record::Limit::ColdFile).and_then(|rule| (rule.share)(facts));
    let saved = share.zip(facts.counted_s).map(|(share, time)| {
        let warm = facts.read_bytes.zip(facts.warm_rate).map_or(0.0, |(bytes, rate)| bytes / rate);
        (share * time - warm).max(0.0)
    });
    vec![say(
        "keep the file in the page cache: enough free memory, no other large files read in between, or load once and keep the session",
        without(saved, facts.counted_s),
    )]
}

pub(super) fn oversubscription(facts: &Facts) -> Vec<Advice> {
    let measured = facts.with_fewer_threads.map(|(threads, time)| (threads, facts.time_s / time));
    let threads = measured.map(|(threads, _)| threads).or(facts.usable);
    let told = threads.map_or("use as many threads as there are processors".to_owned(), |threads| {
        format!("use -t {threads}: no more threads than processors")
    });
    vec![say(told, measured.map(|(_, gain)| gain))]
}

pub(super) fn noisy_neighbour(facts: &Facts) -> Vec<Advice> {
    let lost = rules::of(record::Limit::NoisyNeighbour).and_then(|rule| (rule.share)(facts));
    vec![say(
        "end other programs, or use a machine (or a guest with processors) of its own, and measure again: what is said of other limits here rests on disturbed times",
        without(lost, Some(1.0)),
    )]
}

pub(super) fn page_faults(facts: &Facts) -> Vec<Advice> {
    let saved = facts.minor_faults.zip(facts.page_fault_s).map(|(faults, time)| faults * time);
    if facts.name() == "load" {
        return vec![say(
            "huge pages, which fault once for 512 small ones; or load once and keep the session",
            without(saved, facts.counted_s),
        )];
    }
    vec![say(
        "touch the memory once and keep it (buffers and KV cache made at load), or use huge pages, which fault once for 512 small ones",
        without(saved, facts.counted_s),
    )]
}

pub(super) fn memory_bandwidth(facts: &Facts) -> Vec<Advice> {
    if facts.name() == "load" {
        return vec![say(
            "a file of fewer bytes (a smaller quantisation): this part of loading is in proportion",
            None,
        )];
    }
    let mut advice = Vec::new();
    if let Some((name, bits)) = smaller(facts) {
        let fewer = facts.bits_per_weight.map_or(0.0, |now| 1.0 - bits / now);
        let saved = facts.memory_s.map(|time| time * fewer);
        let text = format!(
            "a smaller quantisation: {name} in all matrices reads {:.0} % fewer bytes (most files keep the output matrix at 6 to 8 bits); check the answers",
            fewer * 100.0
        );
        advice.extend(worth(without(saved, facts.work_s)).map(|gain| say(text, Some(gain))));
    }
    if let Some((threads, rate)) = facts.bandwidth_most.filter(|(threads, _)| *threads > facts.threads) {
        let gain = faster(facts.memory_s, facts.bandwidth.map(|now| now / rate), facts.work_s);
        let text = format!("more threads: {threads} together read {:.1} GB/s here", rate / 1e9);
        advice.extend(worth(gain).map(|gain| say(text, Some(gain))));
    }
    if let Some(huge) = facts.bandwidth_huge {
        let gain = faster(facts.memory_s, facts.bandwidth.map(|now| now / huge), facts.work_s);
        let text = format!("weights in huge pages: memory reads {:.1} GB/s in them here", huge / 1e9);
        advice.extend(worth(gain).map(|gain| say(text, Some(gain))));
    }
    if advice.is_empty() {
        advice.push(say(
            "memory that is faster, or fewer bytes for each token: a smaller model or a shorter context",
            None,
        ));
    }
    advice
}

/// `time / (time - part + part x factor)`.
fn faster(part: Option<f64>, factor: Option<f64>, time: Option<f64>) -> Option<f64> {
    let (part, factor) = (part?, factor?);
    without(Some(part * (1.0 - factor)).filter(|&saved| saved >= 0.0), time)
}

/// The larger of these types that has at least a tenth fewer bits.
fn smaller(facts: &Facts) -> Option<(&'static str, f64)> {
    let now = facts.bits_per_weight?;
    TYPES.iter().copied().find(|(_, bits)| *bits < 0.9 * now)
}

pub(super) fn compute(facts: &Facts) -> Vec<Advice> {
    if facts.name() == "load" {
        return vec![say(
            "load once and keep the session: the header, the tokenizer and weights that are laid out anew are worked through each time",
            None,
        )];
    }
    let mut advice = Vec::new();
    if let Some((threads, ratio)) = facts.compute_most.filter(|(threads, _)| *threads > facts.threads) {
        let gain = faster(facts.compute_s, Some(1.0 / ratio), facts.work_s);
        let text = format!("more threads: {threads} compute {ratio:.1} times as fast here");
        advice.extend(worth(gain).map(|gain| say(text, Some(gain))));
    }
    let tokens = facts.prompt_tokens.filter(|_| facts.name() == "prefill");
    advice.push(match tokens {
        Some(tokens) => say(format!("fewer prompt tokens, or a prefix that is kept between requests: its time grows with them ({tokens:.0} here)"), None),
        None => say("a processor or a device that computes faster, or a smaller model", None),
    });
    advice
}

pub(super) fn dispatch(facts: &Facts) -> Vec<Advice> {
    let gain = without(facts.small_ops_s, facts.in_traced_pass());
    let mut advice = vec![say(
        "fewer, larger operations: fuse the small ones, or let one thread run several without a hand-over",
        gain,
    )];
    if facts.threads > 1 {
        advice.push(say("fewer threads (-t): each of these operations waits for all of them", None));
    }
    advice
}

pub(super) fn imbalance(facts: &Facts) -> Vec<Advice> {
    vec![say(
        "smaller pieces of work that idle threads can take, or only cores of one kind (fewer threads, -t)",
        without(facts.idle_s, facts.in_traced_pass()),
    )]
}

pub(super) fn allocation(facts: &Facts) -> Vec<Advice> {
    let saved = facts.allocations.map(|count| count * ALLOCATION_S);
    vec![say("reuse buffers instead of allocating them for each operation", without(saved, facts.allocating_s))]
}

/// What the whole latency would gain if this phase took no time.
fn of_latency(facts: &Facts) -> String {
    facts.latency_share.map_or(String::new(), |share| format!(" (it is {:.1} % of the latency)", share * 100.0))
}

pub(super) fn tokenizer(facts: &Facts) -> Vec<Advice> {
    vec![say(format!("a faster tokenizer, or token ids that are kept between requests{}", of_latency(facts)), None)]
}

pub(super) fn sampler(facts: &Facts) -> Vec<Advice> {
    vec![say(format!("a cheaper sampler, or sampling on the thread pool{}", of_latency(facts)), None)]
}

pub(super) fn queue_or_network(_facts: &Facts) -> Vec<Advice> {
    vec![say(
        "look at the server: its queue, its own log and its processors; nothing on this machine's processors explains the time",
        None,
    )]
}
