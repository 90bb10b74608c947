//! Warnings in words: what it is, what it does to the numbers, what to do.

use super::Warning;

impl Warning {
    /// One line: what it is, what it does to the numbers, what to do.
    pub fn text(&self) -> String {
        match self {
            Self::DebugBuild => "this is not an optimised build: every time is too long; build with --release".to_owned(),
            Self::FeaturesMissing(names) => {
                format!("built without {}, which this processor has: kernels are slower than they could be; build where you measure (target-cpu=native, see .cargo/config.toml)", names.join(", "))
            }
            Self::Load(load, threads) => {
                format!("the load of the last minute was {load:.2} on {threads} hardware threads: something else was running; end it and wait a minute, or run again and compare")
            }
            Self::Busy(share) => format!("{:.0} % of the processor time was in use just before the run; end other programs", share * 100.0),
            Self::StealBefore(share) => {
                format!("the hypervisor gave {:.1} % of the processor time to other guests just before the run; use a machine with processors of its own, or more runs (-r)", share * 100.0)
            }
            Self::Governor(name) => format!("the frequency governor is {name}: the processor starts slow and speeds up late; try `cpupower frequency-set -g performance`"),
            Self::HugePagesOff => {
                "transparent huge pages are off: page faults and TLB misses cost more; try `echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled`".to_owned()
            }
            Self::SwapInUse(bytes) => format!("{} of swap are in use: weights may be read from disk again; close programs, or `swapoff -a`", models::Bytes(*bytes)),
            Self::Oversubscribed(asked, usable) => {
                format!("{asked} threads on {usable} hardware threads that this process may use: threads wait for each other; use -t {usable} or fewer")
            }
            Self::Battery => "the machine runs on its battery, which lowers frequencies; plug it in".to_owned(),
            Self::ProcessorLimit(limit) => format!("a control group grants {limit:.2} processors: threads beyond that are stopped for part of each period; use fewer threads (-t) or raise the limit"),
            Self::Virtual(name) => {
                let name = name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
                format!("this is a virtual machine{name}: neighbours share its memory bandwidth and cannot be seen; compare only what was measured in one run")
            }
            Self::ThrottlingUnknown => "whether the processor was slowed down by heat cannot be seen on this machine; look at the drift between first and last rounds".to_owned(),
            Self::Throttled(events) => format!("the processor was slowed down by heat {events} times during the run: late rounds are slower than early ones; improve the cooling, let it cool down, and run again"),
            Self::PackageThrottled(events) => format!("the processor package was slowed down {events} times during the run by heat or its power limit: late rounds are slower than early ones; improve the cooling, or raise the power limit"),
            Self::Hot(degrees, limit) => format!("the processor reached {degrees:.0} degrees Celsius, near its critical {limit:.0}: it slows down there; improve the cooling, let it cool down, and run again"),
            Self::FrequencyFell(cases, worst, fall) => format!(
                "the processors' frequency fell by up to {:.0} % between requests in {cases} of the cases, most in {worst}: heat, a power limit or other programs; look at `frequency_hz` in results.csv, improve the cooling, or fix the frequency (`cpupower frequency-set`)",
                fall * 100.0
            ),
            Self::Preference(name) => format!("the processor's energy preference is {name}: it saves energy rather than time; try `cpupower set --epp performance`, or write it to /sys/devices/system/cpu/cpu*/cpufreq/energy_performance_preference"),
            Self::SettingChanged(what, before, now) => format!("{what} changed from {before} to {now} during the run: rounds before and after it measure two machines; stop what changes it (a power daemon) and run again"),
            Self::GroupThrottled(samples, seconds, share) => format!(
                "throttled by the control group for {:.0} ms during {samples}, up to {:.0} % of one's latency: its processor time was used up; use fewer threads (-t) or raise the limit (cpu.max)",
                seconds * 1e3, share * 100.0, samples = plural(*samples)
            ),
            Self::MemoryPressure(samples, seconds, share) => format!(
                "memory pressure: tasks of this machine waited for memory for {:.0} ms during {samples}, up to {:.0} % of one's latency; weights may be dropped and read again: close programs, raise the group's limit (memory.max), or take a smaller model",
                seconds * 1e3, share * 100.0, samples = plural(*samples)
            ),
            Self::StoragePressure(samples, seconds, share) => format!(
                "tasks of this machine waited for storage for {:.0} ms during {samples}, up to {:.0} % of one's latency: either the model is read while it computes (look at read_bytes), or another program writes; run again on a quieter machine",
                seconds * 1e3, share * 100.0, samples = plural(*samples)
            ),
            Self::Refaults(bytes) => format!("{} of files were dropped from memory and read again during the run: the control group or the machine is too small for the model; raise memory.max or close programs", models::Bytes(*bytes)),
            Self::RemoteMemory(cases, worst, share) => format!(
                "{:.0} % of the model's pages lie on memory nodes where no thread runs, in {worst} (of {cases} cases): each read crosses the link between sockets; bind both to one node (`numactl --cpunodebind=0 --membind=0`), or spread the pages (`numactl --interleave=all`)",
                share * 100.0
            ),
            Self::Preload(name) => format!("LD_PRELOAD loads {name} into every process: allocations may be counted or served differently; unset it"),
            Self::OutputDiffers(case) => format!("{case}: samples gave different outputs at temperature 0, so their times belong to different work; look at outputs/ and samples.jsonl"),
            Self::StepsDiffer(cases, first, token) => format!(
                "the engine's own pace and its steps differ in {cases} of the cases: in {first}, output token {token} is not the one that its steps hold likeliest, so the stepped pass may be other work than the clean one; look at output.top_logprobs in run.json, and tell the engine's authors"
            ),
            Self::ProbeEffect(pass, ratio) => {
                format!("the {} pass took {ratio:.2} times the clean pass: use its shares, not its times (published times come from the clean pass)", pass.name())
            }
            Self::ProbeNoise(pass, ratio) => {
                format!("the {} pass took {ratio:.2} times the clean pass, which no instrument does: the machine was not quiet; use more runs (-r)", pass.name())
            }
            Self::Steal(samples, share) => format!("the hypervisor took up to {:.1} % of the processor time away during {samples}; look at `steal` in results.csv and run again", share * 100.0, samples = plural(*samples)),
            Self::Others(samples, share) => format!("other processes took up to {:.0} % of the processor time during {samples}; look at `load_others` in results.csv and run again", share * 100.0, samples = plural(*samples)),
            Self::Disturbed(found) if found.kept == 0 => format!("{}; what was measured before stands in results.csv (`repeated`) and in no figure", found.text()),
            Self::Disturbed(found) => format!("{}; look at `disturbed` in results.csv, end other programs, and run again", found.text()),
            Self::Drift(ratio) if *ratio < 1.0 => format!("the last rounds took {ratio:.2} times the first ones: something else took time in the first rounds; run again on a quieter machine"),
            Self::Drift(ratio) => format!("the last rounds took {ratio:.2} times the first ones: the processor became hot, or something else began; let it cool down and run again"),
            Self::Spread(cases, worst, spread) => format!(
                "latencies spread widely in {cases} of the cases, worst in {worst}: {:.0} % of their median; use more runs (-r) on a quieter machine",
                spread * 100.0
            ),
            Self::BandwidthDrift(drift) => format!(
                "the memory bandwidth with {} drifted while this run measured: {:.2} times the first probe at the end, range {:.0} % of the median over {} probes; neighbours share the memory, so trust ratios within a round more than absolute rates, and run again on a quieter machine",
                counted(drift.threads), drift.last_to_first, drift.range * 100.0, drift.n
            ),
            Self::CeilingsDiffer(threads, ratio) => format!(
                "during this run the memory with {} gave {ratio:.2} times what is kept as this machine's ceiling: one of the two was measured while something else was at work; `inferometer machine --refresh` on a quiet machine measures it again",
                counted(*threads)
            ),
            Self::Unsteady(cases, worst, change) => format!(
                "warm-up ended at its limit in {cases} of the cases while requests still changed, most in {worst}: by {:.0} % from the one before to the last; give more warm-up requests (--warmup), and look whether something else is running",
                change * 100.0
            ),
            Self::OtherTime(cases, worst, share) => format!(
                "time lies between the phases in {cases} of the cases, most in {worst}: {:.1} % of the latency; the engine does work there that it does not name",
                share * 100.0
            ),
            Self::Synthetic(names) => format!("{}: synthetic weights, so every number rests on the right shapes and types with random values, and the outputs mean nothing", names.join(", ")),
            Self::VirtualTime => "time is virtual: the engine advances a clock instead of computing, and the numbers say nothing about this machine".to_owned(),
            Self::Failures(failed, all) => format!("{failed} of {all} cases did not end well; their rows say why"),
            Self::Interrupted => "the run was interrupted: what was measured until then is kept; go on with --resume".to_owned(),
        }
    }
}

fn counted(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}
/// `1 sample`, `2 samples`.
fn plural(samples: usize) -> String {
    format!("{samples} sample{}", if samples == 1 { "" } else { "s" })
}
