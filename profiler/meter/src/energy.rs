//! Energy of the whole machine's processors, from RAPL through the kernel's powercap files.
//!
//! The processor keeps an energy account per package and, where it can, per part of it; the kernel shows each as a zone with
//! `energy_uj`. The accounts belong to the machine: what other programs use meanwhile is in them. They are files below a
//! [`Root`], so that everything here runs on recorded trees in tests. Nothing here divides by tokens: see
//! [`analyse::attribution`].

use record::Reason;
use std::collections::BTreeMap;

use engine_api::Phase;
use traces::{Nanos, clock};

use crate::counters::{Counter, EnergyDomain, Source};
use crate::root::{FileError, Root};

const ZONES: &str = "/sys/class/powercap";
/// How often the processor brings its accounts up to date (Intel SDM volume 3B, 15.10; AMD's do the same).
const UPDATE: Nanos = Nanos::from_millis(1);
/// A phase must last so many updates: either end of it may be one update old, so 20 keep the error under 5 % at each.
const UPDATES: u64 = 20;
/// An account that overflows is read at least this often while a request runs.
const KEEP_UP: Nanos = Nanos::from_millis(10_000);
/// No package draws more, in watts: an account that 1 kW could fill between two readings may have overflowed unseen.
const MOST_WATTS: u64 = 1000;

/// One account of the machine.
#[derive(Debug)]
struct Zone {
    domain: EnergyDomain,
    file: String,
    /// Largest value before it begins at 0 again, in microjoules.
    range: u64,
    last: Option<u64>,
    /// Microjoules since it was opened.
    total: u64,
}

/// All domains at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct EnergyReading {
    at: Nanos,
    /// Microjoules since the accounts were opened; `None` where a reading failed.
    total: [Option<u64>; EnergyDomain::ALL.len()],
    /// Times so far that an account may have overflowed unseen.
    gaps: u32,
}

/// What a phase used: a value or a reason per counter, in the order of [`Energy::counters`].
#[derive(Debug, Clone, PartialEq)]
pub struct EnergySpan {
    /// The phase at whose end it was read; `None` for the whole request.
    pub phase: Option<Phase>,
    /// How long it was.
    pub time: Nanos,
    /// Joules, or why they are not known.
    pub joules: Vec<Result<f64, Reason>>,
}

/// The energy accounts that were asked for and exist.
#[derive(Debug)]
pub struct Energy {
    root: Root,
    zones: Vec<Zone>,
    counters: Vec<(&'static Counter, EnergyDomain)>,
    last: Option<EnergyReading>,
    /// When the accounts were last read, and how often one may have overflowed unseen.
    read_at: Option<Nanos>,
    gaps: u32,
    /// The request so far.
    begun: Option<EnergyReading>,
    spans: Vec<EnergySpan>,
}

impl Energy {
    /// Opens the accounts of the energy counters among `wanted`; those that cannot be read are explained in `absent`.
    pub fn open(root: Root, wanted: &[&'static Counter], absent: &mut BTreeMap<String, String>) -> Self {
        let asked: Vec<(&'static Counter, EnergyDomain)> =
            wanted.iter().filter_map(|&counter| domain(counter).map(|domain| (counter, domain))).collect();
        let (zones, unavailable) = if asked.is_empty() { (Vec::new(), BTreeMap::new()) } else { zones(&root) };
        let mut counters = Vec::new();
        for (counter, domain) in asked {
            match unavailable.get(&domain) {
                Some(reason) => {
                    absent.insert(counter.name.to_owned(), reason.clone());
                }
                None => counters.push((counter, domain)),
            }
        }
        Self { root, zones, counters, last: None, read_at: None, gaps: 0, begun: None, spans: Vec::new() }
    }

    /// The counters that are read.
    pub fn counters(&self) -> impl Iterator<Item = &'static Counter> {
        self.counters.iter().map(|(counter, _)| *counter)
    }

    /// A request begins. Some ten microseconds a zone: for the edges of long phases, not for each token.
    pub fn begin(&mut self) {
        self.spans.clear();
        self.begun = self.read();
        self.last = self.begun;
    }

    /// What was used since the beginning, or since the last end, belongs to this phase.
    pub fn end(&mut self, phase: Phase) {
        let (Some(before), Some(now)) = (self.last, self.read()) else { return };
        let span = self.between(Some(phase), &before, &now);
        self.spans.push(span);
        self.last = Some(now);
    }

    /// Reads the accounts where that was long ago, so that none overflows unseen. Costs a clock reading otherwise.
    pub fn keep_up(&mut self) {
        if self.read_at.is_some_and(|at| clock::now().saturating_sub(at) > KEEP_UP) {
            let _ = self.read();
        }
    }

    /// What the request used: the phases, and all of it together.
    pub fn take(&mut self) -> (Vec<EnergySpan>, Option<EnergySpan>) {
        let whole = self.begun.take().zip(self.last.take()).map(|(begun, last)| self.between(None, &begun, &last));
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
            let place = zone.domain as usize;
            let found = self.root.number::<u64>(&zone.file).ok();
            gap |= waited.as_nanos() / 1000 > zone.range / MOST_WATTS;
            match (found, zone.last) {
                (Some(now), Some(last)) => zone.total += passed(last, now, zone.range),
                (Some(_), None) => {}
                (None, _) => failed[place] = true,
            }
            zone.last = found.or(zone.last);
            total[place] = (!failed[place]).then(|| total[place].unwrap_or(0) + zone.total);
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

/// What an account took between two readings: `now - last`, or `range - last + now` where it began at 0 again.
fn passed(last: u64, now: u64, range: u64) -> u64 {
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
            "too short for {}: it took {:.1} ms, and the processor updates its energy account about every {} ms, so that {} ms are the least that is told",
            counter.name,
            time.as_millis_f64(),
            UPDATE.as_millis_f64(),
            (UPDATE * UPDATES).as_millis_f64()
        ));
    }
    if before.gaps != after.gaps {
        return Err(reason!("{} may have overflowed more than once: it was not read for too long", counter.name));
    }
    let place = domain as usize;
    match (before.total[place], after.total[place]) {
        (Some(earlier), Some(later)) if later > earlier => Ok((later - earlier) as f64 / counter.per_unit as f64),
        (Some(_), Some(_)) => {
            Err(reason!("{} stood still: the account exists here, but nothing is counted in it", counter.name))
        }
        _ => Err(reason!("reading {} failed", counter.name)),
    }
}

/// The machine's accounts, and why a domain has none. Where the same package shows twice (`intel-rapl` and
/// `intel-rapl-mmio` are two ways to one account) the first way is taken.
fn zones(root: &Root) -> (Vec<Zone>, BTreeMap<EnergyDomain, String>) {
    let none =
        |reason: &str| EnergyDomain::ALL.iter().map(|&domain| (domain, reason.to_owned())).collect::<BTreeMap<_, _>>();
    let Ok(names) = root.names(ZONES) else {
        return (Vec::new(), none(&absent(root)));
    };
    let zones_of = |way: &str| {
        let zones = names.iter().filter(|name| name.strip_prefix(way).is_some_and(|rest| rest.starts_with(':')));
        zones.cloned().collect::<Vec<String>>()
    };
    let ways = ["intel-rapl", "amd-rapl", "intel-rapl-mmio"];
    let Some(found) = ways.iter().map(|way| zones_of(way)).find(|found| !found.is_empty()) else {
        return (Vec::new(), none(&absent(root)));
    };
    let mut zones = Vec::new();
    let mut unavailable: BTreeMap<EnergyDomain, String> = BTreeMap::new();
    for zone in found {
        let folder = format!("{ZONES}/{zone}");
        let Some(domain) = root.text(&format!("{folder}/name")).ok().and_then(|name| EnergyDomain::of_zone(&name))
        else {
            continue;
        };
        if domain == EnergyDomain::Core && is_amd(root) {
            let reason =
                "the kernel reads this account of one core of a package only on AMD processors: use energy_package_j";
            unavailable.insert(domain, reason.to_owned());
            continue;
        }
        let file = format!("{folder}/energy_uj");
        let readable = root.read(&file).map_err(unreadable).and_then(|_| root.number::<u64>(&file));
        match readable.and_then(|_| root.number::<u64>(&format!("{folder}/max_energy_range_uj"))) {
            Ok(range) => zones.push(Zone { domain, file, range, last: None, total: 0 }),
            Err(reason) => {
                unavailable.insert(domain, reason.into());
            }
        }
    }
    for domain in EnergyDomain::ALL {
        if !unavailable.contains_key(&domain) && !zones.iter().any(|zone| zone.domain == domain) {
            unavailable.insert(domain, "this processor keeps no energy account of its own for that part".to_owned());
        }
    }
    // A sum over some packages only would pass for the machine's.
    zones.retain(|zone| !unavailable.contains_key(&zone.domain));
    (zones, unavailable)
}

fn is_amd(root: &Root) -> bool {
    root.text("/proc/cpuinfo").is_ok_and(|text| text.contains("AuthenticAMD") || text.contains("HygonGenuine"))
}

/// Why there is no account at all.
fn absent(root: &Root) -> String {
    let guest = root.text("/proc/cpuinfo").is_ok_and(|text| {
        text.lines().any(|line| line.starts_with("flags") && line.split_whitespace().any(|flag| flag == "hypervisor"))
    });
    if guest {
        return format!("no energy account in {ZONES}: a virtual machine sees none of its host's; measure on the host");
    }
    format!(
        "no energy account in {ZONES}: the processor has none, or the kernel's driver is not loaded (`sudo modprobe intel_rapl_msr`; it serves AMD too)"
    )
}

fn unreadable(error: FileError) -> Reason {
    if let FileError::Denied(_) = error {
        return reason!(
            "{error}: since Linux 5.10 only root may read it, because it can betray secrets of other programs; run as root, or allow it until the next start with `sudo chmod a+r {ZONES}/*/energy_uj`"
        );
    }
    error.into()
}

#[cfg(test)]
mod tests;
