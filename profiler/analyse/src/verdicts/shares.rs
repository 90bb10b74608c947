//! The share of a phase's time that each limit explains, in the pass of the figures.

use super::facts::Facts;

/// The threshold of disturbing causes: the figures of other limits are then wrong by this share.
pub(super) const DISTURBS: f64 = 0.1;

/// `max(bytes from storage / cold read rate, waiting) / time`, where `waiting = time - CPU time` counts for a load that read at
/// least half of the file. Without a measured rate and CPU time, what a warm read of the bytes does not explain:
/// `1 - bytes / warm rate / time`.
pub(super) fn cold_file(facts: &Facts) -> Option<f64> {
    let bytes = facts.counted.read_bytes?;
    if bytes <= 0.0 {
        return Some(0.0);
    }
    let time = facts.counted.time_s;
    let most = facts.load.file_bytes.is_some_and(|file| bytes >= 0.5 * file);
    let at_rate = facts.machine.cold_rate.map(|rate| bytes / rate);
    let waiting = time.zip(facts.counted.cpu_s).filter(|_| most).map(|(time, cpu)| (time - cpu).max(0.0));
    if let Some(read) = at_rate.into_iter().chain(waiting).reduce(f64::max) {
        return Facts::share(Some(read), time);
    }
    let warm = bytes / facts.machine.warm_rate.or(facts.machine.bandwidth).filter(|_| most)?;
    Facts::share(Some(warm), time).map(|warm| 1.0 - warm)
}

/// More threads than hardware threads: `1 - CPU time / (time x threads)`, the share of the threads' time that they wait for a
/// hardware thread. Where their number is unknown, frequent involuntary switches indicate it.
pub(super) fn oversubscription(facts: &Facts) -> Option<f64> {
    /// Involuntary switches per second and thread: a thread that does not share its processor has a few.
    const INVOLUNTARY: f64 = 20.0;
    let thread_seconds = facts.counted.time_s? * facts.threads as f64;
    let beyond = match facts.machine.usable {
        Some(usable) => facts.threads > usable,
        None => facts.counted.involuntary_switches? > INVOLUNTARY * thread_seconds,
    };
    if !beyond {
        return Some(0.0);
    }
    Facts::share(facts.counted.cpu_s, Some(thread_seconds)).map(|busy| 1.0 - busy)
}

/// The part of the processors that the phase needs and others use: with `d = min(threads / processors, 1)` needed and
/// `1 - others - steal` free, `1 - (1 - others - steal) / d`; 0 where enough is free.
pub(super) fn noisy_neighbour(facts: &Facts) -> Option<f64> {
    let left = 1.0 - facts.others? - facts.steal.unwrap_or(0.0);
    let wanted = facts.machine.processors.map_or(1.0, |processors| {
        let threads = if facts.is_forward() { facts.threads } else { 1 };
        (threads as f64 / processors.max(1) as f64).min(1.0)
    });
    (wanted > 0.0).then(|| (1.0 - left / wanted).clamp(0.0, 1.0))
}

/// `minor faults x time of the first touch of a page / time`; 0 where the file comes from storage, since faults on pages that
/// are being read are part of reading them.
pub(super) fn page_faults(facts: &Facts) -> Option<f64> {
    if cold_file(facts).is_some_and(|share| share >= DISTURBS) {
        return Some(0.0);
    }
    Facts::share(Some(facts.counted.minor_faults? * facts.machine.page_fault_s?), facts.counted.time_s)
}

/// The sum of the attainable times of the ops that memory or a cache limits, over their phase. Roofline: Williams et al.,
/// doi:10.1145/1498765.1498785.
pub(super) fn memory_bandwidth(facts: &Facts) -> Option<f64> {
    Facts::share(facts.work.memory_s, facts.work.time_s)
}

/// The same of the ops that arithmetic limits. While loading, CPU time in user mode beyond the least time for the file's bytes.
pub(super) fn compute(facts: &Facts) -> Option<f64> {
    Facts::share(facts.work.compute_s, facts.work.time_s)
}

/// What small ops take beyond their attainable time ([`super::case_facts`] defines which are small), over their phase in the same pass.
pub(super) fn dispatch(facts: &Facts) -> Option<f64> {
    Facts::share(facts.traced.small_ops_s, facts.in_traced_pass())
}

/// Waiting for other threads in shared work, mean over the threads, over the phase in the same pass.
pub(super) fn imbalance(facts: &Facts) -> Option<f64> {
    Facts::share(facts.traced.idle_s, facts.in_traced_pass())
}

/// `allocations x 100 ns / time`. 100 ns for an allocation and its release is an assumption, of the order of glibc beyond its fast
/// path. It is not measured, which is a doubt of the verdict.
pub(super) fn allocation(facts: &Facts) -> Option<f64> {
    Facts::share(Some(facts.allocated.count? * ALLOCATION_S), facts.allocated.time_s)
}

/// Seconds for an allocation and its release, assumed.
pub(super) const ALLOCATION_S: f64 = 100e-9;

/// These phases consist of the work of the tokenizer or the sampler, except for the share of another cause.
pub(super) fn own_work(facts: &Facts) -> Option<f64> {
    let allocating = allocation(facts).unwrap_or(0.0);
    (facts.time_s > 0.0).then_some(1.0 - allocating)
}

/// The share of the time in which no computation is known. Of a server that reports the time of the phase:
/// `1 - reported time / time`. Otherwise `1 - CPU time / time`; below some milliseconds CPU time is too coarse.
pub(super) fn queue_or_network(facts: &Facts) -> Option<f64> {
    const SHORTEST_S: f64 = 0.005;
    if facts.server_s.is_some() {
        return Facts::share(facts.server_s, Some(facts.time_s)).map(|reported| 1.0 - reported);
    }
    if !facts.on_processor || facts.counted.time_s? < SHORTEST_S {
        return None;
    }
    Facts::share(facts.counted.cpu_s, facts.counted.time_s).map(|busy| 1.0 - busy)
}
