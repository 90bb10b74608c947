//! What the value of a counter counts, by its name in files.

/// The unit of a counter in reports: seconds, bytes, joules, or the name of what is counted. The names of counters follow rules: `_s`,
/// `_bytes` and `_j` at the end are units, `topdown_` at the beginning counts slots of the pipeline.
#[must_use]
pub fn counter_unit(name: &str) -> &'static str {
    let last = name.rsplit('_').next().unwrap_or(name);
    match last {
        _ if name.starts_with("topdown_") => "slots",
        "s" => "seconds",
        "bytes" => "bytes",
        "j" => "joules",
        "cycles" => "cycles",
        "instructions" => "instructions",
        "pageins" => "pages",
        "faults" => "page faults",
        "switches" => "context switches",
        _ => "events",
    }
}

#[cfg(test)]
mod tests {
    use super::counter_unit;

    #[test]
    fn the_name_gives_the_unit() {
        for (name, unit) in [
            ("cpu_user_s", "seconds"),
            ("read_bytes", "bytes"),
            ("energy_package_j", "joules"),
            ("reference_cycles", "cycles"),
            ("instructions", "instructions"),
            ("minor_faults", "page faults"),
            ("page_faults", "page faults"),
            ("involuntary_switches", "context switches"),
            ("topdown_retiring", "slots"),
            ("pageins", "pages"),
            ("cache_misses", "events"),
            ("r01c2", "events"),
        ] {
            assert_eq!(counter_unit(name), unit, "{name}");
        }
    }
}
