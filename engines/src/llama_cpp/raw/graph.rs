//! ggml's evaluation callback: marks the nodes of the graph as ops while something is recorded.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;
use models::cost::OpKind;
use traces::record::{self, Cost, NO_LAYER, Name, OpGuard, TextName};

use super::super::ops::{self, ClassifiedOp, Node};
use super::super::work::{self, Attended, GraphNode, Operand, SOURCES};
use crate::KvBytes;

/// The name of the time outside of the nodes of the graph: building and scheduling it, its inputs and outputs, and this callback.
static BETWEEN: Name = Name::new("graph");
/// The work of that time.
const NO_WORK: Cost = Cost { flops: Some(0), streamed_bytes: 0, activation_bytes: 0 };
/// Minus infinity as F16: a position that a query does not see.
const MASKED: u16 = 0xfc00;

/// How the nodes of a graph become ops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Graph {
    /// As ops of the described decoder, several nodes each.
    Described(ops::Described),
    /// One op for each node, with the work that its shapes state.
    Opaque,
}

/// State of the evaluation callback.
pub(super) struct Marks {
    graph: Graph,
    /// The op that runs now.
    open: Option<OpGuard>,
    /// The op that ended last in the decoder.
    before: Option<ClassifiedOp>,
    /// Caches and recurrent states that nodes have used, by their tensors; complete after the first computation.
    caches: HashMap<*const sys::ggml_tensor, Cache>,
    caches_are_complete: bool,
    /// What the queries of the present graph see, by the data of the mask.
    attended: Vec<(*const c_void, Attended)>,
    /// `[experts]`: the tokens that use each expert of a layer; a buffer.
    tokens_of_experts: Vec<u32>,
}

/// The memory of a cache.
#[derive(Debug, Clone, Copy)]
struct Cache {
    bytes: u64,
    /// Positions that it has rows for; `None` for a state, whose size does not depend on positions.
    positions: Option<u64>,
}

/// Owns the state of the callback.
pub(super) struct Marking(NonNull<Marks>);

impl Marking {
    pub(super) fn new(graph: Graph) -> Self {
        let marks = Marks {
            graph,
            open: None,
            before: None,
            caches: HashMap::new(),
            caches_are_complete: false,
            attended: Vec::with_capacity(4),
            tokens_of_experts: Vec::new(),
        };
        Self(NonNull::from(Box::leak(Box::new(marks))))
    }

    /// The data of the callback.
    pub(super) fn data(&self) -> *mut c_void {
        self.0.as_ptr().cast()
    }

    fn marks(&mut self) -> &mut Marks {
        // SAFETY: it is alive, and no computation is running that could call back.
        unsafe { self.0.as_mut() }
    }

    /// To be called before a computation.
    pub(super) fn begin(&mut self) {
        let marks = self.marks();
        marks.attended.clear();
        marks.open = marks.between();
    }

    /// To be called after a computation, whether it failed or not.
    pub(super) fn end(&mut self) {
        let marks = self.marks();
        marks.open = None;
        marks.caches_are_complete = !marks.caches.is_empty();
    }

    /// Bytes of caches and states of a model that is not described, with so many tokens; `None` before the first computation.
    pub(super) fn cache_bytes(&self, tokens: usize) -> Option<KvBytes> {
        // SAFETY: it is alive, and no computation is running that could call back.
        let marks = unsafe { self.0.as_ref() };
        if !marks.caches_are_complete {
            return None;
        }
        let used = |cache: &Cache| match cache.positions {
            Some(positions) => cache.bytes / positions.max(1) * positions.min(tokens as u64),
            None if tokens > 0 => cache.bytes,
            None => 0,
        };
        Some(KvBytes {
            used: marks.caches.values().map(used).sum(),
            reserved: marks.caches.values().map(|cache| cache.bytes).sum(),
        })
    }
}

impl Drop for Marking {
    fn drop(&mut self) {
        // SAFETY: it comes from a box that was leaked, it is dropped once, and the context that points to it is gone.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Marks {
    /// The op between two nodes, for a model whose nodes are ops.
    fn between(&self) -> Option<OpGuard> {
        if self.graph != Graph::Opaque || !record::is_on() {
            return None;
        }
        let mut between = OpGuard::begin(&BETWEEN, NO_LAYER, []);
        between.state_cost(NO_WORK);
        Some(between)
    }

    /// Remembers the caches that a node uses.
    fn note_caches(&mut self, tensor: &sys::ggml_tensor) {
        let inputs = tensor.src.iter().filter_map(|input| reference(*input));
        for used in std::iter::once(tensor).chain(inputs) {
            let root = reference(used.view_src).unwrap_or(used);
            let name = name(root);
            if work::is_cache(name) {
                let positions = work::is_cache_of_positions(name).then_some(size(root, 1));
                self.caches.insert(std::ptr::from_ref(root), Cache { bytes: bytes(root), positions });
            }
        }
    }

    /// Begins the op that ends with a node; `None` if the node belongs to the op after it.
    fn mark(&mut self, tensor: &sys::ggml_tensor) -> Option<OpGuard> {
        // A batch without outputs keeps some nodes of the last block, with no rows.
        if tensor.ne.contains(&0) {
            return None;
        }
        match self.graph {
            Graph::Described(described) => {
                let input = |place: usize| tensor.src.get(place).and_then(|input| reference(*input)).map_or("", name);
                let count = |dimension| usize::try_from(size(tensor, dimension)).unwrap_or(0);
                let shape = [count(0), count(1)];
                let node = Node { op: tensor.op, name: name(tensor), inputs: [input(0), input(1)], shape };
                let (kind, layer) = ops::classify(&node, described, self.before)?;
                self.before = Some((kind, layer));
                if kind == OpKind::ExpertsDown && self.count_experts(tensor).is_some() {
                    self.record_experts(layer);
                }
                Some(ops::mark(kind, layer, node.shape))
            }
            Graph::Opaque => {
                if work::computes_nothing(tensor.op) {
                    return None;
                }
                let node = self.view(tensor);
                let mut buffer = [0; work::NAME_BYTES];
                let work = work::of(&node, &mut buffer);
                let is_product = node.op == sys::GGML_OP_MUL_MAT_ID && work.name == OpKind::ExpertsDown.name();
                if is_product && node.experts.is_some() {
                    self.record_experts(work.layer);
                }
                let name = TextName::of(work.name);
                // The time before it ends here.
                self.open = None;
                let mut op = OpGuard::begin_text(name, work.layer, work.shape);
                op.state_cost(work.cost);
                Some(op)
            }
        }
    }

    /// A node with its inputs, which are computed.
    fn view<'a>(&mut self, tensor: &'a sys::ggml_tensor) -> GraphNode<'a> {
        let mut sources = [None; SOURCES];
        for (source, input) in sources.iter_mut().zip(&tensor.src) {
            *source = reference(*input).map(operand);
        }
        let detail = match tensor.op {
            // SAFETY: the tensor is one of this op.
            sys::GGML_OP_UNARY => unsafe { sys::ggml_get_unary_op(tensor) },
            // SAFETY: as above.
            sys::GGML_OP_GLU => unsafe { sys::ggml_get_glu_op(tensor) },
            _ => 0,
        };
        GraphNode {
            op: tensor.op,
            detail,
            op_name: op_name(tensor),
            params: tensor.op_params,
            result: operand(tensor),
            sources,
            experts: self.count_experts(tensor),
            attended: (tensor.op == sys::GGML_OP_FLASH_ATTN_EXT).then(|| self.attended(tensor)).flatten(),
        }
    }

    /// Counts the tokens that use each expert in a product with experts, or in the addition of their biases; returns the number of
    /// different experts. `None` for other nodes, and where the ids cannot be read.
    fn count_experts(&mut self, tensor: &sys::ggml_tensor) -> Option<u64> {
        // Weights [inputs, outputs, experts], biases [outputs, experts].
        let count = match tensor.op {
            sys::GGML_OP_MUL_MAT_ID => size(reference(tensor.src[0])?, 2),
            sys::GGML_OP_ADD_ID => size(reference(tensor.src[1])?, 1),
            _ => return None,
        };
        self.tokens_of_experts.clear();
        self.tokens_of_experts.resize(usize::try_from(count).ok()?, 0);
        count_ids(reference(tensor.src[2])?, &mut self.tokens_of_experts)?;
        Some(self.tokens_of_experts.iter().filter(|tokens| **tokens > 0).count() as u64)
    }

    /// Records what was counted.
    fn record_experts(&self, layer: Option<usize>) {
        let tokens = self.tokens_of_experts.iter().map(|tokens| *tokens as usize).enumerate();
        engine_api::record_experts(layer, self.tokens_of_experts.len(), tokens);
    }

    /// What the queries of fused attention see; the mask is the same in many layers.
    fn attended(&mut self, tensor: &sys::ggml_tensor) -> Option<Attended> {
        let (queries, mask) = (reference(tensor.src[0])?, reference(tensor.src[3])?);
        let known = self.attended.iter().find(|(data, _)| *data == mask.data.cast_const());
        if let Some((_, attended)) = known {
            return Some(*attended);
        }
        let attended = visible(mask, size(queries, 1))?;
        self.attended.push((mask.data.cast_const(), attended));
        Some(attended)
    }
}

/// Called twice per node: to ask whether to compute it separately, and after that computation. While nothing is recorded the answer
/// is always no, and the graph is computed as a whole.
pub(super) unsafe extern "C" fn on_node(tensor: *mut sys::ggml_tensor, ask: bool, data: *mut c_void) -> bool {
    // SAFETY: the data given with this callback is the context's own, which is alive and computes on one thread.
    let Some(marks) = (unsafe { data.cast::<Marks>().as_mut() }) else { return !ask };
    if !ask {
        marks.open = None;
        marks.open = marks.between();
        // Continue.
        return true;
    }
    // ggml passes a node of the graph that it is computing.
    let Some(tensor) = reference(tensor) else { return false };
    if !marks.caches_are_complete && marks.graph == Graph::Opaque {
        marks.note_caches(tensor);
    }
    // Nodes that are not computed, such as rows whose logits are not requested.
    if !record::is_on() || tensor.flags.cast_unsigned() & sys::GGML_TENSOR_FLAG_COMPUTE == 0 || size(tensor, 1) == 0 {
        return false;
    }
    let Some(op) = marks.mark(tensor) else { return false };
    // The next computation ends with this node.
    marks.open = Some(op);
    true
}

/// A tensor that ggml points to: a node of the graph that it is computing, an input of it, or the tensor that one is a view of; all of
/// them live during the callback.
fn reference<'a>(tensor: *const sys::ggml_tensor) -> Option<&'a sys::ggml_tensor> {
    // SAFETY: null, or a tensor as above.
    unsafe { tensor.as_ref() }
}

/// The name of a tensor, up to the zero byte.
fn name(tensor: &sys::ggml_tensor) -> &str {
    let bytes = tensor.name.as_ptr().cast::<u8>();
    // SAFETY: the field is an array of as many bytes, part of the tensor that is borrowed.
    let bytes = unsafe { std::slice::from_raw_parts(bytes, tensor.name.len()) };
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    std::str::from_utf8(&bytes[..end]).unwrap_or("")
}

/// ggml's name of the operation of a node, such as `MUL_MAT` and `SWIGLU`.
fn op_name(tensor: &sys::ggml_tensor) -> &'static str {
    // SAFETY: the tensor is alive.
    let name: *const c_char = unsafe { sys::ggml_op_desc(tensor) };
    if name.is_null() {
        return "";
    }
    // SAFETY: names of operations are constant texts that end with a zero byte.
    unsafe { CStr::from_ptr(name) }.to_str().unwrap_or("")
}

fn size(tensor: &sys::ggml_tensor, dimension: usize) -> u64 {
    u64::try_from(tensor.ne[dimension]).unwrap_or(0)
}

/// Bytes of a row.
fn row_bytes(tensor: &sys::ggml_tensor) -> u64 {
    // SAFETY: it takes a type of ggml and a number of elements.
    unsafe { sys::ggml_row_size(tensor.type_, tensor.ne[0]) as u64 }
}

/// Bytes of all elements as stored, without gaps between the rows of a view.
fn bytes(tensor: &sys::ggml_tensor) -> u64 {
    row_bytes(tensor) * (1..4).map(|dimension| size(tensor, dimension)).product::<u64>()
}

fn operand(tensor: &sys::ggml_tensor) -> Operand<'_> {
    Operand {
        name: name(tensor),
        root: reference(tensor.view_src).map_or_else(|| name(tensor), name),
        sizes: [0, 1, 2, 3].map(|dimension| size(tensor, dimension)),
        row_bytes: row_bytes(tensor),
        bytes: bytes(tensor),
    }
}

/// Whether the data of a tensor is in the memory of this process, and where.
fn host_data(tensor: &sys::ggml_tensor) -> Option<*const u8> {
    let owner = reference(tensor.view_src).unwrap_or(tensor);
    if owner.buffer.is_null() || tensor.data.is_null() {
        return None;
    }
    // SAFETY: the buffer of a tensor lives as long as the tensor.
    let is_host = unsafe { sys::ggml_backend_buffer_is_host(owner.buffer) };
    is_host.then_some(tensor.data.cast_const().cast())
}

/// Adds the tokens of each expert in a matrix of expert ids `[used, tokens]`; `None` where they cannot be read, or name an expert that does
/// not exist.
fn count_ids(ids: &sys::ggml_tensor, tokens_of_experts: &mut [u32]) -> Option<()> {
    if ids.type_ != sys::GGML_TYPE_I32 {
        return None;
    }
    let data = host_data(ids)?;
    for token in 0..usize::try_from(size(ids, 1)).ok()? {
        for used in 0..usize::try_from(size(ids, 0)).ok()? {
            // SAFETY: the element is inside of the tensor, whose strides are `nb`.
            let place = unsafe { data.add(token * ids.nb[1] + used * ids.nb[0]) };
            // SAFETY: its data is computed, and 4 bytes there are an id.
            let id = unsafe { place.cast::<i32>().read_unaligned() };
            *tokens_of_experts.get_mut(usize::try_from(id).ok()?)? += 1;
        }
    }
    Some(())
}

/// What the first `queries` rows of a mask `[positions, queries]` leave visible.
fn visible(mask: &sys::ggml_tensor, queries: u64) -> Option<Attended> {
    if mask.type_ != sys::GGML_TYPE_F16 {
        return None;
    }
    let data = host_data(mask)?;
    let positions = usize::try_from(size(mask, 0)).ok()?;
    let mut seen = vec![false; positions];
    let mut pairs = 0;
    for query in 0..usize::try_from(queries.min(size(mask, 1))).ok()? {
        // SAFETY: a row of the tensor, whose strides are `nb`.
        let start = unsafe { data.add(query * mask.nb[1]) };
        // SAFETY: the elements of a row are next to each other; masks are inputs, which were set before.
        let row = unsafe { std::slice::from_raw_parts(start.cast::<u16>(), positions) };
        for (seen, value) in seen.iter_mut().zip(row) {
            let is_visible = *value != MASKED;
            *seen |= is_visible;
            pairs += u64::from(is_visible);
        }
    }
    Some(Attended { pairs, positions: seen.iter().filter(|seen| **seen).count() as u64 })
}
