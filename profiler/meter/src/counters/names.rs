//! Counters by the names that the command line accepts: those of the registry, perf's spellings, raw events, events of sysfs.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::registry::{COUNTERS, Counter, Source, registered_counter};

/// Spellings of perf that differ from the registry by more than case and dashes.
const ALIASES: &[(&str, &str)] = &[
    ("branch_instructions", "branches"),
    ("cpu_clock", "cpu_clock_s"),
    ("cpu_cycles", "cycles"),
    ("cs", "context_switches"),
    ("faults", "page_faults"),
    ("idle_cycles_backend", "stalled_backend"),
    ("idle_cycles_frontend", "stalled_frontend"),
    ("migrations", "cpu_migrations"),
    ("ref_cycles", "reference_cycles"),
    ("slots", "topdown_slots"),
    ("stalled_cycles_backend", "stalled_backend"),
    ("stalled_cycles_frontend", "stalled_frontend"),
    ("task_clock", "task_clock_s"),
    ("topdown_bad_spec", "topdown_bad_speculation"),
    ("topdown_be_bound", "topdown_backend_bound"),
    ("topdown_fe_bound", "topdown_frontend_bound"),
];

/// The counter of a name: one of the registry (also with perf's dashes and capitals), `rHEX`, or `PMU/TERM=VALUE,.../`.
/// `None` for any other name. Whether the machine has the counter shows when it is opened.
pub fn counter_by_name(name: &str) -> Option<&'static Counter> {
    let plain = name.to_ascii_lowercase().replace('-', "_");
    let listed = ALIASES.iter().find(|(alias, _)| *alias == plain).map_or(plain.as_str(), |(_, name)| name);
    if let Some(counter) = registered_counter(listed) {
        return Some(counter);
    }
    if split_sysfs_event(name).is_some() {
        return Some(interned(name));
    }
    let digits = plain.strip_prefix('r').filter(|digits| (1..=16).contains(&digits.len()))?;
    u64::from_str_radix(digits, 16).ok().map(|_| interned(&plain))
}

/// Splits names at commas, except inside `PMU/.../`.
pub fn split_counter_names(text: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut inside = false;
    for c in text.chars() {
        inside ^= c == '/';
        match names.last_mut() {
            Some(_) if c == ',' && !inside => names.push(String::new()),
            Some(name) => name.push(c),
            None => {}
        }
    }
    names.into_iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// PMU and terms of an event in the form `PMU/TERM=VALUE,.../`; `None` where the text has another form.
pub(crate) fn split_sysfs_event(text: &str) -> Option<(&str, &str)> {
    let (pmu, rest) = text.split_once('/')?;
    let terms = rest.strip_suffix('/')?;
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    let whole = terms.split(',').all(|term| match term.split_once('=') {
        Some((name, value)) => plain(name) && plain(value),
        None => plain(term),
    });
    (plain(pmu) && whole).then_some((pmu, terms))
}

/// The names of the registry, for "did you mean".
pub fn counter_names() -> Vec<&'static str> {
    COUNTERS.iter().map(|counter| counter.name).collect()
}

/// A counter with static lifetime. Only names from the command line are interned, so their number is small.
fn interned(name: &str) -> &'static Counter {
    static KEPT: Mutex<BTreeMap<String, &'static Counter>> = Mutex::new(BTreeMap::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(counter) = kept.get(name) {
        return counter;
    }
    let text: &'static str = Box::leak(name.to_owned().into_boxed_str());
    let source = match text.strip_prefix('r').and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
        Some(config) => Source::Raw(config),
        None => Source::Sysfs(text),
    };
    let meaning = if text.contains('/') { "an event that the PMU describes in sysfs" } else { "a raw event" };
    let counter: &'static Counter =
        Box::leak(Box::new(Counter { name: text, unit: "1", meaning, source, default: false, per_unit: 1 }));
    kept.insert(name.to_owned(), counter);
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spellings_of_perf_are_accepted() {
        let name = |text| counter_by_name(text).map(|counter| counter.name);
        assert_eq!(name("L1-dcache-load-misses"), Some("l1_dcache_load_misses"));
        assert_eq!(name("LLC-loads"), Some("llc_loads"));
        assert_eq!(name("dTLB-load-misses"), Some("dtlb_load_misses"));
        assert_eq!(name("task-clock"), Some("task_clock_s"));
        assert_eq!(name("stalled-cycles-backend"), Some("stalled_backend"));
        assert_eq!(name("topdown-be-bound"), Some("topdown_backend_bound"));
        assert!(
            ALIASES
                .iter()
                .all(|(alias, name)| registered_counter(alias).is_none() && registered_counter(name).is_some())
        );
    }

    #[test]
    fn raw_events_and_events_of_sysfs_are_counters() {
        let raw = counter_by_name("r01C2").unwrap();
        assert_eq!((raw.name, raw.source), ("r01c2", Source::Raw(0x1c2)));
        assert!(std::ptr::eq(raw, counter_by_name("r01c2").unwrap()));
        assert_eq!(counter_by_name("cpu/event=0xd0,umask=0x81/").map(|c| c.source.is_event()), Some(true));
        for wrong in ["r", "rxyz", "r11112222333344445", "cpu/", "cpu/event=1", "cpu//", "/a/", "cycels", ""] {
            assert_eq!(counter_by_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn commas_inside_an_event_do_not_split_it() {
        assert_eq!(split_counter_names("cycles,cpu/event=1,umask=2/,r1"), ["cycles", "cpu/event=1,umask=2/", "r1"]);
        assert_eq!(split_counter_names(" a ,,b"), ["a", "b"]);
    }
}
