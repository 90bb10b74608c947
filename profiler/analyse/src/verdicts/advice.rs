//! What would help, with the predicted gain: time of the phase now / time after the change.

use engine_api::Phase;

use super::facts::Facts;
use super::shares::{self, ALLOCATION_S};
use record::{Advice, Reason, Reasons, Setting};

/// Smaller weight types with good answers, the larger first, with their bits per weight (ggml's blocks: quantised bits and scales).
const TYPES: &[(&str, f64)] = &[("q4_0", 4.5), ("q3_k", 3.4375)];
/// A change with a smaller gain is not suggested.
const WORTH: f64 = 1.05;

fn say(text: impl Into<String>, predicted_gain: Option<f64>) -> Advice {
    let gain = predicted_gain.filter(|gain| gain.is_finite());
    Advice {
        text: text.into(),
        predicted_gain: gain.ok_or_else(|| Reason::new("the figures of the run do not give it")).into(),
        notes: Reasons::new(),
    }
}

/// `time / (time - saved)`: the gain of removing a part of the time. `None` where no time would remain.
fn without(saved: Option<f64>, time: Option<f64>) -> Option<f64> {
    let (saved, time) = (saved?, time?);
    (saved >= 0.0 && saved < time).then(|| time / (time - saved))
}

fn worth(gain: Option<f64>) -> Option<f64> {
    gain.filter(|&gain| gain >= WORTH)
}

pub(super) fn cold_file(facts: &Facts) -> Vec<Advice> {
    // The share of the verdict, less the time for the same bytes at the warm rate.
    let share = shares::cold_file(facts);
    let saved = share.zip(facts.counted.time_s).map(|(share, time)| {
        let warm = facts.counted.read_bytes.zip(facts.machine.warm_rate).map_or(0.0, |(bytes, rate)| bytes / rate);
        (share * time - warm).max(0.0)
    });
    vec![say(
        "keep the file in the page cache: free memory, avoid reading other large files in between, or load once and keep the session",
        without(saved, facts.counted.time_s),
    )]
}

pub(super) fn oversubscription(facts: &Facts) -> Vec<Advice> {
    let measured = facts.with_fewer_threads.map(|(threads, time)| (threads, facts.time_s / time));
    let threads = measured.map(|(threads, _)| threads).or(facts.machine.usable);
    let text = threads.map_or("use as many threads as there are hardware threads".to_owned(), |threads| {
        format!("use {} {threads}: no more threads than hardware threads", Setting::Threads)
    });
    vec![say(text, measured.map(|(_, gain)| gain))]
}

pub(super) fn noisy_neighbour(facts: &Facts) -> Vec<Advice> {
    let lost = shares::noisy_neighbour(facts);
    vec![say(
        "end the other programs, or use a machine without them (a virtual machine needs processors of its own), and measure again: disturbed times do not show what limits the engine",
        without(lost, Some(1.0)),
    )]
}

pub(super) fn page_faults(facts: &Facts) -> Vec<Advice> {
    let saved = facts.counted.minor_faults.zip(facts.machine.page_fault_s).map(|(faults, time)| faults * time);
    if facts.is_load() {
        return vec![say(
            "use huge pages, of which each fault serves 512 small pages; or load once and keep the session",
            without(saved, facts.counted.time_s),
        )];
    }
    vec![say(
        "allocate buffers and the KV cache once, at load; or use huge pages, of which each fault serves 512 small pages",
        without(saved, facts.counted.time_s),
    )]
}

pub(super) fn memory_bandwidth(facts: &Facts) -> Vec<Advice> {
    if facts.is_load() {
        return vec![say(
            "use a smaller file (a smaller quantisation): this part of loading is proportional to its size",
            None,
        )];
    }
    let mut advice = Vec::new();
    if let Some((name, bits)) = smaller(facts) {
        let fewer = facts.work.bits_per_weight.map_or(0.0, |now| 1.0 - bits / now);
        let saved = facts.work.memory_s.map(|time| time * fewer);
        let text = format!(
            "use a smaller quantisation: {name} in all matrices reads {:.0} % fewer bytes (most files keep the output matrix at 6 to 8 bits); check the answers",
            fewer * 100.0
        );
        advice.extend(worth(without(saved, facts.work.time_s)).map(|gain| say(text, Some(gain))));
    }
    if let Some((threads, rate)) = facts.machine.bandwidth_most.filter(|(threads, _)| *threads > facts.threads) {
        let gain = faster(facts.work.memory_s, facts.machine.bandwidth.map(|now| now / rate), facts.work.time_s);
        let text = format!("use more threads: {threads} threads read {:.1} GB/s on this machine", rate / 1e9);
        advice.extend(worth(gain).map(|gain| say(text, Some(gain))));
    }
    if let Some(huge) = facts.machine.bandwidth_huge {
        let gain = faster(facts.work.memory_s, facts.machine.bandwidth.map(|now| now / huge), facts.work.time_s);
        let text = format!(
            "keep the weights in huge pages: with them the memory reads {:.1} GB/s on this machine",
            huge / 1e9
        );
        advice.extend(worth(gain).map(|gain| say(text, Some(gain))));
    }
    if advice.is_empty() {
        advice.push(say("use faster memory, or fewer bytes per token: a smaller model or a shorter context", None));
    }
    advice
}

/// `time / (time - part + part x factor)`.
fn faster(part: Option<f64>, factor: Option<f64>, time: Option<f64>) -> Option<f64> {
    let (part, factor) = (part?, factor?);
    without(Some(part * (1.0 - factor)).filter(|&saved| saved >= 0.0), time)
}

/// The largest of these types with at least a tenth fewer bits.
fn smaller(facts: &Facts) -> Option<(&'static str, f64)> {
    let now = facts.work.bits_per_weight?;
    TYPES.iter().copied().find(|(_, bits)| *bits < 0.9 * now)
}

pub(super) fn compute(facts: &Facts) -> Vec<Advice> {
    if facts.is_load() {
        return vec![say("load once and keep the session: each load repeats this work", None)];
    }
    let mut advice = Vec::new();
    if let Some((threads, ratio)) = facts.machine.compute_most.filter(|(threads, _)| *threads > facts.threads) {
        let gain = faster(facts.work.compute_s, Some(1.0 / ratio), facts.work.time_s);
        let text = format!("use more threads: {threads} threads compute {ratio:.1} times as fast on this machine");
        advice.extend(worth(gain).map(|gain| say(text, Some(gain))));
    }
    let tokens = facts.prompt_tokens.filter(|_| facts.phase == Some(Phase::Prefill));
    advice.push(match tokens {
        Some(tokens) => say(format!("use fewer prompt tokens ({tokens:.0} now), or keep a common prefix between requests: the time grows with them"), None),
        None => say("use a faster processor or device, or a smaller model", None),
    });
    advice
}

pub(super) fn dispatch(facts: &Facts) -> Vec<Advice> {
    let gain = without(facts.traced.small_ops_s, facts.in_traced_pass());
    let mut advice = vec![say(
        "run fewer, larger operations: fuse the small ones, or run several of them on one thread without synchronisation",
        gain,
    )];
    if facts.threads > 1 {
        let text = format!("use fewer threads ({}): each of these operations waits for all threads", Setting::Threads);
        advice.push(say(text, None));
    }
    advice
}

pub(super) fn imbalance(facts: &Facts) -> Vec<Advice> {
    vec![say(
        format!(
            "split the work into smaller tasks that idle threads can take, or use only cores of one kind (fewer threads, {})",
            Setting::Threads
        ),
        without(facts.traced.idle_s, facts.in_traced_pass()),
    )]
}

pub(super) fn allocation(facts: &Facts) -> Vec<Advice> {
    let saved = facts.allocated.count.map(|count| count * ALLOCATION_S);
    vec![say("reuse buffers instead of allocating them for each operation", without(saved, facts.allocated.time_s))]
}

/// The share of the phase in the latency, which bounds the gain.
fn of_latency(facts: &Facts) -> String {
    facts
        .latency_share
        .map_or(String::new(), |share| format!(" (the phase takes {:.1} % of the latency)", share * 100.0))
}

pub(super) fn tokenizer(facts: &Facts) -> Vec<Advice> {
    vec![say(format!("use a faster tokenizer, or keep token ids between requests{}", of_latency(facts)), None)]
}

pub(super) fn sampler(facts: &Facts) -> Vec<Advice> {
    vec![say(format!("use a cheaper sampler, or sample on the thread pool{}", of_latency(facts)), None)]
}

pub(super) fn queue_or_network(_facts: &Facts) -> Vec<Advice> {
    vec![say(
        "check the server's queue, log and processor use: the measured computation does not explain the time",
        None,
    )]
}
