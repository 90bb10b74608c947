//! The ceilings of a run or of an estimate, with their spread.

use serde::{Deserialize, Serialize};

use record::recorded::with_reasons;
use record::{CeilingProbe, Ceilings, Reasons, Recorded, RunFile, Spread};
use statistics::percentile;

/// A rate of operations with a larger relative spread is not used: times are then not scaled by it.
const UNSTEADY: f64 = 0.3;

/// Ceilings for a number of threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "BasisRow", from = "BasisRow")]
pub struct CeilingBasis {
    /// Bytes per second read from memory.
    pub memory: f64,
    /// Operations per second of the 8-bit dot product, or of f32 multiply-adds where there is none; `None` where neither was measured or
    /// the measurements spread too far.
    pub compute: Option<f64>,
    /// Relative spread of the bandwidth, one standard deviation.
    pub memory_spread: f64,
    /// Relative spread of the operations.
    pub compute_spread: f64,
}

with_reasons! {
    /// The basis as it is written.
    struct BasisRow {
        memory: f64,
        compute: Recorded<f64>,
        memory_spread: f64,
        compute_spread: f64,
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        notes: Reasons,
    }
}

impl From<CeilingBasis> for BasisRow {
    fn from(CeilingBasis { memory, compute, memory_spread, compute_spread }: CeilingBasis) -> Self {
        let compute = Recorded::of(compute, "no rate of operations was measured with a spread below 30 %");
        Self { memory, compute, memory_spread, compute_spread, notes: Reasons::new() }
    }
}

impl From<BasisRow> for CeilingBasis {
    fn from(BasisRow { memory, compute, memory_spread, compute_spread, .. }: BasisRow) -> Self {
        Self { memory, compute: compute.value(), memory_spread, compute_spread }
    }
}

impl CeilingBasis {
    /// Of a run: the median of its own probes for that thread count where there are some (beside `model`, else beside any), else its
    /// ceilings. `None` where neither is there.
    pub(super) fn of(file: &RunFile, threads: usize, model: Option<&str>) -> Option<Self> {
        let of = |own: bool| -> Vec<&CeilingProbe> {
            let fits = |probe: &&CeilingProbe| {
                probe.threads == threads && (!own || model.is_some_and(|model| probe.model == model))
            };
            file.ceiling_probes.iter().filter(fits).collect()
        };
        let probes = if of(true).is_empty() { of(false) } else { of(true) };
        let known = file.ceilings.as_ref().and_then(|ceilings| Self::of_ceilings(ceilings, threads));
        let memory = middle(&probes.iter().filter_map(|probe| probe.memory_read.value()).collect::<Vec<_>>());
        let compute = middle(&probes.iter().filter_map(|probe| probe.compute.value()).collect::<Vec<_>>())
            .filter(|(_, spread)| *spread < UNSTEADY);
        let Some((memory, memory_spread)) = memory else { return known };
        let compute = compute.or(known.and_then(|known| Some((known.compute?, known.compute_spread))));
        Some(Self {
            memory,
            compute: compute.map(|(value, _)| value),
            memory_spread,
            compute_spread: compute.map_or(0.0, |(_, spread)| spread),
        })
    }

    /// Of measured ceilings alone.
    pub(super) fn of_ceilings(ceilings: &Ceilings, threads: usize) -> Option<Self> {
        let of = ceilings.of(threads).filter(|of| of.threads == threads)?;
        let memory = of.memory_read.value().filter(|spread| spread.median > 0.0)?;
        let compute = of
            .dot_i8
            .value()
            .or(of.fma_f32.value())
            .filter(|spread| spread.median > 0.0 && relative(*spread) < UNSTEADY);
        Some(Self {
            memory: memory.median,
            compute: compute.map(|spread| spread.median),
            memory_spread: relative(memory),
            compute_spread: compute.map_or(0.0, relative),
        })
    }

    /// The higher rate of both, each with its spread.
    pub(super) fn highest(self, other: Self) -> Self {
        let (memory, memory_spread) = match self.memory >= other.memory {
            true => (self.memory, self.memory_spread),
            false => (other.memory, other.memory_spread),
        };
        let (compute, compute_spread) = match self.compute >= other.compute {
            true => (self.compute, self.compute_spread),
            false => (other.compute, other.compute_spread),
        };
        Self { memory, compute, memory_spread, compute_spread }
    }

    /// The factor for times that were measured on `other`: `memory` is the share of them that memory's bandwidth decides.
    ///
    /// ```text
    /// s  B_other / B_here  +  (1 - s)  C_other / C_here
    /// ```
    pub(super) fn factor_from(&self, other: &Self, memory: f64) -> f64 {
        let compute = self.compute.zip(other.compute).map_or(1.0, |(here, there)| there / here);
        memory * other.memory / self.memory + (1.0 - memory) * compute
    }
}

/// Median, and half the distance between the 16th and the 84th percentile relative to it: the standard deviation of a normal
/// distribution, insensitive to outliers.
fn middle(values: &[f64]) -> Option<(f64, f64)> {
    let values: Vec<f64> = values.iter().copied().filter(|value| *value > 0.0).collect();
    let median = percentile(&values, 50.0)?;
    let width = percentile(&values, 84.0)? - percentile(&values, 16.0)?;
    Some((median, width / 2.0 / median))
}

/// A quarter of the range relative to the median: of a handful of repetitions about one standard deviation.
fn relative(spread: Spread) -> f64 {
    (spread.high - spread.low).max(0.0) / 4.0 / spread.median
}
