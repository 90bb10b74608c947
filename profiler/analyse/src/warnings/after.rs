//! Warnings that follow from the samples.

use std::collections::BTreeSet;

use super::worst::worst;
use super::{STEAL, Warning};
use crate::drift::{Drift, drift};
use crate::served_weights::served_weights;
use crate::summary::disturbances;
use record::plan::{MOST_WARMUPS, STEADY};
use record::{Case, Pass, ProbeEffect, RunFile, Sample, Status, TopLogprobs};
use statistics::{median, percentile};

/// Share of the processor time that other processes took during a sample.
const OTHERS: f64 = 0.1;
/// A pass's latency over the clean pass's.
const PROBE: f64 = 1.1;
/// Time between the phases over the latency: above this, work is missing in the phases.
const OTHER: f64 = 0.01;
/// Latency of the last rounds over the first: above this it is heat, or another program.
const DRIFT: f64 = 1.1;
/// Relative difference of the probed bandwidth from the stored ceiling: more than drift alone explains.
const CEILING: f64 = 0.25;
/// The difference in nats up to which two tokens may change places: sums in another order round differently.
const TIE: f32 = 1e-3;
/// (largest - smallest) / median of a case's latencies.
const SPREAD: f64 = 0.25;

/// The warnings that follow from the samples. `probes` are the probe effects of the cases.
#[must_use]
pub fn after(file: &RunFile, probes: &[ProbeEffect]) -> Vec<Warning> {
    let mut found = Vec::new();
    let count = |which: fn(Status) -> bool| file.cases.iter().filter(|case| which(case.status)).count();
    if file.interrupted {
        found.push(Warning::Interrupted(count(Status::is_incomplete), file.cases.len()));
    }
    let bad = count(Status::is_failure);
    if bad > 0 {
        found.push(Warning::Failures(bad, file.cases.len()));
    }
    let is_only_served = |model: &str| {
        let mut cases = file.cases.iter().filter(|case| case.model == model).peekable();
        let is_served = |case: &Case| file.identity(&case.engine).is_some_and(|engine| engine.device.is_remote());
        cases.peek().is_some() && cases.all(is_served)
    };
    let synthetic: Vec<String> = file
        .plan
        .models
        .iter()
        .filter(|model| model.synthetic)
        .map(|model| match is_only_served(&model.name) {
            false => model.name.clone(),
            true => format!("{} (the file that is named beside a server, which may have other weights)", model.name),
        })
        .collect();
    if !synthetic.is_empty() {
        found.push(Warning::Synthetic(synthetic));
    }
    for model in &file.plan.models {
        found.extend(model.substitutions.iter().map(|substitution| {
            Warning::Substituted(model.name.clone(), substitution.what.clone(), substitution.used.clone())
        }));
    }
    let weights = served_weights(file).into_iter();
    found.extend(weights.filter(|weights| weights.contradiction.is_some()).map(Warning::OtherWeights));
    found.extend(
        file.cases
            .iter()
            .filter(|case| outputs(case) > 1)
            .map(|case| Warning::OutputDiffers(case.id.clone(), has_others(case))),
    );
    found.extend(steps_differ(&file.cases));
    found
        .extend(worst(&file.cases, spread, SPREAD).map(|(cases, worst, spread)| Warning::Spread(cases, worst, spread)));
    found.extend(
        worst(&file.cases, between, OTHER).map(|(cases, worst, share)| Warning::OtherTime(cases, worst, share)),
    );
    if file.plan.warmup.is_none() {
        let unsteady = worst(&file.cases, unsteady, STEADY);
        found.extend(unsteady.map(|(cases, worst, change)| Warning::Unsteady(cases, worst, change)));
    }
    let disturbances = disturbances(&file.cases);
    if disturbances.disturbed > 0 {
        found.push(Warning::Disturbed(disturbances));
    }
    if file.plan.virtual_time {
        // The warnings below need real time.
        found.push(Warning::VirtualTime);
        return found;
    }
    let ratio = |value: fn(&ProbeEffect) -> Option<f64>| median(&probes.iter().filter_map(value).collect::<Vec<f64>>());
    let passes =
        [(Pass::Stepped, ratio(|probe| probe.stepped.value())), (Pass::Traced, ratio(|probe| probe.traced.value()))];
    let passes_with = |is_remarkable: fn(f64) -> bool| {
        let known = passes.iter().filter_map(|(pass, ratio)| Some((*pass, (*ratio)?)));
        Some(known.filter(|(_, ratio)| is_remarkable(*ratio)).collect()).filter(|found: &Vec<_>| !found.is_empty())
    };
    found.extend(passes_with(|ratio| ratio > PROBE).map(Warning::ProbeEffect));
    found.extend(passes_with(|ratio| ratio < 1.0 / PROBE).map(Warning::ProbeNoise));
    let drifts = |ratio: &f64| *ratio > DRIFT || *ratio < 1.0 / DRIFT;
    found.extend(ratio(|probe| probe.clean.value()).filter(drifts).map(Warning::Drift));
    found.extend(bandwidth(file));
    found.extend(super::conditions::warnings(file));
    let (samples, largest) = above(file, |sample| sample.steal.value(), STEAL);
    if samples > 0 {
        found.push(Warning::Steal(samples, largest));
    }
    let (samples, largest) = above(file, |sample| sample.load_others.value(), OTHERS);
    if samples > 0 {
        found.push(Warning::Others(samples, largest));
    }
    found
}

/// The probes that drifted, or that differ from the ceiling of the same thread count: those with the widest range, because all
/// thread counts read the same memory.
fn bandwidth(file: &RunFile) -> Option<Warning> {
    let of_ceiling = |probes: &Drift| {
        let entry = file.ceilings.as_ref()?.threads.iter().find(|entry| entry.threads == probes.threads)?;
        let ratio = probes.median / entry.memory_read.value()?.median;
        ((ratio - 1.0).abs() > CEILING).then_some(ratio)
    };
    let all = drift(&file.ceiling_probes).into_iter().map(|probes| (probes, of_ceiling(&probes)));
    let remarkable = all.filter(|(probes, of_ceiling)| probes.is_large() || of_ceiling.is_some());
    let widest = remarkable.max_by(|a, b| a.0.range.total_cmp(&b.0.range));
    widest.map(|(probes, of_ceiling)| Warning::Bandwidth { probes, of_ceiling })
}

/// The number of samples above a limit, and the largest value.
fn above(file: &RunFile, value: fn(&Sample) -> Option<f64>, limit: f64) -> (usize, f64) {
    let over: Vec<f64> =
        file.cases.iter().flat_map(Case::clean_samples).filter_map(value).filter(|&share| share > limit).collect();
    (over.len(), over.iter().copied().fold(0.0, f64::max))
}

/// The number of different outputs among the samples of a case. Samples with a nonce before the prompt may differ and do not count.
fn outputs(case: &Case) -> usize {
    let same_prompt = |sample: &&Sample| sample.server.as_ref().is_none_or(|server| !server.nonce);
    let samples = case.clean_samples().chain(&case.stepped).chain(&case.traced).filter(same_prompt);
    samples.filter_map(|sample| sample.output_sha256.as_ref()).collect::<BTreeSet<_>>().len()
}

/// Whether the server of a case worked on requests of other clients meanwhile.
fn has_others(case: &Case) -> bool {
    let others = |sample: &Sample| sample.server.as_ref().and_then(|server| server.other_requests);
    case.clean_samples().filter_map(others).any(|others| others > 0)
}

/// The cases with an output token that is not the most likely one of the engine's steps.
fn steps_differ(cases: &[Case]) -> Option<Warning> {
    let found: Vec<(&Case, usize)> = cases.iter().filter_map(|case| Some((case, differs_at(case)?))).collect();
    let (first, token) = found.first()?;
    Some(Warning::StepsDiffer(found.len(), first.id.clone(), *token))
}

/// The first such output token, counted from 1. A token that is not listed counts as unlikely.
fn differs_at(case: &Case) -> Option<usize> {
    let output = case.output.as_ref()?;
    let mut tokens = output.token_ids.iter().zip(&output.top_logprobs);
    let differs = |(id, top): (&u32, &TopLogprobs)| top.gap_to_top(*id).is_none_or(|gap| gap > TIE);
    tokens.position(differs).map(|place| place + 1)
}

/// (largest - smallest) / median of a case's latencies; needs three.
fn spread(case: &Case) -> Option<f64> {
    let latencies: Vec<f64> = case.clean_samples().filter_map(|sample| sample.latency_s.value()).collect();
    let middle = median(&latencies).filter(|&middle| middle > 0.0 && latencies.len() > 2)?;
    Some((percentile(&latencies, 100.0)? - percentile(&latencies, 0.0)?) / middle)
}

/// Median share of the latency of a case that is between the phases.
fn between(case: &Case) -> Option<f64> {
    let share =
        |sample: &Sample| Some(sample.other_s.value()? / sample.latency_s.value().filter(|&latency| latency > 0.0)?);
    median(&case.clean_samples().filter_map(share).collect::<Vec<f64>>())
}

/// The relative change of the seconds per token between the last two warm-up requests, for cases whose warm-up reached its limit.
fn unsteady(case: &Case) -> Option<f64> {
    let paces: Vec<f64> = case.samples.iter().filter(|sample| sample.warmup).filter_map(Sample::pace).collect();
    let [.., earlier, last] = paces.as_slice() else { return None };
    (paces.len() > MOST_WARMUPS && *earlier > 0.0).then(|| ((last - earlier) / earlier).abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::CeilingProbe;

    fn case(id: &str, samples: Vec<Sample>) -> Case {
        Case { id: id.to_owned(), samples, ..Case::default() }
    }

    #[test]
    fn other_clients_are_named_where_outputs_differ() {
        let sample = |others| Sample {
            server: Some(record::ServerSample {
                other_requests: others,
                ..record::ServerSample::absent("not reported")
            }),
            ..Sample::absent("not measured")
        };
        assert!(has_others(&case("c", vec![sample(Some(0)), sample(Some(1))])));
        assert!(!has_others(&case("c", vec![sample(Some(0)), sample(None)])));
        let text = Warning::OutputDiffers("c".to_owned(), true).text();
        assert!(text.contains("other clients"), "{text}");
    }

    #[test]
    fn outputs_that_differ_are_counted() {
        let sample = |hash: &str| Sample { output_sha256: hash.to_owned().into(), ..Sample::absent("not measured") };
        assert_eq!(outputs(&case("c", vec![sample("a"), sample("b"), sample("a")])), 2);
        assert_eq!(outputs(&case("c", vec![sample("a"), sample("a")])), 1);
        assert_eq!(outputs(&case("c", vec![Sample::absent("not measured")])), 0);
    }

    #[test]
    fn a_token_that_the_steps_would_not_choose_has_a_warning() {
        let top = |logprobs: [f32; 2]| TopLogprobs { ids: vec![7, 8], logprobs: logprobs.into() };
        let of = |id: &str, token_ids: Vec<u32>| {
            let top_logprobs = [top([-0.1, -3.0]), top([-0.7, -0.700_5]), top([-0.1, -3.0])].into();
            let output = record::CaseOutput { token_ids, top_logprobs, ..record::CaseOutput::absent("unused") };
            Case { output: Some(output), ..case(id, Vec::new()) }
        };
        assert_eq!(differs_at(&of("a", vec![7, 7, 7])), None);
        assert_eq!(differs_at(&of("a", vec![7, 8, 7])), None, "a near-tie");
        assert_eq!(differs_at(&of("a", vec![7, 8, 8])), Some(3));
        assert_eq!(differs_at(&of("a", vec![9, 7, 7])), Some(1), "not among those that were kept");
        assert_eq!(differs_at(&case("a", Vec::new())), None);
        let found = steps_differ(&[of("a", vec![7, 7, 7]), of("b", vec![7, 8, 8]), of("c", vec![8, 7, 7])]).unwrap();
        insta::assert_snapshot!(found.text(), @"the engine's own loop and its steps differ in 2 cases: in b, output token 3 is not the most likely one of the steps, so the stepped pass may do other work than the clean pass; check output.top_logprobs in run.json, and report it to the engine's authors");
    }

    fn probed(threads: usize, rate: f64) -> CeilingProbe {
        CeilingProbe { threads, memory_read: rate.into(), ..CeilingProbe::absent("not probed") }
    }

    #[test]
    fn a_drift_of_the_bandwidth_has_a_warning_with_advice() {
        let drift = drift(&[probed(2, 40e9), probed(2, 30e9)])[0];
        let text = Warning::Bandwidth { probes: drift, of_ceiling: None }.text();
        assert!(text.contains("2 threads") && text.contains("0.75 times") && text.contains("run again"), "{text}");
    }

    #[test]
    fn cases_with_the_same_problem_share_a_warning() {
        let sample = |latency: f64| Sample {
            latency_s: latency.into(),
            other_s: (0.02 * latency).into(),
            ..Sample::absent("not measured")
        };
        let wide = |id: &str, most: f64| case(id, vec![sample(1.0), sample(1.0), sample(most)]);
        let cases = [wide("a", 1.5), wide("b", 2.0), wide("c", 1.1)];
        let (count, id, found) = worst(&cases, spread, SPREAD).unwrap();
        assert_eq!((count, id.as_str()), (2, "b"));
        assert!((found - 1.0).abs() < 1e-9);
        assert_eq!(worst(&cases, between, OTHER).map(|(count, ..)| count), Some(3));
        assert_eq!(worst(&cases, between, 0.5), None);
        assert_eq!(spread(&case("d", vec![sample(1.0), sample(9.0)])), None);
    }

    #[test]
    fn a_warm_up_that_ends_unsteady_has_a_warning() {
        let warm = |latency: f64| Sample {
            warmup: true,
            latency_s: latency.into(),
            output_tokens: 1.into(),
            ..Sample::absent("not measured")
        };
        let of = |latencies: &[f64]| case("c", latencies.iter().map(|latency| warm(*latency)).collect());
        assert!((unsteady(&of(&[4.0, 3.0, 2.0, 1.5])).unwrap() - 0.25).abs() < 1e-9);
        assert_eq!(unsteady(&of(&[4.0, 3.0])), None, "it ended before its limit");
        let file = RunFile { cases: vec![of(&[4.0, 3.0, 2.0, 1.5])], ..RunFile::default() };
        let found = after(&file, &[]);
        let text = found.iter().find(|warning| matches!(warning, Warning::Unsteady(..))).map(Warning::text);
        insta::assert_snapshot!(text.unwrap(), @"in 1 case the latency was not steady when warm-up reached its limit, least in c: the last request differs by 25 % from the one before; use more warm-up requests (`warmup`), and end other programs");
        let requested = RunFile { plan: record::plan::PlanFile { warmup: Some(3), ..file.plan.clone() }, ..file };
        assert!(
            !after(&requested, &[]).iter().any(|warning| matches!(warning, Warning::Unsteady(..))),
            "the number was requested"
        );
    }
}
