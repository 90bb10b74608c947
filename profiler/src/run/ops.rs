//! What the cost model says about the ops of a traced request.

use std::collections::BTreeMap;

use models::DType;
use models::cost::{self, OpCost};

use crate::prepare::Shape;
use crate::results::OpRow;

/// Fills in the operations and bytes of each row: of the prefill of `prompt` tokens behind `depth`, and of one decode for each
/// output token but the last. A row whose op the cost model does not know stays without.
pub(super) fn join(rows: &mut [OpRow], shape: &Shape, kv: DType, depth: usize, prompt: usize, outputs: usize) {
    let prefill = by_name(&cost::ops_of_prefill(&shape.spec, &shape.types, kv, prompt, depth));
    let mut decode: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for position in (depth + prompt..).take(outputs.saturating_sub(1)) {
        for (name, (flops, bytes)) in by_name(&cost::ops_of_decode(&shape.spec, &shape.types, kv, position)) {
            let sum = decode.entry(name).or_default();
            *sum = (sum.0 + flops, sum.1 + bytes);
        }
    }
    for row in rows {
        let costs = match row.phase.as_str() {
            "prefill" => &prefill,
            "decode" => &decode,
            _ => continue,
        };
        if let Some(&(flops, bytes)) = costs.get(row.op.as_str()) {
            (row.flops, row.bytes) = (Some(flops), Some(bytes));
        }
    }
}

fn by_name(ops: &[OpCost]) -> BTreeMap<&'static str, (f64, f64)> {
    cost::by_kind(ops)
        .into_iter()
        .map(|(kind, totals)| (kind.name(), (totals.flops.as_f64(), totals.bytes().as_f64())))
        .collect()
}

#[cfg(test)]
mod tests {
    use models::cost::WeightTypes;
    use models::registry;

    use super::*;

    #[test]
    fn rows_get_the_costs_of_their_phase() {
        let spec = registry::find("smollm2-135m").unwrap().spec.clone();
        let types = WeightTypes::uniform(&spec, DType::Q4_0);
        let shape = Shape { spec: spec.clone(), types, format: String::new(), quantisation: String::new() };
        let row = |phase: &str, op: &str| OpRow { phase: phase.to_owned(), op: op.to_owned(), ..OpRow::default() };
        let mut rows =
            [row("prefill", "q_proj"), row("decode", "q_proj"), row("decode", "warp"), row("other", "q_proj")];
        join(&mut rows, &shape, DType::F16, 0, 10, 5);
        // q_proj: 2 x tokens x hidden x hidden x layers.
        let per_token = 2.0 * (spec.hidden * spec.heads * spec.head_dim * spec.layers) as f64;
        assert!((rows[0].flops.unwrap() / (10.0 * per_token) - 1.0).abs() < 1e-9);
        assert!((rows[1].flops.unwrap() / (4.0 * per_token) - 1.0).abs() < 1e-9);
        assert!(rows[1].bytes.unwrap() > 0.0);
        assert_eq!((rows[2].flops, rows[3].flops), (None, None));
    }
}
