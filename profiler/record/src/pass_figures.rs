//! [`PassFigures`]: what one request of a pass gives besides its sample. A case shows the figures of the request of median latency.

use serde::{Deserialize, Serialize};

use super::{
    AllocationRow, CounterTotals, ExpertPassRow, ExpertRow, LayerRow, MemoryPoint, OpCounters, OpRow, PhaseRow, Reason,
    WorkerRow,
};

/// The figures of one pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassFigures {
    /// The clean pass: only times.
    Clean,
    /// The stepped pass.
    Stepped(SteppedFigures),
    /// The traced pass.
    Traced(TracedFigures),
    /// The counted pass: counters per op.
    Counted(Vec<OpCounters>),
}

/// The figures of a stepped request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SteppedFigures {
    /// Phases with their counters.
    pub phases: Vec<PhaseRow>,
    /// Counters over the request.
    pub counters: CounterTotals,
    /// Memory over the request.
    pub timeline: MemoryTimeline,
}

/// The figures of a traced request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TracedFigures {
    /// Ops, summed per phase and name.
    pub ops: Vec<OpRow>,
    /// Ops, summed per phase and decoder block.
    pub layers: Vec<LayerRow>,
    /// Threads of the engine, per phase.
    pub threads: Vec<WorkerRow>,
    /// Which experts were used; none if the engine recorded none.
    pub experts: Vec<ExpertRow>,
    /// What the passes read that used them.
    pub expert_passes: Vec<ExpertPassRow>,
    /// What was allocated.
    pub allocations: Result<Allocations, Reason>,
    /// Marks of ops that were lost.
    pub dropped: u64,
    /// Memory over the request.
    pub timeline: MemoryTimeline,
}

/// What a request allocated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocations {
    /// One row per phase of the request, in their order, and `other` for the time between them.
    pub rows: Vec<AllocationRow>,
    /// Bytes that it allocated and still held when it ended, minus bytes that it freed of what existed before.
    pub held: i64,
}

/// Memory over a request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryTimeline {
    /// The readings.
    pub points: Vec<MemoryPoint>,
    /// CPU time of the thread that reads memory, as a share of the time that it ran for.
    pub timer_share: Option<f64>,
}
