//! The facts of the phases of a case, from its measurements and its attribution.

use engine_api::{Device, Phase};

use super::facts::{Fact, Facts, MachineFacts, TracedFacts};
use crate::attribution::{Attribution, CaseCeilings, has_processor_ceilings};
use crate::drift;
use crate::experts::{WeightsRead, weights_read};
use crate::summary::{PHASE_TIMES, probe_effect};
use record::plan::PlannedModel;
use record::{
    Case, CaseNote, OpFindings, OpRow, PhaseRow, Reason, Recorded, RecordedMap, Roof, RunFile, Sample, ServerSample,
};
use statistics::median;

/// An op is small where its attainable time per call is below this number of dispatches to the threads. Up to this number of
/// dispatches per call then counts as overhead: one to start, one to wait for the last thread, one for the engine's own loop.
const SMALL: f64 = 3.0;
/// Prompt tokens of one pass, where the model is treated as a whole.
const PASS_TOKENS: f64 = 512.0;

/// The facts of the phases that were measured, in the order of a request.
pub(super) fn facts(file: &RunFile, case: &Case, attribution: &Attribution) -> Vec<Facts> {
    let view = CaseView {
        file,
        case,
        attribution,
        device: file.identity(&case.engine).map_or(&Device::Cpu, |engine| &engine.device),
        model: file.plan.models.iter().find(|model| model.name == case.model),
    };
    Phase::ALL.iter().filter_map(|&phase| view.phase(phase)).collect()
}

/// A case and what belongs to it.
struct CaseView<'a> {
    file: &'a RunFile,
    case: &'a Case,
    attribution: &'a Attribution,
    /// The device of the engine; the processor where the run does not name one.
    device: &'a Device,
    model: Option<&'a PlannedModel>,
}

impl CaseView<'_> {
    fn ceilings(&self) -> Option<&CaseCeilings> {
        self.attribution.ceilings.as_ref().ok()
    }

    /// The ops of a phase with their findings.
    fn ops(&self, phase: Phase) -> Vec<(&OpRow, &OpFindings)> {
        let rows = self.case.ops.iter().zip(&self.attribution.ops);
        rows.filter(|(row, _)| row.phase == phase).collect()
    }

    fn phase(&self, phase: Phase) -> Option<Facts> {
        let time_s = if phase == Phase::Load { self.case.memory.load_s.value() } else { self.median(time_of(phase)?) };
        let latency = self.median(|sample| sample.latency_s.value());
        let mut facts = Facts {
            phase: Some(phase),
            time_s: time_s.filter(|&time| time > 0.0)?,
            threads: self.case.threads,
            on_processor: has_processor_ceilings(self.device),
            machine: MachineFacts { drift: self.drift(), ..MachineFacts::default() },
            traced: TracedFacts { probe_effect: probe_effect(self.case).traced.value(), ..TracedFacts::default() },
            ..Facts::default()
        };
        let processor = &self.file.environment.processor;
        facts.machine.usable = processor.usable_threads.value().or(processor.threads.value());
        facts.machine.processors = processor.threads.value().or(processor.usable_threads.value());
        if self.case.notes.has(CaseNote::Threads) {
            // The number of threads of a server is unknown, so it cannot be too large.
            facts.machine.usable = None;
        }
        self.machine(&mut facts);
        if phase == Phase::Load {
            self.load(&mut facts);
        } else {
            facts.latency_share = latency.filter(|&latency| latency > 0.0).map(|latency| facts.time_s / latency);
            if self.case.server.is_none() {
                facts.others = self.median(|sample| sample.load_others.value());
                facts.steal = self.median(|sample| sample.steal.value());
            }
            let disturbed = self.case.clean_samples().filter(|sample| sample.disturbed.is_some()).count();
            facts.disturbed = Some((disturbed, self.case.clean_samples().count()));
            facts.prompt_tokens = self.median(|sample| sample.computed_prompt_tokens().map(|tokens| tokens as f64));
            facts.with_fewer_threads = self.with_fewer_threads(&facts);
            self.counters(&mut facts, phase);
            self.allocations(&mut facts, phase);
            facts.server_s = self.reported_by_server(phase);
        }
        if facts.is_forward() {
            self.work(&mut facts, phase);
            self.small_ops(&mut facts, phase);
            self.idle(&mut facts, phase);
        }
        self.explain(&mut facts, phase);
        Some(facts)
    }

    /// The median over the clean requests.
    fn median(&self, value: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        median(&self.case.clean_samples().filter_map(value).collect::<Vec<f64>>())
    }

    /// The time of a forward phase by the server's own report: median over the clean requests; `None` where no server reports it.
    fn reported_by_server(&self, phase: Phase) -> Option<f64> {
        let time: fn(&ServerSample) -> Option<f64> = match phase {
            Phase::Prefill => |server| server.prefill_s.value(),
            Phase::Decode => |server| server.decode_s.value(),
            Phase::Load | Phase::Tokenize | Phase::Sample | Phase::Detokenize => return None,
        };
        self.median(|sample| time(sample.server.as_ref()?))
    }

    /// The relative range of the run's own probes of bandwidth, or the change from the first to the last if that is larger.
    fn drift(&self) -> Option<f64> {
        let threads = self.ceilings().map_or(self.case.threads, |ceilings| ceilings.threads);
        let found = drift::drift(&self.file.ceiling_probes);
        let own = found.iter().find(|drift| drift.threads == threads)?;
        Some(own.range.max((own.last_to_first - 1.0).abs()))
    }

    /// The ceilings.
    fn machine(&self, facts: &mut Facts) {
        let ceilings = self.file.ceilings.as_ref();
        facts.machine.cold_rate =
            ceilings.and_then(|known| known.file_read_cold.value()).and_then(|rate| positive(rate.median));
        facts.machine.warm_rate =
            ceilings.and_then(|known| known.file_read_warm.value()).and_then(|rate| positive(rate.median));
        let Some(own) = self.ceilings() else { return };
        facts.machine.bandwidth = own.memory.map(|(rate, _)| rate.0);
        facts.machine.dispatch_s = own.dispatch.map(|time| time.0);
        facts.machine.page_fault_s = own.page_fault.map(|time| time.0);
        let Some(ceilings) = ceilings else { return };
        let usable = facts.machine.usable.unwrap_or(usize::MAX);
        let within = || ceilings.threads.iter().filter(|known| known.threads <= usable);
        let most = |rates: Vec<(usize, f64)>| rates.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        facts.machine.bandwidth_most =
            most(within().filter_map(|known| Some((known.threads, known.memory_read.value()?.median))).collect());
        let own = ceilings.of(self.case.threads);
        facts.machine.bandwidth_huge = own
            .and_then(|own| own.memory_read_huge.value())
            .zip(own.and_then(|own| own.memory_read.value()))
            .and_then(|(huge, small)| {
                // Both from one measurement, so that drift since then cancels.
                Some(facts.machine.bandwidth? * positive(huge.median / small.median)?)
            });
        let compute =
            |known: &record::ThreadCeilings| known.dot_i8.value().or(known.fma_f32.value()).map(|rate| rate.median);
        facts.machine.compute_most = own
            .and_then(compute)
            .and_then(positive)
            .and_then(|now| most(within().filter_map(|known| Some((known.threads, compute(known)? / now))).collect()));
    }

    /// The least time that the ceilings allow: for the traced ops, else for the model as a whole.
    fn work(&self, facts: &mut Facts, phase: Phase) {
        let sum = self.attribution.sums.iter().find(|sum| sum.phase == phase);
        let ops = self.ops(phase);
        facts.work.bits_per_weight = self
            .case
            .memory
            .weights_bytes
            .value()
            .zip(self.model.and_then(|model| model.parameters.value()))
            .and_then(|(bytes, parameters)| positive(bytes as f64 * 8.0 / parameters as f64));
        let limited_by = |roofs: &[Roof]| -> f64 {
            let attainable = ops.iter().filter_map(|(_, op)| op.attainable.as_ref().ok());
            attainable.filter(|op| roofs.contains(&op.roof)).map(|op| op.seconds).sum()
        };
        if let Some(sum) = sum.filter(|_| ops.iter().any(|(_, op)| op.attainable.is_ok())) {
            // The attainable time does not depend on measured times, so it is compared with the clean pass.
            facts.work.time_s = Some(facts.time_s);
            facts.traced.time_s = Some(sum.time_s);
            facts.work.attainable_s = sum.attainable_s.value();
            facts.work.memory_s = Some(limited_by(&[Roof::Memory, Roof::Cache]));
            facts.work.compute_s = Some(limited_by(&[Roof::Compute]));
            facts.work.cache_s = Some(limited_by(&[Roof::Cache]));
            return;
        }
        facts.work.time_s = Some(facts.time_s);
        if self.case.server.is_some() {
            // The weights that a server reads and their types are unknown.
            return;
        }
        facts.work.whole_model = true;
        let (bytes, flops) = (self.bytes(facts), self.flops(facts));
        let memory = bytes.zip(facts.machine.bandwidth).map(|(bytes, rate)| bytes / rate);
        let peak = self.ceilings().and_then(|ceilings| {
            let quantised = self.model.is_some_and(|model| model.quantisation.to_lowercase().contains('q'));
            ceilings.i8.filter(|_| quantised).or(ceilings.f32).map(|rate| rate.0)
        });
        let compute = flops.zip(peak).map(|(flops, rate)| flops / rate);
        // The forward pass counts as one operation: the slower of the two limits it.
        match (memory, compute) {
            (Some(memory), Some(compute)) => {
                facts.work.attainable_s = Some(memory.max(compute));
                facts.work.memory_s = Some(if memory >= compute { memory } else { 0.0 });
                facts.work.compute_s = Some(if compute > memory { compute } else { 0.0 });
            }
            (memory, compute) => {
                (facts.work.memory_s, facts.work.compute_s, facts.work.attainable_s) =
                    (memory, compute, memory.or(compute));
            }
        }
    }

    /// Bytes of weights that the passes of the phase read: all of them, once a pass; of experts those that a pass uses. `None` where that is
    /// not known.
    fn bytes(&self, facts: &Facts) -> Option<f64> {
        let (passes, tokens) = self.passes(facts)?;
        let a_pass = match weights_read(self.model?, tokens) {
            WeightsRead::Part(work) => work.weight_bytes,
            WeightsRead::Whole => self.case.memory.weights_bytes.value()? as f64,
            WeightsRead::Unknown => return None,
        };
        Some(a_pass * passes)
    }

    /// Two operations a parameter and token; of experts those that a token uses.
    fn flops(&self, facts: &Facts) -> Option<f64> {
        let (passes, tokens) = self.passes(facts)?;
        let model = self.model?;
        let a_pass = match weights_read(model, tokens) {
            WeightsRead::Part(work) => work.flops,
            WeightsRead::Whole => 2.0 * model.parameters.value()? as f64 * tokens,
            WeightsRead::Unknown => return None,
        };
        Some(a_pass * passes)
    }

    /// The number of passes of the phase, and the mean number of tokens of each.
    fn passes(&self, facts: &Facts) -> Option<(f64, f64)> {
        match facts.phase? {
            Phase::Prefill => {
                let tokens = facts.prompt_tokens?;
                let passes = (tokens / PASS_TOKENS).ceil();
                (passes > 0.0).then(|| (passes, tokens / passes))
            }
            _ => Some((self.decoded()?, 1.0)),
        }
    }

    /// Passes of the decode phase: one for each output token but the last.
    fn decoded(&self) -> Option<f64> {
        self.median(|sample| Some(sample.output_tokens.value()?.saturating_sub(1) as f64))
    }

    /// The number of ops that are so small that dispatch matters, and their time beyond the attainable time.
    fn small_ops(&self, facts: &mut Facts, phase: Phase) {
        let Some(dispatch) = facts.machine.dispatch_s else { return };
        let rows = self.ops(phase).into_iter().filter(|(row, _)| row.count > 0);
        let known: Vec<(&OpRow, f64)> = rows.filter_map(|(row, op)| Some((row, op.attainable_s()?))).collect();
        if known.is_empty() {
            return;
        }
        let small = known.iter().filter(|(op, attainable)| attainable / (op.count as f64) < SMALL * dispatch);
        let (count, time) = small.fold((0.0, 0.0), |(count, time), (op, attainable)| {
            let beyond = (op.time_s - attainable).clamp(0.0, op.count as f64 * SMALL * dispatch);
            (count + op.count as f64, time + beyond)
        });
        (facts.traced.small_ops, facts.traced.small_ops_s) = (Some(count), Some(time));
    }

    /// `mean of the threads' idle shares x time of the shared work`, where `time of the shared work = busy / (1 - idle share)`
    /// of any thread that worked.
    fn idle(&self, facts: &mut Facts, phase: Phase) {
        let rows = || self.case.workers.iter().filter(|worker| worker.phase == phase);
        let shared =
            rows().filter(|worker| worker.idle_share < 1.0).map(|worker| worker.busy_s / (1.0 - worker.idle_share));
        let Some(shared) = shared.reduce(f64::max) else { return };
        let count = rows().count() as f64;
        facts.traced.idle_s = Some(rows().map(|worker| worker.idle_share).sum::<f64>() / count * shared);
    }

    /// The counters of the phase in the stepped pass; the CPU time of the whole request where the engine has no steps.
    fn counters(&self, facts: &mut Facts, phase: Phase) {
        if let Some(row) = self.case.phases.iter().find(|row| row.phase == phase && row.time_s.is_present()) {
            let of = |name: &str| row.counters.get(name).and_then(Recorded::value);
            facts.counted.time_s = row.time_s.value();
            facts.counted.cpu_s = row.cpu_s.value();
            facts.counted.minor_faults = of("minor_faults");
            facts.counted.read_bytes = of("read_bytes");
            facts.counted.involuntary_switches = of("involuntary_switches");
            return;
        }
        facts.counted.time_s = self.median(|sample| sample.latency_s.value());
        facts.counted.cpu_s = self.median(|sample| sample.cpu_s.value());
    }

    fn allocations(&self, facts: &mut Facts, phase: Phase) {
        let Some(row) = self.case.allocations.iter().find(|row| row.phase == phase) else { return };
        facts.allocated.count = Some(row.count as f64);
        facts.allocated.bytes = Some(row.bytes as f64);
        let traced = self.attribution.sums.iter().find(|sum| sum.phase == phase).map(|sum| sum.time_s);
        facts.allocated.time_s = traced.or(Some(facts.time_s));
    }

    /// Loading, including the excess of the first prefill where the file was read from storage only then.
    fn load(&self, facts: &mut Facts) {
        let memory = &self.case.memory;
        let number = |bytes: &Recorded<u64>| bytes.value().map(|bytes| bytes as f64);
        facts.load.time_s = memory.load_s.value();
        facts.load.file_bytes = number(&memory.file_bytes);
        facts.load.cached_share = memory.load_cached_share.value();
        facts.load.read_bytes = number(&memory.load_read_bytes);
        let later = number(&memory.first_read_bytes).filter(|&bytes| bytes > 0.0);
        let first = self.case.samples.iter().find(|sample| sample.fresh).and_then(|sample| sample.prefill_s.value());
        facts.load.first_prefill_excess_s = later
            .and(first)
            .zip(self.median(|sample| sample.prefill_s.value()))
            .map(|(first, others)| (first - others).max(0.0));
        facts.time_s += facts.load.first_prefill_excess_s.unwrap_or(0.0);
        facts.counted.read_bytes = facts.load.read_bytes.map(|bytes| bytes + later.unwrap_or(0.0));
        facts.counted.time_s = Some(facts.time_s);
        let of = |name: &str| memory.load_counters.get(name).and_then(Recorded::value);
        facts.counted.cpu_s = of("cpu_user_s").zip(of("cpu_system_s")).map(|(user, system)| user + system);
        facts.counted.minor_faults = of("minor_faults");
        facts.load.user_s = of("cpu_user_s");
        // The least work of loading is to read the file into the process, from the page cache or from memory.
        facts.work.time_s = Some(facts.time_s);
        facts.work.memory_s = facts
            .load
            .file_bytes
            .zip(facts.machine.warm_rate.or(facts.machine.bandwidth))
            .map(|(bytes, rate)| bytes / rate);
        facts.work.attainable_s = facts.work.memory_s;
        // The processor's work besides that, such as building the tokenizer.
        facts.work.compute_s = facts.load.user_s.map(|user| (user - facts.work.memory_s.unwrap_or(0.0)).max(0.0));
    }

    /// The same case with as many threads as there are processors, or the nearest lower count: its threads and its time.
    fn with_fewer_threads(&self, facts: &Facts) -> Option<(usize, f64)> {
        let usable = facts.machine.usable.filter(|&usable| self.case.threads > usable)?;
        let like = |other: &&Case| {
            (&other.engine, &other.model, &other.prompt, other.depth)
                == (&self.case.engine, &self.case.model, &self.case.prompt, self.case.depth)
        };
        let others = self.file.cases.iter().filter(like).filter(|other| other.threads <= usable);
        let best = others.max_by_key(|other| other.threads)?;
        let time = median(&best.clean_samples().filter_map(time_of(facts.phase?)?).collect::<Vec<f64>>())?;
        positive(time).map(|time| (best.threads, time))
    }

    /// The reasons of absent figures: those of the run file where it has one.
    fn explain(&self, facts: &mut Facts, phase: Phase) {
        let case = self.case;
        let without = |rows: Option<&Reason>, else_: &str| rows.map_or_else(|| else_.to_owned(), Reason::to_string);
        let ceiling = || match &self.attribution.ceilings {
            Err(reason) if !has_processor_ceilings(self.device) => reason.to_string(),
            _ => match &self.file.ceilings {
                Recorded::Absent(reason) if *reason != Reason::unrecorded() => reason.to_string(),
                _ => NO_CEILING.to_owned(),
            },
        };
        let counter = |name: &str| {
            let row = case.phases.iter().find(|row: &&PhaseRow| row.phase == phase);
            let of_row = || row.and_then(|row| why_absent(&row.counters, name));
            let found = of_row()
                .or_else(|| why_absent(&case.counters, name).or_else(|| case.notes.of_counter(name)))
                .or_else(|| why_absent(&case.memory.load_counters, name))
                .map(str::to_owned);
            found.unwrap_or_else(|| without(case.phases.stated_reason(), "it was not counted in this phase"))
        };
        let ops = || without(case.ops.stated_reason(), "no operation of this phase has an attainable time");
        let of_machine = |what: &str| match case.server.is_some() {
            true => format!("how much of the processors a server needs is unknown, and so what {what} costs it"),
            false => format!("no request was long enough to measure {what}"),
        };
        let missing = [
            (Fact::MemoryTime, facts.work.memory_s.is_none(), ceiling()),
            (Fact::ComputeTime, facts.work.compute_s.is_none(), ceiling()),
            (
                Fact::SmallOpsTime,
                facts.traced.small_ops_s.is_none(),
                if facts.machine.dispatch_s.is_none() { ceiling() } else { ops() },
            ),
            (Fact::IdleTime, facts.traced.idle_s.is_none(), "no thread recorded its tasks".to_owned()),
            (Fact::ColdRate, facts.machine.cold_rate.is_none(), ceiling()),
            (Fact::PageFaultTime, facts.machine.page_fault_s.is_none(), ceiling()),
            (Fact::CpuTime, facts.counted.cpu_s.is_none(), counter("cpu_user_s")),
            (Fact::MinorFaults, facts.counted.minor_faults.is_none(), counter("minor_faults")),
            (Fact::ReadBytes, facts.counted.read_bytes.is_none(), counter("read_bytes")),
            (
                Fact::Allocations,
                facts.allocated.count.is_none(),
                without(case.allocations.stated_reason(), "allocations were not counted"),
            ),
            (Fact::Others, facts.others.is_none(), of_machine("the load of other programs")),
            (Fact::Steal, facts.steal.is_none(), of_machine("the steal time")),
            (Fact::Usable, facts.machine.usable.is_none(), "the number of processors is unknown".to_owned()),
        ];
        facts.absent = missing
            .into_iter()
            .filter(|(_, is_missing, _)| *is_missing)
            .map(|(fact, _, reason)| (fact, Reason::new(reason)))
            .collect();
    }
}

const NO_CEILING: &str = "no such ceiling was measured for this thread count";

fn time_of(phase: Phase) -> Option<impl Fn(&Sample) -> Option<f64>> {
    PHASE_TIMES.iter().find(|(timed, _)| *timed == phase).map(|(_, of)| |sample: &Sample| of(sample).value())
}

/// Why a counter has no value.
fn why_absent<'a>(counters: &'a RecordedMap, name: &str) -> Option<&'a str> {
    counters.get(name)?.stated_reason().map(Reason::as_str)
}

fn positive(value: f64) -> Option<f64> {
    (value.is_finite() && value > 0.0).then_some(value)
}

#[cfg(test)]
mod tests {
    use engine_api::Identity;
    use record::{Ceilings, Limit, MemoryFile, Spread, ThreadCeilings, Verdict};

    use super::*;
    use crate::{attribution, verdicts};

    /// A run of one engine on a device: a decode of 1 s that reads 1 GB of weights, on a machine with 2 GB/s.
    fn run(device: Device, change: impl FnOnce(&mut Case)) -> RunFile {
        let spread = |median| Spread { median, low: median, high: median, n: 1 };
        let ceilings = ThreadCeilings {
            threads: 1,
            memory_read: spread(2e9).into(),
            fma_f32: spread(1e12).into(),
            ..ThreadCeilings::absent("not measured")
        };
        let sample = Sample {
            latency_s: 1.0.into(),
            decode_s: 1.0.into(),
            output_tokens: 2.into(),
            load_others: 0.0.into(),
            steal: 0.0.into(),
            cpu_s: 0.98.into(),
            ..Sample::absent("not measured")
        };
        let mut case = Case {
            engine: "an-engine".to_owned(),
            threads: 1,
            memory: MemoryFile { weights_bytes: 1_000_000_000.into(), ..MemoryFile::default() },
            samples: vec![sample],
            ..Case::default()
        };
        change(&mut case);
        let mut file = RunFile {
            ceilings: Ceilings { threads: vec![ceilings], ..Ceilings::absent("not measured") }.into(),
            cases: vec![case],
            ..RunFile::default()
        };
        file.plan.engines = vec!["an-engine".to_owned()];
        file.plan.models = vec![PlannedModel { has_experts: Some(false), ..PlannedModel::absent("invented") }];
        file.environment.engines = vec![Identity {
            name: "an-engine".to_owned(),
            variant: None,
            version: String::new(),
            device,
            features: Vec::new(),
            weight_use: engine_api::WeightUse::default(),
        }];
        file
    }

    fn decode(file: &RunFile) -> Option<Verdict> {
        let case = &file.cases[0];
        let found = verdicts::of_case(file, case, &attribution::attribute(file, case));
        found.into_iter().map(|found| found.verdict).find(|verdict| verdict.phase == Phase::Decode)
    }

    /// A request of a server with these times of the decode: CPU time of its processes, and its own report.
    fn server(cpu_s: Option<f64>, decode_s: Option<f64>) -> RunFile {
        run(Device::Server, |case| {
            case.server = Some(record::ServerFile::absent("not reported"));
            case.samples[0].cpu_s = cpu_s.ok_or(Reason::new("not measured")).into();
            case.samples[0].server = Some(ServerSample {
                decode_s: decode_s.ok_or_else(|| "not reported".into()).into(),
                ..ServerSample::absent("not reported")
            });
        })
    }

    #[test]
    fn a_server_that_reports_less_time_than_its_client_waits_is_bound_by_queue_or_network() {
        let found = decode(&server(None, Some(0.1))).unwrap();
        assert_eq!(found.limit, Limit::QueueOrNetwork, "{found:#?}");
        assert!((found.share - 0.9).abs() < 1e-9);
        assert!(found.evidence.iter().any(|figure| figure.source == "samples.server" && figure.value > 0.09));
        assert_eq!(decode(&server(None, Some(0.98))), None, "the server itself took the time");
        assert_eq!(decode(&server(Some(0.01), Some(0.98))), None, "it computes on another device");
        assert_eq!(decode(&server(Some(0.01), None)).unwrap().limit, Limit::QueueOrNetwork, "its processes were idle");
        assert_eq!(decode(&server(None, None)), None);
    }

    #[test]
    fn what_other_programs_cost_a_server_is_unknown() {
        let beside_others = |mut file: RunFile| {
            file.cases[0].samples[0].load_others = 0.99.into();
            decode(&file).map(|verdict| verdict.limit)
        };
        assert_eq!(beside_others(run(Device::Cpu, |_| {})), Some(Limit::NoisyNeighbour));
        // It may have waited, not computed.
        assert_eq!(beside_others(server(None, Some(0.98))), None);
    }

    #[test]
    fn an_engine_on_a_gpu_is_not_compared_with_the_processor() {
        let found = decode(&run(Device::Cpu, |_| {})).unwrap();
        assert_eq!(found.limit, Limit::MemoryBandwidth);
        assert!((found.headroom.value().unwrap() - 0.5).abs() < 1e-9);
        for device in [Device::Cuda(0), Device::Metal(0)] {
            assert_eq!(decode(&run(device.clone(), |_| {})), None, "{device}: its ceilings were not measured");
            let idle = run(device.clone(), |case| case.samples[0].cpu_s = 0.0.into());
            assert_eq!(decode(&idle), None, "{device}: the CPU time is not that of the engine's work");
        }
    }
}
