//! Conditions that change during a run: frequencies, heat, use of the control group, pressure.
//!
//! They are read between the rounds, while no engine computes. Each is a level or a total since boot; `analyse` computes the
//! differences.

use super::ControlGroups;
use crate::root::Root;
use record::environment::{Conditions, GroupUsage};
use record::{Reason, Reasons};

const CPUS: &str = "/sys/devices/system/cpu";

/// The conditions of this machine now.
pub fn conditions_now() -> Conditions {
    read_conditions(&Root::system())
}

/// The conditions of a machine from the files below a root.
pub fn read_conditions(root: &Root) -> Conditions {
    let policy = format!("{CPUS}/cpu0/cpufreq");
    let group = match ControlGroups::find(root) {
        Ok(groups) => groups.usage(root),
        Err(reason) => GroupUsage::absent(reason),
    };
    Conditions {
        frequencies_hz: frequencies(root).into(),
        governor: root.text(&format!("{policy}/scaling_governor")).into(),
        energy_preference: energy_preference(root).into(),
        turbo: super::processor::turbo(root).into(),
        heat: super::read_heat(root),
        group,
        pressure: super::read_pressure(root),
        notes: Reasons::new(),
    }
}

/// `energy_performance_preference` of the first processor.
fn energy_preference(root: &Root) -> Result<String, Reason> {
    root.text(&format!("{CPUS}/cpu0/cpufreq/energy_performance_preference"))
        .map_err(|reason| reason!("{reason}: only processors with hardware-managed frequencies have a preference"))
}

/// Frequency of each processor now, in Hz. A processor that is off line has none.
///
/// # Errors
/// When the kernel does not report it, as on most virtual machines, or a file cannot be read.
pub fn frequencies(root: &Root) -> Result<Vec<u64>, Reason> {
    let mut found = Vec::new();
    let numbered = |name: &str| name.strip_prefix("cpu").is_some_and(|rest| rest.parse::<u32>().is_ok());
    for cpu in root.names(CPUS)?.iter().filter(|name| numbered(name)) {
        if root.read(&format!("{CPUS}/{cpu}/online")).is_ok_and(|online| online == "0") {
            continue;
        }
        let path = format!("{CPUS}/{cpu}/cpufreq/scaling_cur_freq");
        if root.has(&path) {
            found.push(root.number::<u64>(&path)? * 1000);
        }
    }
    if found.is_empty() {
        return Err(reason!("{CPUS}/cpu*/cpufreq/scaling_cur_freq: not on this system"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::tree;

    #[test]
    fn every_missing_figure_has_a_reason() {
        let tree = tree(&[
            ("/proc/self/cgroup", "0::/\n"),
            ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "2400000\n"),
            ("/sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "800000\n"),
            ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"),
            ("/sys/devices/system/cpu/cpu0/cpufreq/energy_performance_preference", "balance_power\n"),
            ("/sys/devices/system/cpu/intel_pstate/no_turbo", "0\n"),
        ]);
        let found = read_conditions(&Root::recorded(tree.path()));
        assert_eq!(*found.frequencies_hz, [2_400_000_000, 800_000_000]);
        assert_eq!((found.energy_preference.as_deref(), found.turbo.value()), (Some("balance_power"), Some(true)));
        let nothing = read_conditions(&Root::recorded(tree.path().join("nowhere")));
        let value = serde_json::to_value(&nothing).unwrap();
        for part in [&value, &value["heat"], &value["group"], &value["pressure"]] {
            for (field, _) in part.as_object().unwrap().iter().filter(|(_, value)| value.is_null()) {
                assert!(part["reasons"].get(field).is_some(), "{field} is null without a reason");
            }
        }
        assert!(value["reasons"].get("frequencies_hz").is_some(), "{value}");
    }

    #[test]
    fn a_frequency_that_cannot_be_read_is_not_left_out() {
        let cpu = "/sys/devices/system/cpu";
        let frequency =
            |number: u32, text: &str| (format!("{cpu}/cpu{number}/cpufreq/scaling_cur_freq"), text.to_owned());
        let read = |mut files: Vec<(String, String)>, online: &str| {
            files.push((format!("{cpu}/cpu1/online"), online.to_owned()));
            let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
            frequencies(&Root::recorded(tree(&files).path()))
        };
        let files = || vec![frequency(0, "1200000\n"), frequency(1, "busy\n")];
        insta::assert_snapshot!(read(files(), "1\n").unwrap_err(), @r#"/sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq: expected a number, found "busy""#);
        assert_eq!(read(files(), "0\n").unwrap(), [1_200_000_000], "a processor that is off line has none");
    }
}
