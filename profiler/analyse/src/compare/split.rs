//! A difference split into parts: the latency by its phases, a forward pass by its ops.
//!
//! ```text
//! latency      parts = the phases of the clean pass, means over the prompts in seconds a request; a phase that a side does not tell
//!              apart is added to the next one that both tell
//! prefill      parts = groups of ops: T x (time of the group / time of the phase), the shares from the traced pass and T the clean
//!              pass's seconds a prompt token
//! decode       the same with T the phase's seconds / decode steps: an output token after the first, without its sampling
//! share        = (other - baseline) of the part / (other - baseline) of the whole, where the parts change in one direction
//! ```
//! Marks cost time, on one engine more than on another: so the traced pass gives shares, and the clean pass the time that they are
//! shares of. Parts add up to their whole on either side.

use std::collections::BTreeSet;

use engine_api::Phase;

use super::comparison::{Split, SplitPart};
use super::pairing::{Group, GroupPair};
use crate::summary::PHASE_TIMES;
use record::{Case, Reasons, Recorded, Sample};
use statistics::{Quotient, combined};

/// Groups of ops with the names of their ops. Ops with other names are those of an engine.
pub(super) const GROUPS: &[(&str, &[&str])] = &[
    (
        "q/k/v/o projections",
        &[
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "qkv_proj",
            "q_a_proj",
            "q_b_proj",
            "kv_a_proj",
            "k_b_proj",
            "v_b_proj",
        ],
    ),
    ("attention", &["attention", "output_gate", "rope", "kv_write"]),
    ("convolutions and states", &["conv_in_proj", "convolution", "state_update", "conv_out_proj"]),
    (
        "delta nets",
        &["delta_qkv_proj", "delta_gate_proj", "beta_proj", "decay_proj", "delta_rule", "delta_norm", "delta_out_proj"],
    ),
    ("gate/up/down projections", &["gate_proj", "up_proj", "down_proj", "gate_up_proj"]),
    ("experts", &["router", "expert_choice", "experts_gate_up", "experts_down", "experts_sum", "shared_expert"]),
    (
        "norms, activations and residuals",
        &[
            "attn_norm",
            "q_norm",
            "k_norm",
            "v_norm",
            "router_norm",
            "dense_norm",
            "experts_norm",
            "experts_post_norm",
            "q_a_norm",
            "kv_a_norm",
            "attn_post_norm",
            "ffn_norm",
            "ffn_post_norm",
            "output_norm",
            "silu_mul",
            "gelu_mul",
            "clamped_swiglu",
            "attn_residual",
            "ffn_residual",
            "dense_sum",
            "layer_scale",
        ],
    ),
    (
        "inputs of layers",
        &[
            "per_layer_embed",
            "per_layer_model_proj",
            "per_layer_inputs",
            "per_layer_gate",
            "per_layer_mul",
            "per_layer_proj",
            "per_layer_norm",
            "per_layer_residual",
        ],
    ),
    ("lm_head", &["lm_head", "logit_cap"]),
    ("embed", &["embed"]),
];
/// Ops of no group.
const OTHERS: &str = "other operations";
/// The number of them that are named.
const MOST_NAMES: usize = 4;
/// The time outside of ops.
const BETWEEN: &str = "between the operations";

/// The splits that both sides have the figures for.
pub(super) fn splits(pair: &GroupPair<'_>) -> Vec<Split> {
    let per_token = |seconds: f64, tokens: usize| Quotient { numerator: seconds, denominator: tokens as f64 };
    let prefill = |sample: &Sample| Some(per_token(sample.prefill_s.value()?, sample.computed_prompt_tokens()?));
    let decode = |sample: &Sample| {
        let steps = sample.output_tokens.value().and_then(|tokens| tokens.checked_sub(1)).filter(|steps| *steps > 0)?;
        Some(per_token(sample.decode_s.value()?, steps))
    };
    let prefill = forward(pair, Phase::Prefill, "prompt token", &prefill);
    let decode = forward(pair, Phase::Decode, "output token", &decode);
    [latency(pair), prefill, decode].into_iter().flatten().collect()
}

/// Mean over the prompts that both answered, as in summaries, or `None` where one of them has no value.
fn middle(pair: &GroupPair<'_>, side: usize, of: &dyn Fn(&Sample) -> Option<Quotient>) -> Option<f64> {
    let cases = pair.prompts().map(|(b, o)| if side == 0 { b } else { o });
    let groups: Vec<Vec<Quotient>> = cases.map(|case| case.clean_samples().filter_map(of).collect()).collect();
    if groups.iter().any(Vec::is_empty) { None } else { combined(&groups) }
}

/// The same of a time.
fn middle_time(pair: &GroupPair<'_>, side: usize, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
    middle(pair, side, &|sample: &Sample| of(sample).map(Quotient::from))
}

fn latency(pair: &GroupPair<'_>) -> Option<Split> {
    let whole = [middle_time(pair, 0, |s| s.latency_s.value())?, middle_time(pair, 1, |s| s.latency_s.value())?];
    let mut parts: Vec<(String, [f64; 2])> = Vec::new();
    // A phase that a side does not separate is part of its next phase: both sides are summed up to there.
    let mut waiting: (Vec<&str>, [f64; 2]) = (Vec::new(), [0.0; 2]);
    for (phase, of) in PHASE_TIMES {
        let times = [0, 1].map(|side| middle_time(pair, side, |s| of(s).value()));
        waiting.0.push(phase.name());
        for (sum, time) in waiting.1.iter_mut().zip(times) {
            *sum += time.unwrap_or_default();
        }
        if times.iter().all(Option::is_some) {
            parts.push((waiting.0.join(" + "), waiting.1));
            waiting = (Vec::new(), [0.0; 2]);
        }
    }
    if !waiting.0.is_empty() && waiting.1.iter().any(|time| *time > 0.0) {
        parts.push((waiting.0.join(" + "), waiting.1));
    }
    Some(split("latency", "request", whole, parts))
}

fn forward(pair: &GroupPair<'_>, phase: Phase, per: &str, of: &dyn Fn(&Sample) -> Option<Quotient>) -> Option<Split> {
    let whole = [middle(pair, 0, of)?, middle(pair, 1, of)?];
    let shares = [shares(&pair.baseline, phase)?, shares(&pair.other, phase)?];
    let others = others(pair, phase);
    let names = GROUPS.iter().map(|(name, _)| *name).chain([others.as_str(), BETWEEN]);
    let parts = names.enumerate().map(|(place, name)| {
        let time = |side: usize| shares[side].get(place).copied().unwrap_or_default() * whole[side];
        (name.to_owned(), [time(0), time(1)])
    });
    let parts = parts.filter(|(_, times)| times.iter().any(|time| *time > 0.0)).collect();
    Some(split(phase.name(), per, whole, parts))
}

/// The ops of no group by their names: `other operations (extra_mlp)`.
fn others(pair: &GroupPair<'_>, phase: Phase) -> String {
    let rows = [&pair.baseline, &pair.other].into_iter().flat_map(|group| &group.cases).flat_map(|case| &case.ops);
    let of_none = |op: &str| GROUPS.iter().all(|(_, ops)| !ops.contains(&op));
    let names: BTreeSet<&str> =
        rows.filter(|row| row.phase == phase).map(|row| row.op.as_str()).filter(|op| of_none(op)).collect();
    let listed: Vec<&str> = names.into_iter().take(MOST_NAMES).collect();
    if listed.is_empty() { OTHERS.to_owned() } else { format!("{OTHERS} ({})", listed.join(", ")) }
}

/// Shares of the traced time of a phase: one per group, then other operations, then the time between them.
fn shares(group: &Group<'_>, phase: Phase) -> Option<Vec<f64>> {
    let sums = || group.cases.iter().flat_map(|case| &case.sums).filter(|sum| sum.phase == phase);
    let whole: f64 = sums().map(|sum| sum.time_s).sum();
    let rows = |case: &&Case| {
        case.ops.iter().filter(|row| row.phase == phase).map(|row| (row.op.clone(), row.time_s)).collect::<Vec<_>>()
    };
    let rows: Vec<(String, f64)> = group.cases.iter().flat_map(rows).collect();
    if rows.is_empty() || whole <= 0.0 {
        return None;
    }
    let of =
        |wanted: &dyn Fn(&str) -> bool| rows.iter().filter(|(op, _)| wanted(op)).fold(0.0, |sum, (_, time)| sum + time);
    let mut times: Vec<f64> = GROUPS.iter().map(|(_, ops)| of(&|op| ops.contains(&op))).collect();
    times.push(of(&|op| GROUPS.iter().all(|(_, ops)| !ops.contains(&op))));
    let ops: f64 = times.iter().sum();
    times.push((whole - ops).max(0.0));
    let whole = whole.max(ops);
    Some(times.into_iter().map(|time| time / whole).collect())
}

/// Shares beyond 0 and 1 by no more than this are rounding, or noise of a part that does not differ.
const CANCEL: f64 = 0.05;

/// A share of a difference says something where its parts have the same direction. Of +9 ms and -8 ms the shares would be 900 and -800 %.
fn split(whole: &str, per: &str, times: [f64; 2], parts: Vec<(String, [f64; 2])>) -> Split {
    let difference = times[1] - times[0];
    let share = |[baseline_s, other_s]: [f64; 2]| (other_s - baseline_s) / difference;
    let cancel = parts.iter().any(|(_, times)| !(-CANCEL..=1.0 + CANCEL).contains(&share(*times)));
    let part = |(name, [baseline_s, other_s]): (String, [f64; 2])| SplitPart {
        name,
        baseline_s,
        other_s,
        share: if difference == 0.0 {
            Recorded::absent("the whole does not differ")
        } else if cancel {
            Recorded::absent("parts change in both directions and cancel each other")
        } else {
            share([baseline_s, other_s]).into()
        },
        notes: Reasons::new(),
    };
    Split {
        whole: whole.to_owned(),
        per: per.to_owned(),
        baseline_s: times[0],
        other_s: times[1],
        parts: parts.into_iter().map(part).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_shares_of_the_difference() {
        let found = split(
            "decode",
            "output token",
            [2.0, 1.0],
            vec![("a".to_owned(), [1.5, 0.7]), ("b".to_owned(), [0.5, 0.3])],
        );
        let shares: Vec<f64> = found.parts.iter().filter_map(|part| part.share.value()).collect();
        assert!((shares[0] - 0.8).abs() < 1e-12 && (shares[1] - 0.2).abs() < 1e-12);
        let same = split("x", "y", [1.0, 1.0], vec![("a".to_owned(), [1.0, 1.0])]);
        assert_eq!(same.parts[0].share.reason().unwrap(), &"the whole does not differ");
        let parts = vec![("a".to_owned(), [1.0, 1.9]), ("b".to_owned(), [1.0, 0.2])];
        let cancelled = split("x", "y", [2.0, 2.1], parts);
        assert!(cancelled.parts.iter().all(|part| part.share.reason().unwrap().as_str().contains("both directions")));
    }

    #[test]
    fn every_op_of_the_cost_model_has_a_group() {
        for kind in models::cost::OpKind::ALL {
            assert!(GROUPS.iter().any(|(_, ops)| ops.contains(&kind.name())), "{}", kind.name());
        }
    }
}
