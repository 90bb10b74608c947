//! Energy of the whole machine's processors, from RAPL through the kernel's powercap files.
//!
//! The processor has an energy counter per package and, on some models, per part of a package; the kernel shows each as a zone
//! with `energy_uj`. The counters belong to the machine: they include the energy of other programs. They are files below a
//! [`Root`], so tests run on recorded trees. `analyse` divides by tokens.

use record::Reason;
use std::collections::BTreeMap;

use engine_api::Phase;
use traces::{Nanos, clock};

use crate::counters::{Counter, EnergyDomain, RequestedCounters, Source};
use crate::root::{FileError, Root};

const ZONES: &str = "/sys/class/powercap";
/// How often the processor updates its counters (Intel SDM volume 3B, 15.10; AMD's do the same).
const UPDATE: Nanos = Nanos::from_millis(1);
/// The fewest updates of a phase: the reading at either end may be one update old, so 20 keep the error at each end under 5 %.
const UPDATES: u64 = 20;
/// The longest time between two readings while a request runs, because counters overflow.
const KEEP_UP: Nanos = Nanos::from_millis(10_000);
/// The highest power of a package, in watts: a counter that 1 kW could fill between two readings may have overflowed unnoticed.
const MOST_WATTS: u64 = 1000;

/// One energy counter of the machine.
#[derive(Debug)]
struct Zone {
    domain: EnergyDomain,
    file: String,
    /// Largest value before it wraps to 0, in microjoules.
    range: u64,
    last: Option<u64>,
    /// Microjoules since it was opened.
    total: u64,
}

/// All domains at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct EnergyReading {
    at: Nanos,
    /// Microjoules since the counters were opened; `None` where a reading failed.
    total: [Option<u64>; EnergyDomain::ALL.len()],
    /// How often so far a counter may have overflowed unnoticed.
    gaps: u32,
}

/// The energy of a phase: a value or a reason per counter, in the order of [`Energy::counters`].
#[derive(Debug, Clone, PartialEq)]
pub struct EnergySpan {
    /// The phase at whose end it was read; `None` for the whole request.
    pub phase: Option<Phase>,
    /// How long it was.
    pub time: Nanos,
    /// Joules, or why they are unknown.
    pub joules: Vec<Result<f64, Reason>>,
}

/// The requested energy counters that exist.
#[derive(Debug)]
pub struct Energy {
    root: Root,
    zones: Vec<Zone>,
    counters: Vec<(&'static Counter, EnergyDomain)>,
    last: Option<EnergyReading>,
    /// When the counters were last read, and how often one may have overflowed unnoticed.
    read_at: Option<Nanos>,
    gaps: u32,
    /// The request so far.
    started: Option<EnergyReading>,
    spans: Vec<EnergySpan>,
}

impl Energy {
    /// Opens the energy counters among `requested`. Those that cannot be read get a reason.
    pub(crate) fn open(root: Root, requested: RequestedCounters) -> (Self, RequestedCounters) {
        let is_requested = requested.readable().into_iter().any(|counter| domain(counter).is_some());
        let (zones, unavailable) = if is_requested { zones(&root) } else { (Vec::new(), BTreeMap::new()) };
        let requested = requested.and(|counter| {
            let reason = domain(counter).and_then(|domain| unavailable.get(&domain));
            reason.map_or(Ok(()), |reason| Err(reason.clone()))
        });
        let readable = requested.readable().into_iter();
        let counters = readable.filter_map(|counter| Some((counter, domain(counter)?))).collect();
        let energy =
            Self { root, zones, counters, last: None, read_at: None, gaps: 0, started: None, spans: Vec::new() };
        (energy, requested)
    }

    /// Reads no counter.
    pub(crate) fn none() -> Self {
        Self::open(Root::system(), RequestedCounters::new(&[])).0
    }

    /// The counters that are read.
    pub fn counters(&self) -> impl Iterator<Item = &'static Counter> {
        self.counters.iter().map(|(counter, _)| *counter)
    }

    /// Starts a request. A reading takes about ten microseconds per zone: use it at the edges of long phases, not of tokens.
    pub fn begin(&mut self) {
        self.spans.clear();
        self.started = self.read();
        self.last = self.started;
    }

    /// Attributes the energy since the start, or since the last call, to this phase.
    pub fn end(&mut self, phase: Phase) {
        let (Some(before), Some(now)) = (self.last, self.read()) else { return };
        let span = self.between(Some(phase), &before, &now);
        self.spans.push(span);
        self.last = Some(now);
    }

    /// Reads the counters if the last reading is long ago, so that none overflows unnoticed. Otherwise it only reads the clock.
    pub fn keep_up(&mut self) {
        if self.read_at.is_some_and(|at| clock::now().saturating_sub(at) > KEEP_UP) {
            let _ = self.read();
        }
    }

    /// The energy of the request: per phase, and as a whole.
    pub fn take(&mut self) -> (Vec<EnergySpan>, Option<EnergySpan>) {
        let whole =
            self.started.take().zip(self.last.take()).map(|(started, last)| self.between(None, &started, &last));
        (std::mem::take(&mut self.spans), whole)
    }

    fn between(&self, phase: Option<Phase>, before: &EnergyReading, after: &EnergyReading) -> EnergySpan {
        let joules = self.counters.iter().map(|&(counter, domain)| joules(counter, domain, before, after)).collect();
        EnergySpan { phase, time: after.at.saturating_sub(before.at), joules }
    }

    fn read(&mut self) -> Option<EnergyReading> {
        if self.counters.is_empty() {
            return None;
        }
        let at = clock::now();
        let waited = self.read_at.map_or(Nanos::ZERO, |before| at.saturating_sub(before));
        let mut total = [None; EnergyDomain::ALL.len()];
        let mut failed = [false; EnergyDomain::ALL.len()];
        let mut gap = false;
        for zone in &mut self.zones {
            let index = zone.domain as usize;
            let found = self.root.number::<u64>(&zone.file).ok();
            gap |= waited.as_nanos() / 1000 > zone.range / MOST_WATTS;
            match (found, zone.last) {
                (Some(now), Some(last)) => zone.total += wrapping_difference(last, now, zone.range),
                (Some(_), None) => {}
                (None, _) => failed[index] = true,
            }
            zone.last = found.or(zone.last);
            total[index] = (!failed[index]).then(|| total[index].unwrap_or(0) + zone.total);
        }
        self.gaps += u32::from(gap);
        self.read_at = Some(at);
        Some(EnergyReading { at, total, gaps: self.gaps })
    }
}

/// The domain of an energy counter.
fn domain(counter: &Counter) -> Option<EnergyDomain> {
    match counter.source {
        Source::Energy(domain) => Some(domain),
        _ => None,
    }
}

/// The difference of two readings: `now - last`, or `range - last + now` after an overflow.
fn wrapping_difference(last: u64, now: u64, range: u64) -> u64 {
    now.checked_sub(last).unwrap_or_else(|| range.saturating_sub(last).saturating_add(now))
}

/// Joules of a domain between two moments.
#[allow(clippy::cast_precision_loss, reason = "microjoules of a request stay far below 2^53")]
fn joules(
    counter: &Counter,
    domain: EnergyDomain,
    before: &EnergyReading,
    after: &EnergyReading,
) -> Result<f64, Reason> {
    let time = after.at.saturating_sub(before.at);
    if time < UPDATE * UPDATES {
        return Err(reason!(
            "too short for {}: it took {:.1} ms, the processor updates its energy counter about every {} ms, and at least {} ms are needed",
            counter.name,
            time.as_millis_f64(),
            UPDATE.as_millis_f64(),
            (UPDATE * UPDATES).as_millis_f64()
        ));
    }
    if before.gaps != after.gaps {
        return Err(reason!("{} may have overflowed more than once: it was not read for too long", counter.name));
    }
    let index = domain as usize;
    match (before.total[index], after.total[index]) {
        (Some(earlier), Some(later)) if later > earlier => Ok((later - earlier) as f64 / counter.per_unit as f64),
        (Some(_), Some(_)) => {
            Err(reason!("{} did not change: the counter exists on this machine, but it does not count", counter.name))
        }
        _ => Err(reason!("reading {} failed", counter.name)),
    }
}

/// The machine's energy counters, and why a domain has none. Where the same package is listed twice (`intel-rapl` and
/// `intel-rapl-mmio` are two interfaces to one counter) the first interface is used.
fn zones(root: &Root) -> (Vec<Zone>, BTreeMap<EnergyDomain, Reason>) {
    let none =
        |reason: &Reason| EnergyDomain::ALL.iter().map(|&domain| (domain, reason.clone())).collect::<BTreeMap<_, _>>();
    let Ok(names) = root.names(ZONES) else {
        return (Vec::new(), none(&why_none(root)));
    };
    let zones_of = |interface: &str| {
        let zones = names.iter().filter(|name| name.strip_prefix(interface).is_some_and(|rest| rest.starts_with(':')));
        zones.cloned().collect::<Vec<String>>()
    };
    let interfaces = ["intel-rapl", "amd-rapl", "intel-rapl-mmio"];
    let Some(found) = interfaces.iter().map(|interface| zones_of(interface)).find(|found| !found.is_empty()) else {
        return (Vec::new(), none(&why_none(root)));
    };
    let mut zones = Vec::new();
    let mut unavailable: BTreeMap<EnergyDomain, Reason> = BTreeMap::new();
    for zone in found {
        let folder = format!("{ZONES}/{zone}");
        let Some(domain) = root.text(&format!("{folder}/name")).ok().and_then(|name| EnergyDomain::of_zone(&name))
        else {
            continue;
        };
        if domain == EnergyDomain::Core && is_amd(root) {
            let reason =
                "on AMD processors the kernel reads this counter of only one core per package: use energy_package_j";
            unavailable.insert(domain, Reason::new(reason));
            continue;
        }
        let file = format!("{folder}/energy_uj");
        let readable = root.read(&file).map_err(unreadable).and_then(|_| root.number::<u64>(&file));
        match readable.and_then(|_| root.number::<u64>(&format!("{folder}/max_energy_range_uj"))) {
            Ok(range) => zones.push(Zone { domain, file, range, last: None, total: 0 }),
            Err(reason) => {
                unavailable.insert(domain, reason);
            }
        }
    }
    for domain in EnergyDomain::ALL {
        if !unavailable.contains_key(&domain) && !zones.iter().any(|zone| zone.domain == domain) {
            unavailable.insert(domain, Reason::new("this processor has no energy counter for this part"));
        }
    }
    // A sum over only some of the packages would be taken for the machine's.
    zones.retain(|zone| !unavailable.contains_key(&zone.domain));
    (zones, unavailable)
}

fn is_amd(root: &Root) -> bool {
    root.text("/proc/cpuinfo").is_ok_and(|text| text.contains("AuthenticAMD") || text.contains("HygonGenuine"))
}

/// Why the machine has no energy counter at all.
fn why_none(root: &Root) -> Reason {
    let guest = root.text("/proc/cpuinfo").is_ok_and(|text| {
        text.lines().any(|line| line.starts_with("flags") && line.split_whitespace().any(|flag| flag == "hypervisor"))
    });
    if guest {
        return reason!(
            "no energy counter in {ZONES}: a virtual machine does not see those of its host; measure on the host"
        );
    }
    reason!(
        "no energy counter in {ZONES}: the processor has none, or the kernel's driver is not loaded (`sudo modprobe intel_rapl_msr`, on AMD too)"
    )
}

fn unreadable(error: FileError) -> Reason {
    if let FileError::Denied(_) = error {
        return reason!(
            "{error}: since Linux 5.10 only root may read it, because it can reveal secrets of other programs; run as root, or allow it until the next boot with `sudo chmod a+r {ZONES}/*/energy_uj`"
        );
    }
    error.into()
}

#[cfg(test)]
mod tests;
