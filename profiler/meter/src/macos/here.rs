//! This Mac as the meter's platform.

use record::Reason;
use std::collections::BTreeMap;

use super::super::{Counter, MachineLoad};
use super::{Kernel, MemoryReader, Probe};

impl Probe {
    pub(in super::super) fn open(
        wanted: &[&'static Counter],
        absent: &mut BTreeMap<String, String>,
    ) -> (Vec<&'static Counter>, Self) {
        Self::on(Box::new(Kernel), wanted, absent)
    }
}

impl MemoryReader {
    pub(in super::super) fn open() -> Result<Self, Reason> {
        Ok(Self::on(Box::new(Kernel)))
    }
}

pub(in super::super) fn cpu_seconds() -> f64 {
    super::cpu_seconds_on(&Kernel)
}

pub(in super::super) fn thread_cpu_seconds() -> Option<f64> {
    super::thread_cpu_seconds_on(&Kernel)
}

pub(in super::super) fn huge_pages() -> Result<u64, Reason> {
    Err(Reason::new("macOS does not tell which memory lies in huge pages"))
}

pub(in super::super) fn machine_load() -> Result<MachineLoad, Reason> {
    super::machine_load_on(&Kernel)
}
