//! The cases that are compared: groups of one engine, model, thread count and depth on each side, and their prompts.

use std::collections::BTreeSet;

use engine_api::Identity;

use super::side::{ComparedRun, Side, Sides};
use record::plan::PlannedModel;
use record::{Case, RunFile};

/// The cases of one engine, model, thread count and depth, one a prompt.
#[derive(Debug, Clone)]
pub struct Group<'a> {
    /// The side's label.
    pub label: &'a str,
    /// The run.
    pub run: &'a ComparedRun,
    /// Its cases.
    pub cases: Vec<&'a Case>,
}

/// Two groups that are compared.
#[derive(Debug, Clone)]
pub struct GroupPair<'a> {
    /// The baseline.
    pub baseline: Group<'a>,
    /// The group that is compared with it.
    pub other: Group<'a>,
    /// Whether both were measured in the same rounds of one run.
    pub interleaved: bool,
}

/// A group without a counterpart, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmatched {
    /// The group.
    pub subject: String,
    /// The reason.
    pub reason: String,
}

type Key<'a> = (&'a str, &'a str, usize, usize);

impl<'a> Group<'a> {
    /// The run file.
    pub fn file(&self) -> &'a RunFile {
        &self.run.file
    }

    /// Engine label.
    pub fn engine(&self) -> &'a str {
        self.cases.first().map_or("", |case| case.engine.as_str())
    }

    /// Model name.
    pub fn model(&self) -> &'a str {
        self.cases.first().map_or("", |case| case.model.as_str())
    }

    /// Threads.
    pub fn threads(&self) -> usize {
        self.cases.first().map_or(0, |case| case.threads)
    }

    /// Tokens in the context before the prompt.
    pub fn depth(&self) -> usize {
        self.cases.first().map_or(0, |case| case.depth)
    }

    /// The model as the plan has it.
    pub fn planned(&self) -> Option<&'a PlannedModel> {
        self.file().plan.models.iter().find(|model| model.name == self.model())
    }

    /// The identity of the engine.
    pub fn identity(&self) -> Option<&'a Identity> {
        self.file().identity(self.engine())
    }

    /// The case of a prompt.
    pub fn case(&self, prompt: &str) -> Option<&'a Case> {
        self.cases.iter().copied().find(|case| case.prompt == prompt)
    }

    fn key(&self) -> Key<'a> {
        (self.engine(), self.model(), self.threads(), self.depth())
    }

    /// The group in words.
    pub fn subject(&self) -> String {
        let (engine, model, threads, depth) = self.key();
        let depth = if depth == 0 { String::new() } else { format!(", depth {depth}") };
        let plural = if threads == 1 { "" } else { "s" };
        format!("{model} on {engine}, {threads} thread{plural}{depth}")
    }
}

impl<'a> GroupPair<'a> {
    /// The cases of each prompt that both have, in the baseline's order.
    pub fn prompts(&self) -> impl Iterator<Item = (&'a Case, &'a Case)> {
        self.baseline.cases.iter().filter_map(|case| Some((*case, self.other.case(&case.prompt)?)))
    }
}

/// The groups of the baseline with those of every other side. A property with a single value on each of two sides may differ between
/// them: it is what is compared. Every other property must be equal.
pub fn pair_groups(sides: &Sides) -> (Vec<GroupPair<'_>>, Vec<Unmatched>) {
    let mut found = Vec::new();
    let mut unmatched = Vec::new();
    let Some((first, others)) = sides.sides.split_first() else { return (found, unmatched) };
    let baseline = groups(sides, first);
    for other in others {
        let partners = groups(sides, other);
        let free = free(&baseline, &partners);
        let equal = |a: Key<'_>, b: Key<'_>| {
            (free[0] || a.0 == b.0) && (free[1] || a.1 == b.1) && (free[2] || a.2 == b.2) && (free[3] || a.3 == b.3)
        };
        for group in &partners {
            let held = baseline.iter().find(|held| equal(held.key(), group.key()));
            match held {
                Some(held) => {
                    let one_run = std::ptr::eq(held.run, group.run) && held.model() == group.model();
                    let pair = GroupPair { baseline: held.clone(), other: group.clone(), interleaved: one_run };
                    if pair.prompts().next().is_some() {
                        found.push(pair);
                    } else {
                        unmatched.push(without(group, other, "the baseline has none of its prompts"));
                    }
                }
                None => unmatched.push(without(
                    group,
                    other,
                    "the baseline has no cases of the same engine, model, threads and depth",
                )),
            }
        }
        if partners.is_empty() {
            let reason = "it has no usable samples: its cases failed, or it was interrupted".to_owned();
            unmatched.push(Unmatched { subject: other.label.clone(), reason });
        }
    }
    if baseline.is_empty() {
        let reason = "it has no usable samples: its cases failed, or it was interrupted".to_owned();
        unmatched.push(Unmatched { subject: first.label.clone(), reason });
    }
    (found, unmatched)
}

fn without(group: &Group<'_>, side: &Side, reason: &str) -> Unmatched {
    Unmatched { subject: format!("{} ({})", group.subject(), side.label), reason: reason.to_owned() }
}

/// Whether engine, model, threads and depth have a single value on both sides.
fn free(a: &[Group<'_>], b: &[Group<'_>]) -> [bool; 4] {
    let single = |of: &dyn Fn(&Group<'_>) -> String| {
        let values = |groups: &[Group<'_>]| groups.iter().map(of).collect::<BTreeSet<_>>().len();
        values(a) == 1 && values(b) == 1
    };
    [
        single(&|group| group.engine().to_owned()),
        single(&|group| group.model().to_owned()),
        single(&|group| group.threads().to_string()),
        single(&|group| group.depth().to_string()),
    ]
}

/// The groups of a side that have a sample, in the order of its run.
fn groups<'a>(sides: &'a Sides, side: &'a Side) -> Vec<Group<'a>> {
    let Some(run) = sides.runs.get(side.run) else { return Vec::new() };
    let wanted = |case: &&Case| {
        side.engine.as_ref().is_none_or(|engine| *engine == case.engine)
            && side.model.as_ref().is_none_or(|model| *model == case.model)
            && case.clean_samples().next().is_some()
    };
    let mut groups: Vec<Group<'a>> = Vec::new();
    for case in run.file.cases.iter().filter(wanted) {
        let key: Key<'_> = (&case.engine, &case.model, case.threads, case.depth);
        match groups.iter_mut().find(|group| group.key() == key) {
            Some(group) => group.cases.push(case),
            None => groups.push(Group { label: &side.label, run, cases: vec![case] }),
        }
    }
    groups
}
