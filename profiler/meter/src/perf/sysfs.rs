//! Events that a PMU describes in `/sys/bus/event_source/devices`: `PMU/TERM=VALUE,.../`, where a term is a field of its `format`
//! folder or the name of one of its `events`.
//!
//! ```text
//!   cpu/event=0xd0,umask=0x81/     format/event "config:0-7"    format/umask "config:8-15"    type "4"
//! ```

use super::system::{Attributes, PerfSystem};
use crate::counters::split_sysfs_event;
use record::Reason;

const DEVICES: &str = "/sys/bus/event_source/devices";

/// The attributes of an event `PMU/TERMS/`.
pub(super) fn resolve(event: &str, system: &dyn PerfSystem) -> Result<Attributes, Reason> {
    let (pmu, terms) =
        split_sysfs_event(event).ok_or_else(|| reason!("`{event}` is not of the form PMU/TERM=VALUE,.../"))?;
    let devices = system.list(DEVICES).map_err(|_| reason!("{DEVICES} cannot be read: this system lists no PMUs"))?;
    if !devices.iter().any(|device| device == pmu) {
        return Err(reason!("this machine has no PMU `{pmu}`; it has: {}", devices.join(", ")));
    }
    if system.text(&format!("{DEVICES}/{pmu}/cpumask")).is_ok() {
        return Err(reason!("PMU `{pmu}` counts the whole machine and not one process, so it has no value per phase"));
    }
    let number = system.text(&format!("{DEVICES}/{pmu}/type")).ok().and_then(|text| text.trim().parse().ok());
    let number = number.ok_or_else(|| reason!("{DEVICES}/{pmu}/type is not a number"))?;
    let mut event = Attributes { pmu: number, exclude_kernel: true, ..Attributes::default() };
    for term in terms.split(',').filter(|term| !term.is_empty()) {
        apply(term, pmu, system, &mut event, true)?;
    }
    Ok(event)
}

/// Applies one term. A named event is itself a list of terms, which may not name further events.
fn apply(term: &str, pmu: &str, system: &dyn PerfSystem, event: &mut Attributes, may_name: bool) -> Result<(), Reason> {
    let (name, value) = match term.split_once('=') {
        Some((name, value)) => (name, number(value).ok_or_else(|| reason!("`{term}`: `{value}` is not a number"))?),
        None => (term, 1),
    };
    if !term.contains('=')
        && may_name
        && let Ok(terms) = system.text(&format!("{DEVICES}/{pmu}/events/{name}"))
    {
        return terms.trim().split(',').try_for_each(|term| apply(term, pmu, system, event, false));
    }
    let field = match name {
        "config" => "config:0-63".to_owned(),
        "config1" => "config1:0-63".to_owned(),
        "config2" => "config2:0-63".to_owned(),
        name => system.text(&format!("{DEVICES}/{pmu}/format/{name}")).map_err(|_| unknown(name, pmu, system))?,
    };
    set_bits(field.trim(), value, event)
        .ok_or_else(|| reason!("PMU `{pmu}`: {value:#x} does not fit into `{name}`, whose format is {}", field.trim()))
}

fn unknown(name: &str, pmu: &str, system: &dyn PerfSystem) -> Reason {
    let list = |folder: &str| system.list(&format!("{DEVICES}/{pmu}/{folder}")).unwrap_or_default();
    let (fields, events) = (list("format"), list("events"));
    reason!("PMU `{pmu}` has no `{name}`; its fields: {}; its events: {}", fields.join(", "), events.join(", "))
}

/// Decimal, or hexadecimal with `0x`.
fn number(text: &str) -> Option<u64> {
    text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |digits| u64::from_str_radix(digits, 16).ok())
}

/// Writes the bits of a value, lowest first, to the bits that the field lists: `config:0-7,32-35`, single bits without a dash.
fn set_bits(field: &str, value: u64, event: &mut Attributes) -> Option<()> {
    let (word, ranges) = field.split_once(':')?;
    let word = match word {
        "config" => &mut event.config,
        "config1" => &mut event.config1,
        "config2" => &mut event.config2,
        _ => return None,
    };
    let mut rest = value;
    for range in ranges.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if last > 63 || first > last {
            return None;
        }
        for bit in first..=last {
            *word = *word & !(1 << bit) | (rest & 1) << bit;
            rest >>= 1;
        }
    }
    (rest == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakePmu;
    use super::*;

    fn machine() -> FakePmu {
        FakePmu::default()
            .with_file("cpu/type", "4\n")
            .with_file("cpu/format/event", "config:0-7,32-35\n")
            .with_file("cpu/format/umask", "config:8-15\n")
            .with_file("cpu/format/inv", "config:23\n")
            .with_file("cpu/format/ldlat", "config1:0-15\n")
            .with_file("cpu/events/mem-loads", "event=0xcd,umask=0x1,ldlat=3\n")
            .with_file("uncore_imc/type", "12\n")
            .with_file("uncore_imc/cpumask", "0\n")
    }

    #[test]
    fn terms_are_encoded_as_the_format_says() {
        let of = |event| resolve(event, &machine());
        assert_eq!(of("cpu/event=0x1c0,umask=0x1,inv/").unwrap().config, 0x1_0080_01c0);
        let loads = of("cpu/mem-loads/").unwrap();
        assert_eq!((loads.pmu, loads.config, loads.config1, loads.exclude_kernel), (4, 0x1cd, 3, true));
        assert_eq!(of("cpu/config=0x3c/").unwrap().config, 0x3c);
    }

    #[test]
    fn what_a_machine_lacks_is_named() {
        let of = |event| resolve(event, &machine()).unwrap_err().to_string();
        assert_eq!(of("gpu/event=1/"), "this machine has no PMU `gpu`; it has: cpu, uncore_imc");
        assert!(
            of("cpu/umsk=1/")
                .starts_with("PMU `cpu` has no `umsk`; its fields: event, inv, ldlat, umask; its events: mem-loads")
        );
        assert!(of("cpu/umask=0x100/").contains("does not fit"));
        assert!(of("cpu/umask=x/").contains("is not a number"));
        assert!(of("uncore_imc/event=1/").contains("whole machine"));
        assert_eq!(split_sysfs_event("cpu/event=1"), None);
        assert_eq!(split_sysfs_event("cpu/../x/"), None);
    }
}
