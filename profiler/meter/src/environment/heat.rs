//! Temperatures, and thermal throttling of the processor.

use crate::root::Root;
use record::environment::{Heat, Sensor};
use record::{Reason, Reasons};

const HWMON: &str = "/sys/class/hwmon";
const ZONES: &str = "/sys/class/thermal";
const CPUS: &str = "/sys/devices/system/cpu";
/// Drivers of processor sensors.
const OF_PROCESSOR: [&str; 6] = ["coretemp", "k10temp", "zenpower", "cpu_thermal", "x86_pkg_temp", "soc_thermal"];

/// Reads `/sys/class/hwmon`, `/sys/class/thermal` and the throttle counts.
pub fn read(root: &Root) -> Heat {
    let mut sensors = hwmon(root);
    // Thermal zones repeat the sensors of hwmon; small boards have only zones.
    if !sensors.iter().any(is_of_processor) {
        sensors.extend(zones(root));
    }
    let hottest =
        sensors.iter().filter(|sensor| is_of_processor(sensor)).max_by(|a, b| a.celsius.total_cmp(&b.celsius));
    let none = || {
        reason!(
            "no sensor of the processor in {HWMON} and {ZONES}: virtual machines have none; on other machines the driver (coretemp, k10temp) is not loaded"
        )
    };
    let processor_celsius = hottest.map(|sensor| sensor.celsius).ok_or_else(none);
    let limit = hottest.ok_or_else(none).and_then(|sensor| {
        sensor.critical_celsius.ok_or_else(|| reason!("{} has no critical temperature", sensor.name))
    });
    let per_core = |file: &str| sum(root, file, false);
    let millis = per_core("core_throttle_total_time_ms");
    Heat {
        processor_celsius: processor_celsius.into(),
        limit_celsius: limit.into(),
        sensors,
        core_throttles: per_core("core_throttle_count").into(),
        package_throttles: sum(root, "package_throttle_count", true).into(),
        throttled_s: millis.map(|millis| millis as f64 / 1e3).into(),
        notes: Reasons::new(),
    }
}

fn is_of_processor(sensor: &Sensor) -> bool {
    OF_PROCESSOR
        .iter()
        .any(|driver| sensor.name.split(' ').next().is_some_and(|name| name.replace('-', "_").starts_with(driver)))
}

/// `temp*_input` in thousandths of a degree, with `temp*_label` and `temp*_crit`.
fn hwmon(root: &Root) -> Vec<Sensor> {
    let mut sensors = Vec::new();
    for device in root.names(HWMON).unwrap_or_default() {
        let folder = format!("{HWMON}/{device}");
        let driver = root.text(&format!("{folder}/name")).unwrap_or_else(|_| device.clone());
        let files = root.names(&folder).unwrap_or_default();
        for index in files.iter().filter_map(|file| file.strip_prefix("temp")?.strip_suffix("_input")) {
            let degrees = |what: &str| {
                let millis = root.number::<i64>(&format!("{folder}/temp{index}_{what}")).ok()?;
                Some(millis as f64 / 1e3)
            };
            // A sleeping sensor gives an error instead of a number.
            let Some(celsius) = degrees("input") else { continue };
            let label = root.text(&format!("{folder}/temp{index}_label")).unwrap_or_else(|_| format!("temp{index}"));
            sensors.push(Sensor { name: format!("{driver} {label}"), celsius, critical_celsius: degrees("crit") });
        }
    }
    sensors
}

fn zones(root: &Root) -> Vec<Sensor> {
    let names = root.names(ZONES).unwrap_or_default();
    let zones = names.iter().filter(|name| name.starts_with("thermal_zone"));
    zones
        .filter_map(|zone| {
            let millis = root.number::<i64>(&format!("{ZONES}/{zone}/temp")).ok()?;
            let kind = root.text(&format!("{ZONES}/{zone}/type")).unwrap_or_else(|_| zone.clone());
            Some(Sensor { name: format!("{kind} {zone}"), celsius: millis as f64 / 1e3, critical_celsius: None })
        })
        .collect()
}

/// A count of `thermal_throttle`, summed over the cores, or over the packages: each processor shows the count of its core and
/// package, so the largest count of each is used.
fn sum(root: &Root, file: &str, of_packages: bool) -> Result<u64, Reason> {
    let mut found = std::collections::BTreeMap::new();
    for cpu in
        root.names(CPUS)?.iter().filter(|name| name.strip_prefix("cpu").is_some_and(|rest| rest.parse::<u32>().is_ok()))
    {
        let Ok(count) = root.number::<u64>(&format!("{CPUS}/{cpu}/thermal_throttle/{file}")) else { continue };
        let id = |what: &str| root.number::<u64>(&format!("{CPUS}/{cpu}/topology/{what}")).unwrap_or(0);
        // All hardware threads of a core show the core's count.
        let core = if of_packages { 0 } else { id("core_id") };
        let most = found.entry((id("physical_package_id"), core)).or_insert(0);
        *most = count.max(*most);
    }
    if found.is_empty() {
        return Err(reason!("{CPUS}/cpu*/thermal_throttle/{file}: not on this system"));
    }
    Ok(found.values().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::tree;

    #[test]
    fn the_hottest_sensor_of_the_processor_with_its_limit() {
        let tree = tree(&[
            ("/sys/class/hwmon/hwmon0/name", "nvme\n"),
            ("/sys/class/hwmon/hwmon0/temp1_input", "91000\n"),
            ("/sys/class/hwmon/hwmon1/name", "coretemp\n"),
            ("/sys/class/hwmon/hwmon1/temp1_input", "71500\n"),
            ("/sys/class/hwmon/hwmon1/temp1_label", "Package id 0\n"),
            ("/sys/class/hwmon/hwmon1/temp1_crit", "100000\n"),
            ("/sys/class/hwmon/hwmon1/temp2_input", "68000\n"),
            ("/sys/class/hwmon/hwmon1/temp3_input", "\n"),
            ("/sys/class/thermal/thermal_zone0/temp", "40000\n"),
            ("/sys/class/thermal/thermal_zone0/type", "acpitz\n"),
            ("/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "3\n"),
            ("/sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count", "5\n"),
            ("/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_total_time_ms", "250\n"),
            ("/sys/devices/system/cpu/cpu0/topology/core_id", "0\n"),
            ("/sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "3\n"),
            ("/sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count", "5\n"),
            ("/sys/devices/system/cpu/cpu1/topology/core_id", "0\n"),
            ("/sys/devices/system/cpu/cpu2/thermal_throttle/core_throttle_count", "4\n"),
            ("/sys/devices/system/cpu/cpu2/topology/core_id", "1\n"),
        ]);
        let heat = read(&Root::recorded(tree.path()));
        assert_eq!((heat.processor_celsius.value(), heat.limit_celsius.value()), (Some(71.5), Some(100.0)));
        assert_eq!(heat.sensors.len(), 3, "a sensor without a value is left out: {heat:?}");
        assert_eq!(heat.core_throttles.value(), Some(7), "hardware threads share a count");
        assert_eq!(heat.package_throttles.value(), Some(5));
        assert_eq!(heat.throttled_s.value(), Some(0.25));
        assert!(heat.reasons().is_empty());
    }

    #[test]
    fn a_board_has_zones_and_a_virtual_machine_has_no_sensor() {
        let board = tree(&[
            ("/sys/class/thermal/thermal_zone0/temp", "55123\n"),
            ("/sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
        ]);
        let heat = read(&Root::recorded(board.path()));
        assert_eq!(heat.processor_celsius.value(), Some(55.123));
        assert!(heat.reasons()["limit_celsius"].contains("no critical"));
        let nothing = read(&Root::recorded(board.path().join("nowhere")));
        assert!(nothing.reasons()["processor_celsius"].contains("virtual machine"));
        assert_eq!(nothing.reasons().len(), 5);
    }
}
