//! The verdict on a phase over all prompts of an engine, model, thread count and depth.

use record::{Case, Judgement, Limit, Verdict};

/// One judgement per group and phase, groups in the order of their first case, phases in the order of a request. Of the limits
/// that its cases name the one of most time wins; the verdict that stands for it is that of the case with most of that time.
pub(super) fn of(cases: &[Case]) -> Vec<Judgement> {
    let mut groups: Vec<Vec<&Case>> = Vec::new();
    for case in cases.iter().filter(|case| !case.verdicts.is_empty()) {
        match groups.iter_mut().find(|group| group.first().is_some_and(|first| key(first) == key(case))) {
            Some(group) => group.push(case),
            None => groups.push(vec![case]),
        }
    }
    groups.iter().flat_map(|group| judgements(group)).collect()
}

fn key(case: &Case) -> (&str, &str, usize, usize) {
    (&case.engine, &case.model, case.threads, case.depth)
}

fn judgements(group: &[&Case]) -> Vec<Judgement> {
    engine_api::Phase::ALL.iter().filter_map(|phase| judgement(group, phase.name())).collect()
}

fn judgement<'c>(group: &[&'c Case], phase: &str) -> Option<Judgement> {
    let of_case = |case: &&'c Case| {
        let case: &'c Case = case;
        case.verdicts.iter().filter(|verdict| verdict.phase == phase).map(move |verdict| (case, verdict))
    };
    let verdicts: Vec<(&Case, &Verdict)> = group.iter().flat_map(of_case).collect();
    let time_of = |limit: Limit| -> f64 {
        verdicts.iter().filter(|(_, verdict)| verdict.limit == limit).map(|(_, verdict)| time(verdict)).sum()
    };
    // Of equal times the first wins: `max_by` takes the last, so it goes backwards.
    let (_, longest) = verdicts.iter().rev().max_by(|a, b| time_of(a.1.limit).total_cmp(&time_of(b.1.limit)))?;
    let alike: Vec<&(&Case, &Verdict)> =
        verdicts.iter().filter(|(_, verdict)| verdict.limit == longest.limit).collect();
    let (case, stands) = alike.iter().rev().max_by(|a, b| time(a.1).total_cmp(&time(b.1)))?;
    Some(Judgement {
        engine: case.engine.clone(),
        model: case.model.clone(),
        threads: case.threads,
        depth: case.depth,
        prompt: case.prompt.clone(),
        verdict: (*stands).clone(),
        agree: alike.len(),
        cases: verdicts.len(),
    })
}

/// The time of the phase: the first figure of every verdict.
fn time(verdict: &Verdict) -> f64 {
    verdict.evidence.first().map_or(0.0, |figure| figure.value)
}
