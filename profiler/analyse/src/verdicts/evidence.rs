//! The figures of a verdict, each with its place in the run file.

use super::facts::Facts;
use super::shares::ALLOCATION_S;
use record::Evidence;

/// A figure, where it is known.
fn figure(name: &str, value: Option<f64>, unit: &str, source: &str) -> Option<Evidence> {
    let value = value.filter(|value| value.is_finite())?;
    Some(Evidence { name: name.to_owned(), value, unit: unit.to_owned(), source: source.to_owned() })
}

fn known(figures: impl IntoIterator<Item = Option<Evidence>>) -> Vec<Evidence> {
    figures.into_iter().flatten().collect()
}

/// The figures that come first in every verdict.
pub(super) fn common(facts: &Facts) -> Vec<Evidence> {
    let time = if facts.is_load() { "memory.load_s" } else { "samples" };
    known([
        figure("time of the phase", Some(facts.time_s), "s", time),
        figure("share of the latency", facts.latency_share, "1", "samples"),
        figure("attainable time by the ceilings", facts.work.attainable_s, "s", attained(facts)),
    ])
}

fn counted(facts: &Facts) -> &'static str {
    if facts.is_load() { "memory.load_counters" } else { "phases" }
}

fn attained(facts: &Facts) -> &'static str {
    match (facts.is_load(), facts.work.whole_model) {
        (true, _) => "memory.file_bytes, ceilings.file_read_warm",
        (_, true) => "memory.weights_bytes, plan.models, ceilings",
        (_, false) => "sums, ops",
    }
}

pub(super) fn cold_file(facts: &Facts) -> Vec<Evidence> {
    known([
        figure(
            "bytes from storage",
            facts.counted.read_bytes,
            "B",
            "memory.load_read_bytes, memory.first_read_bytes, phases",
        ),
        figure("size of the files", facts.load.file_bytes, "B", "memory.file_bytes"),
        figure("share in the page cache before the load", facts.load.cached_share, "1", "memory.load_cached_share"),
        figure("read rate of storage", facts.machine.cold_rate, "B/s", "ceilings.file_read_cold"),
        figure("excess of the first prefill over the later ones", facts.load.first_prefill_excess_s, "s", "samples"),
    ])
}

pub(super) fn oversubscription(facts: &Facts) -> Vec<Evidence> {
    let busy = facts.counted.time_s.map(|time| time * facts.threads as f64);
    known([
        figure("threads", Some(facts.threads as f64), "1", "threads"),
        figure(
            "hardware threads",
            facts.machine.usable.map(|usable| usable as f64),
            "1",
            "environment.processor.usable_threads",
        ),
        figure("CPU time / (time x threads)", Facts::share(facts.counted.cpu_s, busy), "1", "phases"),
        figure("involuntary context switches", facts.counted.involuntary_switches, "1", "phases"),
    ])
}

pub(super) fn noisy_neighbour(facts: &Facts) -> Vec<Evidence> {
    known([
        figure("share of the processors used by other programs", facts.others, "1", "samples.load_others"),
        figure("share of the processors taken by the hypervisor", facts.steal, "1", "samples.steal"),
    ])
}

pub(super) fn page_faults(facts: &Facts) -> Vec<Evidence> {
    known([
        figure("page faults", facts.counted.minor_faults, "1", counted(facts)),
        figure("first touch of a page", facts.machine.page_fault_s, "s", "ceilings.page_fault_s"),
    ])
}

pub(super) fn memory_bandwidth(facts: &Facts) -> Vec<Evidence> {
    known([
        figure("attainable time of its bytes", facts.work.memory_s, "s", attained(facts)),
        figure(
            "the part of it that a cache limits",
            facts.work.cache_s.filter(|&time| time > 0.0),
            "s",
            attained(facts),
        ),
        if facts.is_load() {
            figure("read rate of the page cache", facts.machine.warm_rate, "B/s", "ceilings.file_read_warm")
        } else {
            figure("memory bandwidth", facts.machine.bandwidth, "B/s", "ceiling_probes, ceilings")
        },
    ])
}

pub(super) fn compute(facts: &Facts) -> Vec<Evidence> {
    if facts.is_load() {
        return known([
            figure("CPU time in user mode", facts.load.user_s, "s", "memory.load_counters"),
            figure(
                "the part of it beyond the attainable time of the file's bytes",
                facts.work.compute_s,
                "s",
                "memory.load_counters",
            ),
        ]);
    }
    known([figure("attainable time of its arithmetic", facts.work.compute_s, "s", attained(facts))])
}

pub(super) fn dispatch(facts: &Facts) -> Vec<Evidence> {
    known([
        figure("time of the phase in the traced pass", facts.traced.time_s, "s", "sums"),
        figure("small operations", facts.traced.small_ops, "1", "ops"),
        figure("their time beyond the attainable time", facts.traced.small_ops_s, "s", "ops"),
        figure("dispatch to the threads", facts.machine.dispatch_s, "s", "ceilings.threads.dispatch_s"),
    ])
}

pub(super) fn imbalance(facts: &Facts) -> Vec<Evidence> {
    known([
        figure("time of the phase in the traced pass", facts.traced.time_s, "s", "sums"),
        figure("waiting for other threads", facts.traced.idle_s, "s", "workers"),
        figure("threads", Some(facts.threads as f64), "1", "threads"),
    ])
}

pub(super) fn allocation(facts: &Facts) -> Vec<Evidence> {
    known([
        figure("allocations", facts.allocated.count, "1", "allocations"),
        figure("bytes allocated", facts.allocated.bytes, "B", "allocations"),
        figure("time of an allocation", Some(ALLOCATION_S), "s", "assumed"),
    ])
}

pub(super) fn own_work(facts: &Facts) -> Vec<Evidence> {
    known([figure("CPU time", facts.counted.cpu_s, "s", "phases")])
}

pub(super) fn queue_or_network(facts: &Facts) -> Vec<Evidence> {
    known([
        figure("CPU time", facts.counted.cpu_s, "s", "phases, samples"),
        figure("time in the same pass", facts.counted.time_s, "s", "phases, samples"),
        figure("time of the phase by the server's report", facts.server_s, "s", "samples.server"),
    ])
}
