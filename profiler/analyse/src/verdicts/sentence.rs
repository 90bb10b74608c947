//! A verdict in one sentence, with its figures.

use super::candidate::{Candidate, is_unexplained};
use super::facts::Facts;
use super::limit_name::{is_ceiling, name};
use record::Limit;
use record::figures::{milliseconds, significant};

/// The sentence.
pub(super) fn of(facts: &Facts, found: Candidate) -> String {
    let limit = found.rule.limit;
    let body = body(facts, limit, found.share);
    if is_unexplained(facts, found) {
        // The ceilings of a load cover reading the file only.
        let nearest = if is_ceiling(limit) && facts.is_forward() { "ceiling" } else { "limit" };
        let phase = if facts.is_load() { "the load" } else { facts.name() };
        return format!(
            "No measured limit explains half of the time of {phase}, so something else binds it. The nearest {nearest} is {}: {body}.",
            name(limit)
        );
    }
    format!("{}: {body}.", heading(facts, limit))
}

fn heading(facts: &Facts, limit: Limit) -> String {
    let phase = capitalised(facts.name());
    let name = name(limit);
    match limit {
        Limit::Tokenizer | Limit::Sampler => format!("{phase} is the work of {name}"),
        Limit::PageFaults if facts.is_load() => format!("{phase} is bound by {name}"),
        Limit::NoisyNeighbour | Limit::Oversubscription | Limit::PageFaults => {
            format!("{phase} is disturbed by {name}")
        }
        Limit::ColdFile => format!("{phase} is disturbed by a {name}"),
        _ => format!("{phase} is bound by {name}"),
    }
}

fn body(facts: &Facts, limit: Limit, share: f64) -> String {
    let percent = format!("{:.0} %", share * 100.0);
    let count = |count: Option<f64>| count.map_or("an unknown number of".to_owned(), |count| format!("{count:.0}"));
    let of_work = ms(facts.work.time_s);
    let of_traced = ms(facts.in_traced_pass());
    match limit {
        Limit::MemoryBandwidth if facts.is_load() => {
            format!(
                "reading {} MB into the process takes {}",
                megabytes(facts.load.file_bytes),
                least(facts.work.memory_s, facts.work.time_s)
            )
        }
        Limit::MemoryBandwidth => {
            let rate =
                facts.machine.bandwidth.map_or(String::new(), |rate| format!("at {} GB/s ", significant(rate / 1e9)));
            format!("{rate}its bytes take {}", least(facts.work.memory_s, facts.work.time_s))
        }
        Limit::Compute if facts.is_load() => format!(
            "besides reading the file, the processor computes for {} of {of_work} ({percent})",
            ms(facts.work.compute_s)
        ),
        Limit::Compute => {
            format!("at the peak rate its arithmetic takes {}", least(facts.work.compute_s, facts.work.time_s))
        }
        Limit::Dispatch => format!(
            "{} small operations take {} of {of_traced} ({percent}) beyond their attainable time",
            count(facts.traced.small_ops),
            ms(facts.traced.small_ops_s)
        ),
        Limit::Imbalance => format!(
            "each of {} threads waits on average for {} of {of_traced} ({percent}) for the others",
            facts.threads,
            ms(facts.traced.idle_s)
        ),
        Limit::Oversubscription => {
            let on = facts.machine.usable.map_or(String::new(), |usable| format!(" on {usable} hardware threads"));
            format!("{} threads{on} run for {:.0} % of the time", facts.threads, (1.0 - share) * 100.0)
        }
        Limit::PageFaults => {
            format!(
                "{} page faults take about {percent} of {}",
                count(facts.counted.minor_faults),
                ms(facts.counted.time_s)
            )
        }
        Limit::ColdFile => cold_file(facts, &percent),
        Limit::Allocation => {
            format!(
                "{} allocations take about {percent} of {}",
                count(facts.allocated.count),
                ms(facts.allocated.time_s)
            )
        }
        Limit::Tokenizer | Limit::Sampler => {
            let part =
                facts.latency_share.map_or(String::new(), |share| format!(", {:.1} % of the latency", share * 100.0));
            format!("{}{part}", ms(Some(facts.time_s)))
        }
        Limit::NoisyNeighbour => {
            let share = |share: Option<f64>| {
                share.map_or("an unknown share".to_owned(), |share| format!("{:.0} %", share * 100.0))
            };
            format!(
                "they used {} of the processors, and the hypervisor took {}; this costs about {percent} of the time",
                share(facts.others),
                share(facts.steal)
            )
        }
        Limit::QueueOrNetwork if facts.server_s.is_some() => format!(
            "the server reports {} of {}; {percent} is spent in queues, in the network, or in work that it does not report",
            ms(facts.server_s),
            ms(Some(facts.time_s))
        ),
        Limit::QueueOrNetwork => {
            format!("no thread of the engine's processes ran for {percent} of {}", ms(facts.counted.time_s))
        }
    }
}

fn capitalised(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn ms(time: Option<f64>) -> String {
    time.map_or("an unknown time".to_owned(), |time| format!("{} ms", milliseconds(time)))
}

/// The share of the measured time that the ceiling explains. A ceiling is measured too, so the share may exceed 1.
fn least(least: Option<f64>, measured: Option<f64>) -> String {
    match (least, measured) {
        (Some(least), Some(measured)) if least >= measured => format!("all of {} at the ceiling", ms(Some(measured))),
        (Some(least), Some(measured)) => {
            format!("at least {} of {} ({:.0} %)", ms(Some(least)), ms(Some(measured)), least / measured * 100.0)
        }
        _ => format!("at least {} of {}", ms(least), ms(measured)),
    }
}

/// Names the phase that waited for storage: the load, the first prefill, or the phase itself.
fn cold_file(facts: &Facts, percent: &str) -> String {
    let read = megabytes(facts.counted.read_bytes);
    if !facts.is_load() {
        return format!("{read} MB were read from storage during the phase, which takes about {percent} of the time");
    }
    let (by_load, all) = (facts.load.read_bytes.unwrap_or(0.0), facts.counted.read_bytes.unwrap_or(0.0));
    let excess = facts.load.first_prefill_excess_s;
    let who = if by_load >= 0.5 * all {
        format!("the load waited for it ({})", ms(facts.load.time_s))
    } else {
        format!(
            "the first prefill waited for it ({} longer than the later ones; the load itself took {})",
            ms(excess),
            ms(facts.load.time_s)
        )
    };
    format!(
        "{read} of {} MB were read from storage, which takes about {percent} of the time; {who}",
        megabytes(facts.load.file_bytes)
    )
}

fn megabytes(bytes: Option<f64>) -> String {
    bytes.map_or("an unknown number of".to_owned(), |bytes| format!("{:.1}", bytes / 1e6))
}
