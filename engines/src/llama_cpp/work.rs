//! The work of a node of ggml's graph: its name, its layer, its operations and bytes, as its shapes and types state them. For models
//! that are not described.
//!
//! A node is named by the weight that it reads, the others by ggml's name of the operation. Conventions are those of the cost model
//! (`models::cost`): a multiply-add counts as two operations, `exp`, divisions and square roots as one; weights and caches are
//! counted as stored; comparisons and copies are no arithmetic. Where the cost model assumes that activations are F32, here they have
//! the types that they have in the graph.

use llama_cpp_sys_2 as sys;
use models::cost::{OpKind, op_of_weight};
use traces::record::Cost;

use super::ops::layer_of_name;

/// Inputs of a node, at most.
pub(super) const SOURCES: usize = 10;
/// Bytes of the longest name of an operation.
pub(super) const NAME_BYTES: usize = 64;

/// A tensor of the graph.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Operand<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// The name of the tensor that it is a view of, else its own.
    pub(super) root: &'a str,
    /// Its sizes, innermost first.
    pub(super) sizes: [u64; 4],
    /// Bytes of a row, as stored.
    pub(super) row_bytes: u64,
    /// Bytes of all rows.
    pub(super) bytes: u64,
}

/// A node of the graph.
#[derive(Debug, Clone, Copy)]
pub(super) struct GraphNode<'a> {
    /// ggml's operation.
    pub(super) op: sys::ggml_op,
    /// Which function of one element, or which gated one.
    pub(super) detail: u32,
    /// ggml's name, such as `MUL_MAT`, `SWIGLU`.
    pub(super) op_name: &'a str,
    /// Parameters of the operation.
    pub(super) params: [i32; 16],
    /// Its result.
    pub(super) result: Operand<'a>,
    /// Its inputs.
    pub(super) sources: [Option<Operand<'a>>; SOURCES],
    /// Different experts in the ids of a product with experts, or of the addition of their biases; `None` if they cannot be read.
    pub(super) experts: Option<u64>,
    /// What the queries of fused attention see; `None` without a mask.
    pub(super) attended: Option<Attended>,
}

/// The positions that queries see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attended {
    /// Pairs of a query and a position that it sees.
    pub(super) pairs: u64,
    /// Positions that at least one query sees.
    pub(super) positions: u64,
}

/// What a node is recorded as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Work<'a> {
    pub(super) name: &'a str,
    /// `None` outside the layers.
    pub(super) layer: Option<usize>,
    /// A product: `[rows, inputs, outputs]`. Others: `[rows, width, 0]`.
    pub(super) shape: [usize; 3],
    pub(super) cost: Cost,
}

/// Whether a node only describes other data.
pub(super) const fn computes_nothing(op: sys::ggml_op) -> bool {
    matches!(
        op,
        sys::GGML_OP_NONE | sys::GGML_OP_RESHAPE | sys::GGML_OP_VIEW | sys::GGML_OP_PERMUTE | sys::GGML_OP_TRANSPOSE
    )
}

/// Whether a tensor is a cache or a recurrent state of llama.cpp, by its name.
pub(super) fn is_cache(name: &str) -> bool {
    name.starts_with("cache_")
}

/// Whether a cache has one row per position: `cache_k_l3`, `cache_v_l3`; `cache_r_l3` and `cache_s_l3` are states.
pub(super) fn is_cache_of_positions(name: &str) -> bool {
    is_cache(name) && !name.starts_with("cache_r_") && !name.starts_with("cache_s_")
}

/// The work of a node. `buffer` is for its name.
pub(super) fn of<'a>(node: &GraphNode<'a>, buffer: &'a mut [u8; NAME_BYTES]) -> Work<'a> {
    let weight = weight(node);
    let name = match weight {
        Some((_, op)) => op,
        None => lower_case(node.op_name, buffer),
    };
    let named = || std::iter::once(&node.result).chain(node.sources.iter().flatten()).map(|operand| operand.name);
    let layer = match weight {
        Some((layer, _)) => layer,
        None => named().find_map(layer_of_name),
    };
    let [width, rows @ ..] = node.result.sizes;
    let rows: u64 = rows.iter().product();
    let shape = match (node.op, node.sources[0]) {
        (sys::GGML_OP_MUL_MAT | sys::GGML_OP_MUL_MAT_ID, Some(matrix)) => [rows, matrix.sizes[0], width],
        _ => [rows, width, 0],
    };
    let shape = shape.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    let (streamed_bytes, activation_bytes) = bytes(node);
    Work { name, layer, shape, cost: Cost { flops: flops(node), streamed_bytes, activation_bytes } }
}

/// The layer of the weight that names a node, and the op that reads it.
fn weight<'a>(node: &GraphNode<'a>) -> Option<(Option<usize>, &'a str)> {
    // Their weights change the operation little: frequencies, sinks.
    if matches!(node.op, sys::GGML_OP_ROPE | sys::GGML_OP_FLASH_ATTN_EXT | sys::GGML_OP_SOFT_MAX) {
        return None;
    }
    let (layer, op) = node.sources.iter().flatten().find_map(|source| op_of_weight(source.root))?;
    // A tied table of embeddings is the output projection too.
    let is_head = op == OpKind::Embed.name() && node.op == sys::GGML_OP_MUL_MAT;
    Some((layer, if is_head { OpKind::LmHead.name() } else { op }))
}

/// A name of ggml in lower case.
fn lower_case<'a>(name: &str, buffer: &'a mut [u8; NAME_BYTES]) -> &'a str {
    let length = name.len().min(buffer.len());
    buffer[..length].copy_from_slice(&name.as_bytes()[..length]);
    buffer[..length].make_ascii_lowercase();
    std::str::from_utf8(&buffer[..length]).unwrap_or("unnamed")
}

/// Elements of a tensor.
fn elements(operand: &Operand<'_>) -> u64 {
    operand.sizes.iter().product()
}

/// Operations of a node by its shapes; `None` for an operation that is not counted here.
///
/// ```text
/// product                  2 k per element of the result (k: columns of both factors)
/// fused attention          pairs heads (2 d_k + 2 d_v + 5)   2 d_k for q k, 2 d_v for p v, and 5 as for softmax; masked pairs are not counted
/// softmax                  5 per element: scale, maximum, difference, exponential, sum
/// norms                    RMS and L2 3 n + 3, LayerNorm and group norm 5 n + 4, for n elements; the weight is a node of its own
/// rotation                 3 per rotated element
/// short convolution        2 k per element of the result (k: length of the kernel)
/// scan (Mamba)             5 per element of the state and token: decay, input and its sum, output and its sum; Mamba 1 has 2 more for
///                          a decay of its own
/// delta rule               7 per element of the state and token: decay, 2 for k S, 2 for the update, 2 for q S
/// linear attention         gated 5 per element of the state and token, RWKV 6 7, RWKV 7 9
/// ```
///
/// Sources: the definitions in ggml's CPU back end; the cost model (`models::cost`) for attention, norms, rotation and gates.
fn flops(node: &GraphNode<'_>) -> Option<u64> {
    let result = elements(&node.result);
    let source = |place: usize| node.sources[place].as_ref();
    // Per element of the states of all heads `[d, d]`, and token.
    let states = |place: usize, each: u64| {
        let [head_dim, ..] = source(place)?.sizes;
        Some(elements(source(place)?) * head_dim * each)
    };
    Some(match node.op {
        sys::GGML_OP_MUL_MAT | sys::GGML_OP_MUL_MAT_ID => 2 * source(0)?.sizes[0] * result,
        sys::GGML_OP_OUT_PROD => 2 * source(0)?.sizes[1] * result,
        sys::GGML_OP_FLASH_ATTN_EXT => {
            let (queries, keys, values) = (source(0)?, source(1)?, source(2)?);
            let pairs = node.attended.map_or(queries.sizes[1] * keys.sizes[1], |attended| attended.pairs);
            pairs * queries.sizes[2] * (2 * keys.sizes[0] + 2 * values.sizes[0] + 5)
        }
        sys::GGML_OP_SOFT_MAX => 5 * result,
        sys::GGML_OP_RMS_NORM | sys::GGML_OP_L2_NORM => {
            result / node.result.sizes[0].max(1) * (3 * node.result.sizes[0] + 3)
        }
        sys::GGML_OP_NORM | sys::GGML_OP_GROUP_NORM => {
            result / node.result.sizes[0].max(1) * (5 * node.result.sizes[0] + 4)
        }
        sys::GGML_OP_ROPE => {
            let rotated = u64::try_from(node.params[1]).ok()?.min(node.result.sizes[0]);
            3 * rotated * (result / node.result.sizes[0].max(1))
        }
        sys::GGML_OP_ADD
        | sys::GGML_OP_ADD_ID
        | sys::GGML_OP_ADD1
        | sys::GGML_OP_ACC
        | sys::GGML_OP_SUB
        | sys::GGML_OP_MUL
        | sys::GGML_OP_DIV
        | sys::GGML_OP_SCALE
        | sys::GGML_OP_SQR
        | sys::GGML_OP_SQRT
        | sys::GGML_OP_LOG
        | sys::GGML_OP_SIN
        | sys::GGML_OP_COS => result,
        sys::GGML_OP_SUM | sys::GGML_OP_SUM_ROWS | sys::GGML_OP_MEAN | sys::GGML_OP_CUMSUM => elements(source(0)?),
        sys::GGML_OP_UNARY => result * unary(node.detail)?,
        sys::GGML_OP_GLU => result * gated(node.detail)?,
        sys::GGML_OP_SSM_CONV => 2 * source(1)?.sizes[0] * result,
        sys::GGML_OP_SSM_SCAN => {
            let (state, inputs, decay) = (source(0)?.sizes[0], elements(source(1)?), source(3)?.sizes[0]);
            inputs * state * if decay > 1 { 7 } else { 5 }
        }
        sys::GGML_OP_GATED_DELTA_NET => states(2, 7)?,
        sys::GGML_OP_GATED_LINEAR_ATTN => states(0, 5)?,
        sys::GGML_OP_RWKV_WKV6 => states(0, 7)?,
        sys::GGML_OP_RWKV_WKV7 => states(2, 9)?,
        sys::GGML_OP_SOLVE_TRI => source(0)?.sizes[0] * result,
        sys::GGML_OP_DUP
        | sys::GGML_OP_CPY
        | sys::GGML_OP_CONT
        | sys::GGML_OP_SET
        | sys::GGML_OP_GET_ROWS
        | sys::GGML_OP_SET_ROWS
        | sys::GGML_OP_REPEAT
        | sys::GGML_OP_CONCAT
        | sys::GGML_OP_PAD
        | sys::GGML_OP_ROLL
        | sys::GGML_OP_TRI
        | sys::GGML_OP_FILL
        | sys::GGML_OP_DIAG
        | sys::GGML_OP_DIAG_MASK_INF
        | sys::GGML_OP_DIAG_MASK_ZERO
        | sys::GGML_OP_CLAMP
        | sys::GGML_OP_ARANGE
        | sys::GGML_OP_ARGMAX
        | sys::GGML_OP_ARGSORT
        | sys::GGML_OP_TOP_K
        | sys::GGML_OP_IM2COL => 0,
        _ => return None,
    })
}

/// Operations of a function per element: comparisons and signs 0 or 1, `x / (1 + e^-x)` 4, GELU by tanh 9 (the cost model has 10 with the
/// product).
const fn unary(function: u32) -> Option<u64> {
    Some(match function {
        sys::GGML_UNARY_OP_ABS
        | sys::GGML_UNARY_OP_SGN
        | sys::GGML_UNARY_OP_NEG
        | sys::GGML_UNARY_OP_STEP
        | sys::GGML_UNARY_OP_TANH
        | sys::GGML_UNARY_OP_RELU
        | sys::GGML_UNARY_OP_EXP
        | sys::GGML_UNARY_OP_FLOOR
        | sys::GGML_UNARY_OP_CEIL
        | sys::GGML_UNARY_OP_ROUND
        | sys::GGML_UNARY_OP_TRUNC => 1,
        sys::GGML_UNARY_OP_EXPM1 | sys::GGML_UNARY_OP_ELU => 2,
        sys::GGML_UNARY_OP_SOFTPLUS => 3,
        sys::GGML_UNARY_OP_SILU | sys::GGML_UNARY_OP_SIGMOID | sys::GGML_UNARY_OP_HARDSIGMOID => 4,
        sys::GGML_UNARY_OP_HARDSWISH | sys::GGML_UNARY_OP_GELU_QUICK | sys::GGML_UNARY_OP_GELU_ERF => 5,
        sys::GGML_UNARY_OP_GELU => 9,
        _ => return None,
    })
}

/// Operations of a gated function per element of its result: those of the function and one product.
const fn gated(function: u32) -> Option<u64> {
    Some(match function {
        sys::GGML_GLU_OP_REGLU => 2,
        sys::GGML_GLU_OP_SWIGLU => 5,
        sys::GGML_GLU_OP_GEGLU_ERF | sys::GGML_GLU_OP_GEGLU_QUICK => 6,
        sys::GGML_GLU_OP_SWIGLU_CLAMP => 8,
        // min, min and max; alpha x, and SiLU of it; y + 1; the product.
        sys::GGML_GLU_OP_SWIGLU_OAI | sys::GGML_GLU_OP_GEGLU => 10,
        _ => return None,
    })
}

/// Bytes of the experts that a node uses, in a tensor of all experts that are numbered in `dimension`; all of them if the ids cannot be read.
fn of_experts(node: &GraphNode<'_>, source: &Operand<'_>, dimension: usize) -> u64 {
    let all = source.sizes[dimension].max(1);
    source.bytes / all * node.experts.map_or(all, |used| used.min(all))
}

/// Bytes of weights, caches and states, and bytes of activations, that a node reads and writes.
fn bytes(node: &GraphNode<'_>) -> (u64, u64) {
    let mut sums = [0, 0];
    let mut add = |operand: &Operand<'_>, bytes: u64| {
        let is_streamed = is_cache(operand.root) || op_of_weight(operand.root).is_some();
        sums[usize::from(!is_streamed)] += bytes;
    };
    let rows = |operand: &Operand<'_>| operand.sizes[1..].iter().product::<u64>();
    for (place, source) in node.sources.iter().enumerate() {
        let Some(source) = source else { continue };
        add(
            source,
            match (node.op, place) {
                // Of a table, the rows that are looked up.
                (sys::GGML_OP_GET_ROWS, 0) => source.row_bytes * rows(&node.result),
                // The rest of what is written to is not read.
                (sys::GGML_OP_SET_ROWS | sys::GGML_OP_SET, 2) | (sys::GGML_OP_CPY, 1) => 0,
                // Of the experts, those that are used: of weights [inputs, outputs, experts], of biases [outputs, experts].
                (sys::GGML_OP_MUL_MAT_ID, 0) => of_experts(node, source, 2),
                (sys::GGML_OP_ADD_ID, 1) => of_experts(node, source, 1),
                // Of the cache, the positions that a query sees.
                (sys::GGML_OP_FLASH_ATTN_EXT, 1 | 2) => match node.attended {
                    Some(attended) => source.row_bytes * attended.positions.min(source.sizes[1]) * source.sizes[2],
                    None => source.bytes,
                },
                _ => source.bytes,
            },
        );
    }
    let written = match (node.op, node.sources[0]) {
        // The result is all of what rows are written to.
        (sys::GGML_OP_SET_ROWS, Some(source)) => node.result.row_bytes * rows(&source),
        _ => node.result.bytes,
    };
    add(&node.result, written);
    let [streamed, activations] = sums;
    (streamed, activations)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tensor of F32.
    fn tensor<'a>(name: &'a str, sizes: &[u64]) -> Operand<'a> {
        let mut all = [1; 4];
        all[..sizes.len()].copy_from_slice(sizes);
        let bytes = 4 * all.iter().product::<u64>();
        Operand { name, root: name, sizes: all, row_bytes: 4 * all[0], bytes }
    }

    fn node<'a>(op: sys::ggml_op, op_name: &'a str, result: Operand<'a>, inputs: &[Operand<'a>]) -> GraphNode<'a> {
        let mut sources = [None; SOURCES];
        for (source, input) in sources.iter_mut().zip(inputs) {
            *source = Some(*input);
        }
        GraphNode { op, detail: 0, op_name, params: [0; 16], result, sources, experts: None, attended: None }
    }

    fn work(node: &GraphNode<'_>) -> (String, Option<usize>, [usize; 3], Cost) {
        let mut buffer = [0; NAME_BYTES];
        let Work { name, layer, shape, cost } = of(node, &mut buffer);
        (name.to_owned(), layer, shape, cost)
    }

    fn cost(flops: u64, streamed_bytes: u64, activation_bytes: u64) -> Cost {
        Cost { flops: Some(flops), streamed_bytes, activation_bytes }
    }

    #[test]
    fn products_are_named_by_their_weight_and_read_it_once() {
        let inputs = [tensor("blk.3.attn_other.weight", &[64, 32]), tensor("attn_norm-3", &[64, 5])];
        let product = node(sys::GGML_OP_MUL_MAT, "MUL_MAT", tensor("q-3", &[32, 5]), &inputs);
        let expected =
            ("attn_other".to_owned(), Some(3), [5, 64, 32], cost(2 * 64 * 32 * 5, 64 * 32 * 4, (64 + 32) * 5 * 4));
        assert_eq!(work(&product), expected);
        let inputs = [tensor("token_embd.weight", &[64, 100]), tensor("result_norm", &[64])];
        let head = node(sys::GGML_OP_MUL_MAT, "MUL_MAT", tensor("result_output", &[100]), &inputs);
        assert_eq!((work(&head).0, work(&head).1), ("lm_head".to_owned(), None));
    }

    #[test]
    fn of_a_table_the_rows_are_read() {
        let inputs = [tensor("token_embd.weight", &[64, 1000]), tensor("inp_tokens", &[5])];
        let lookup = node(sys::GGML_OP_GET_ROWS, "GET_ROWS", tensor("embd", &[64, 5]), &inputs);
        assert_eq!(work(&lookup), ("embed".to_owned(), None, [5, 64, 0], cost(0, 5 * 256, 5 * 4 + 5 * 256)));
    }

    #[test]
    fn of_experts_those_that_are_used_are_read() {
        let experts = tensor("blk.1.ffn_up_exps.weight", &[64, 32, 8]);
        let inputs = [experts, tensor("x", &[64, 1, 5]), tensor("ids", &[2, 5])];
        let product = node(sys::GGML_OP_MUL_MAT_ID, "MUL_MAT_ID", tensor("up", &[32, 2, 5]), &inputs);
        let product = GraphNode { experts: Some(3), ..product };
        let (name, layer, shape, found) = work(&product);
        assert_eq!((name.as_str(), layer, shape), ("experts_gate_up", Some(1), [10, 64, 32]));
        assert_eq!((found.flops, found.streamed_bytes), (Some(2 * 64 * 32 * 10), 3 * 64 * 32 * 4));
        let unknown = work(&GraphNode { experts: None, ..product }).3;
        assert_eq!(unknown.streamed_bytes, 8 * 64 * 32 * 4, "all of them, if the ids cannot be read");
        let inputs = [tensor("up", &[32, 2, 5]), tensor("blk.1.ffn_up_exps.bias", &[32, 8]), tensor("ids", &[2, 5])];
        let biases = node(sys::GGML_OP_ADD_ID, "ADD_ID", tensor("up_biased", &[32, 2, 5]), &inputs);
        let found = work(&GraphNode { experts: Some(3), ..biases }).3;
        assert_eq!((found.streamed_bytes, found.activation_bytes), (3 * 32 * 4, (32 * 10 * 2 + 10) * 4));
    }

    #[test]
    fn attention_counts_what_its_queries_see() {
        let cache = |name| Operand { root: name, ..tensor("view", &[16, 256, 2]) };
        let inputs =
            [tensor("Qcur-4", &[16, 5, 4]), cache("cache_k_l4"), cache("cache_v_l4"), tensor("mask", &[256, 5])];
        let attention = node(sys::GGML_OP_FLASH_ATTN_EXT, "FLASH_ATTN_EXT", tensor("x-4", &[16, 4, 5]), &inputs);
        let attention = GraphNode { attended: Some(Attended { pairs: 15, positions: 5 }), ..attention };
        let (name, layer, _, found) = work(&attention);
        assert_eq!((name.as_str(), layer), ("flash_attn_ext", Some(4)));
        assert_eq!((found.flops, found.streamed_bytes), (Some(15 * 4 * (64 + 5)), 2 * 5 * 16 * 2 * 4));
    }

    #[test]
    fn writing_to_a_cache_counts_the_rows_that_are_written() {
        let cache = tensor("cache_k_l2", &[32, 256]);
        let result = Operand { name: "cache_k_l2 (view)", ..cache };
        let inputs = [tensor("Kcur-2", &[32, 5]), tensor("ids", &[5]), cache];
        let write = node(sys::GGML_OP_SET_ROWS, "SET_ROWS", result, &inputs);
        assert_eq!(work(&write), ("set_rows".to_owned(), Some(2), [256, 32, 0], cost(0, 5 * 128, 5 * 128 + 20)));
    }

    #[test]
    fn an_operation_that_is_not_known_has_bytes_alone() {
        let custom = node(sys::GGML_OP_CUSTOM, "CUSTOM", tensor("node_9", &[8]), &[tensor("l_out-6", &[8])]);
        let expected = Cost { flops: None, streamed_bytes: 0, activation_bytes: 64 };
        assert_eq!(work(&custom), ("custom".to_owned(), Some(6), [1, 8, 0], expected));
    }

    #[test]
    fn recurrent_layers_count_their_state() {
        let state = Operand { root: "cache_s_l0", ..tensor("state", &[8, 4, 3]) };
        let inputs = [state, tensor("x", &[4, 3, 5]), tensor("dt", &[3, 5]), tensor("blk.0.ssm_a", &[1, 3])];
        let scan = node(sys::GGML_OP_SSM_SCAN, "SSM_SCAN", tensor("y-0", &[60]), &inputs);
        let (name, _, _, found) = work(&scan);
        assert_eq!((name.as_str(), found.flops), ("ssm_a", Some(4 * 3 * 5 * 8 * 5)));
        assert!(found.streamed_bytes >= 8 * 4 * 3 * 4);
        let values = tensor("v", &[16, 2, 5]);
        let delta =
            node(sys::GGML_OP_GATED_DELTA_NET, "GATED_DELTA_NET", tensor("y-0", &[60]), &[values, values, values]);
        assert_eq!(work(&delta).3.flops, Some(16 * 16 * 2 * 5 * 7));
    }
}
