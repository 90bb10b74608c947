//! The text of each warning: the problem, its effect on the numbers, and the advice.

use super::Warning;
use crate::served_weights::ServedWeights;
use record::{Action, Pass, Setting};

impl Warning {
    /// One line: the problem, its effect on the numbers; the advice.
    pub fn text(&self) -> String {
        match self {
            Self::DebugBuild => "this is not an optimised build: all times are too long; build with --release".to_owned(),
            Self::FeaturesMissing(names) => {
                format!("built without {}, which this processor has: kernels are slower than possible; build on the machine that you measure (target-cpu=native, see .cargo/config.toml)", names.join(", "))
            }
            Self::OthersBefore { load, busy } => {
                let load = load.map(|(load, threads)| format!("the load of the last minute was {load:.2} on {threads} hardware threads"));
                let busy = busy.map(|share| format!("{:.0} % of the processor time was in use just before", share * 100.0));
                let seen: Vec<String> = load.into_iter().chain(busy).collect();
                format!("other programs were running before the run: {}; end them, wait a minute, and run again", seen.join(", and "))
            }
            Self::StealBefore(share) => {
                format!("the hypervisor gave {:.1} % of the processor time to other guests just before the run; use a machine with dedicated processors, or more runs ({})", share * 100.0, Setting::Runs)
            }
            Self::Governor(name) => format!("the frequency governor is {name}: the processor starts at a low frequency and raises it late; try `cpupower frequency-set -g performance`"),
            Self::HugePagesOff => {
                "transparent huge pages are off: page faults and TLB misses cost more; try `echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled`".to_owned()
            }
            Self::SwapInUse(bytes) => format!("{} of swap is in use: weights may be read from disk again; close programs, or run `swapoff -a`", models::Bytes(*bytes)),
            Self::Oversubscribed(asked, usable) => {
                format!("{asked} threads share the {usable} hardware threads that this process may use: threads wait for each other; use at most {usable} ({})", Setting::Threads)
            }
            Self::Battery => "the machine runs on battery, which lowers frequencies; connect it to a power supply".to_owned(),
            Self::ProcessorLimit(limit) => format!("a control group allows {limit:.2} processors: it stops the threads for part of each period if they use more; use fewer threads ({}) or raise the limit", Setting::Threads),
            Self::Virtual(name) => {
                let name = name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
                format!("this is a virtual machine{name}: other guests share the memory bandwidth, and their load is not visible; compare only figures of one run")
            }
            Self::ThrottlingUnknown => "this machine does not report thermal throttling; check the drift between the first and the last rounds".to_owned(),
            Self::Throttled(events) => format!("the processor was throttled by heat {events} times during the run, so later rounds may be slower than earlier ones; improve the cooling, let the machine cool down, and run again"),
            Self::PackageThrottled(events) => format!("the processor package was throttled {events} times during the run by heat or its power limit, so later rounds may be slower than earlier ones; improve the cooling, or raise the power limit"),
            Self::Hot(degrees, limit) => format!("the processor reached {degrees:.0} degrees Celsius, close to the critical {limit:.0}: it is throttled there; improve the cooling, let the machine cool down, and run again"),
            Self::FrequencyFell(cases, worst, fall) => format!(
                "the processors' frequency fell by up to {:.0} % between requests in {}, most in {worst}; possible causes are heat, a power limit and other programs; check `frequency_hz` in results.csv, improve the cooling, or fix the frequency (`cpupower frequency-set`)",
                fall * 100.0, in_cases(*cases)
            ),
            Self::Preference(name) => format!("the processor's energy preference is {name}: it saves energy at the cost of speed; try `cpupower set --epp performance`, or write it to /sys/devices/system/cpu/cpu*/cpufreq/energy_performance_preference"),
            Self::SettingChanged(what, before, now) => format!("{what} changed from {before} to {now} during the run: rounds before and after the change are not comparable; stop the program that changes it (a power daemon) and run again"),
            Self::GroupThrottled(samples, seconds, share) => format!(
                "the control group throttled the engine for {:.0} ms during {samples}, up to {:.0} % of the latency of one, because its processor time was used up; use fewer threads ({}) or raise the limit (cpu.max)",
                seconds * 1e3, share * 100.0, Setting::Threads, samples = plural(*samples)
            ),
            Self::MemoryPressure(samples, seconds, share) => format!(
                "memory pressure: tasks of this machine waited for memory for {:.0} ms during {samples}, up to {:.0} % of the latency of one; weights may be evicted and read again: close programs, raise the group's limit (memory.max), or use a smaller model",
                seconds * 1e3, share * 100.0, samples = plural(*samples)
            ),
            Self::StoragePressure(samples, seconds, share) => format!(
                "storage pressure: tasks of this machine waited for storage for {:.0} ms during {samples}, up to {:.0} % of the latency of one; possible causes are that the model is read from storage again (check read_bytes) and other programs; run again with fewer programs",
                seconds * 1e3, share * 100.0, samples = plural(*samples)
            ),
            Self::Refaults(bytes) => format!("{} of files were evicted from memory and read again during the run: the programs of this machine, or of the control group, need more memory than there is; close programs, or raise memory.max", models::Bytes(*bytes)),
            Self::RemoteMemory(cases, worst, share) => format!(
                "{:.0} % of the model's pages are on memory nodes where no thread runs, in {worst} (of {cases} cases): each read crosses the link between sockets; bind both to one node (`numactl --cpunodebind=0 --membind=0`), or spread the pages (`numactl --interleave=all`)",
                share * 100.0
            ),
            Self::Preload(name) => format!("LD_PRELOAD loads {name} into every process: allocations may be served or counted differently; unset it"),
            Self::OutputDiffers(case, has_others) => {
                let cause = if *has_others { "; the server worked for other clients meanwhile, and answers of a shared batch can differ: measure it alone" } else { "" };
                format!("{case}: samples have different outputs at temperature 0, so their times are those of different work{cause}; check outputs/ and samples.jsonl")
            }
            Self::StepsDiffer(cases, first, token) => format!(
                "the engine's own loop and its steps differ in {}: in {first}, output token {token} is not the most likely one of the steps, so the stepped pass may do other work than the clean pass; check output.top_logprobs in run.json, and report it to the engine's authors",
                in_cases(*cases)
            ),
            Self::ProbeEffect(passes) => {
                let these = if passes.len() == 1 { "this pass" } else { "these passes" };
                format!("{} as long as the clean pass: use the shares in tables of {these}, not the times", pass_ratios(passes))
            }
            Self::ProbeNoise(passes) => {
                format!("{} as long as the clean pass, which no instrument can cause: the machine changed between the passes; use more runs ({})", pass_ratios(passes), Setting::Runs)
            }
            Self::Steal(samples, share) => format!("the hypervisor took up to {:.1} % of the processor time during {samples}; check `steal` in results.csv and run again", share * 100.0, samples = plural(*samples)),
            Self::Others(samples, share) => format!("other programs used up to {:.0} % of the processor time during {samples}; check `load_others` in results.csv, end them, and run again", share * 100.0, samples = plural(*samples)),
            Self::Disturbed(found) if found.kept == 0 => format!("{}; the earlier attempts are in results.csv (`repeated`) and in no figure", found.text()),
            Self::Disturbed(found) => format!("{}; check `disturbed` in results.csv, end other programs, and run again", found.text()),
            Self::Drift(ratio) if *ratio < 1.0 => format!("the last rounds took {ratio:.2} times as long as the first ones: something slowed the first rounds down, such as other programs; run again with fewer programs"),
            Self::Drift(ratio) => format!("the last rounds took {ratio:.2} times as long as the first ones: something slowed the last rounds down, such as heat or other programs; let the machine cool down, and run again with fewer programs"),
            Self::Spread(cases, worst, spread) => format!(
                "latencies vary widely in {}, most in {worst}, where their range is {:.0} % of the median; use more runs ({}), and end other programs",
                in_cases(*cases), spread * 100.0, Setting::Runs
            ),
            Self::Bandwidth { probes, of_ceiling } => {
                let drift = format!("the last of {} probes is {:.2} times the first, and their range is {:.0} % of their median", probes.n, probes.last_to_first, probes.range * 100.0);
                let threads = counted(probes.threads);
                let advice = "compare only within a round, and run again without other programs";
                match of_ceiling {
                    None => format!("the memory bandwidth with {threads} changed during the run: {drift}; {advice}"),
                    Some(ratio) => format!(
                        "the memory bandwidth with {threads} was {ratio:.2} times the stored ceiling of this machine during the run ({drift}): one of the two was measured while other programs used the memory; {advice}, or measure the ceiling again ({})",
                        Action::RefreshCeilings
                    ),
                }
            }
            Self::Unsteady(cases, worst, change) => format!(
                "in {} the latency was not steady when warm-up reached its limit, least in {worst}: the last request differs by {:.0} % from the one before; use more warm-up requests ({}), and end other programs",
                in_cases(*cases), change * 100.0, Setting::Warmup
            ),
            Self::OtherTime(cases, worst, share) => format!(
                "the phases do not account for the whole latency in {}: most time is missing in {worst}, {:.1} % of the latency; the engine does work there that belongs to no phase",
                in_cases(*cases), share * 100.0
            ),
            Self::Synthetic(names) => format!("{}: synthetic weights: shapes and types are those of the model, values are random, and outputs are meaningless", names.join(", ")),
            Self::OtherWeights(ServedWeights { model, server, contradiction }) => format!(
                "{model} is the file that {} names for {server}, but {}: sizes, bytes and limits are those of the file, and wrong if the server has other weights; name the model that it has, or omit {}",
                Setting::Model, contradiction.as_deref().unwrap_or("nothing shows that it has this file"), Setting::Model
            ),
            Self::Substituted(model, what, used) => format!("{model}: its files contain no {what}; used instead: {used}"),
            Self::VirtualTime => "time is virtual: the engine advances a clock instead of computing, and the numbers are not those of this machine".to_owned(),
            Self::Failures(failed, all) => format!("{failed} of {all} cases failed; \"Failures\" has the reasons"),
            Self::Interrupted(incomplete, all) => format!("the run was interrupted: {incomplete} of {all} cases are incomplete, with the samples until then; continue the run with {}", Setting::Resume),
        }
    }
}

/// `the stepped pass took 1.31 times and the traced pass 1.14 times`.
fn pass_ratios(passes: &[(Pass, f64)]) -> String {
    let mut verb = " took";
    let each = passes.iter().map(|(pass, ratio)| {
        let text = format!("the {} pass{verb} {ratio:.2} times", pass.name());
        verb = "";
        text
    });
    each.collect::<Vec<_>>().join(" and ")
}

fn counted(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}
/// `1 case`, `2 cases`.
fn in_cases(cases: usize) -> String {
    format!("{cases} case{}", if cases == 1 { "" } else { "s" })
}

/// `1 sample`, `2 samples`.
pub(super) fn plural(samples: usize) -> String {
    format!("{samples} sample{}", if samples == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::Drift;

    #[test]
    fn one_sentence_for_several_passes() {
        let both = Warning::ProbeEffect(vec![(Pass::Stepped, 1.31), (Pass::Traced, 1.14)]);
        insta::assert_snapshot!(both.text(), @"the stepped pass took 1.31 times and the traced pass 1.14 times as long as the clean pass: use the shares in tables of these passes, not the times");
        let one = Warning::ProbeNoise(vec![(Pass::Traced, 0.8)]);
        insta::assert_snapshot!(one.text(), @"the traced pass took 0.80 times as long as the clean pass, which no instrument can cause: the machine changed between the passes; use more runs (`runs`)");
    }

    #[test]
    fn one_sentence_on_the_bandwidth() {
        let probes = Drift { threads: 2, median: 1e9, last_to_first: 1.39, range: 0.4, n: 4 };
        let text = |of_ceiling| Warning::Bandwidth { probes, of_ceiling }.text();
        insta::assert_snapshot!(text(None), @"the memory bandwidth with 2 threads changed during the run: the last of 4 probes is 1.39 times the first, and their range is 40 % of their median; compare only within a round, and run again without other programs");
        insta::assert_snapshot!(text(Some(0.17)), @"the memory bandwidth with 2 threads was 0.17 times the stored ceiling of this machine during the run (the last of 4 probes is 1.39 times the first, and their range is 40 % of their median): one of the two was measured while other programs used the memory; compare only within a round, and run again without other programs, or measure the ceiling again (a new measurement of the machine)");
    }

    #[test]
    fn an_interrupted_run_has_one_sentence() {
        insta::assert_snapshot!(Warning::Interrupted(2, 3).text(), @"the run was interrupted: 2 of 3 cases are incomplete, with the samples until then; continue the run with `resume`");
    }
}
