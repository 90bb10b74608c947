//! The power source: processors are slower on batteries.

use crate::root::Root;
use record::environment::{Power, PowerSource};
use record::{Reason, Reasons};

const SUPPLIES: &str = "/sys/class/power_supply";

/// Reads `/sys/class/power_supply`. Batteries of mice and keyboards (`scope` is `Device`) are left out.
pub fn read(root: &Root) -> Power {
    let mut mains = None;
    let mut discharging = None;
    let mut charge = Err(Reason::new("no battery"));
    let mut none = reason!("{SUPPLIES}: has no supply");
    let names = root.names(SUPPLIES).unwrap_or_else(|why| {
        none = why;
        Vec::new()
    });
    for name in names {
        let text = |file: &str| root.text(&format!("{SUPPLIES}/{name}/{file}")).unwrap_or_default();
        if text("scope") == "Device" {
            continue;
        }
        match text("type").as_str() {
            "Mains" | "USB" => mains = Some(mains.unwrap_or(false) | (text("online") == "1")),
            "Battery" => {
                discharging = Some(text("status") == "Discharging");
                charge = root.number::<u32>(&format!("{SUPPLIES}/{name}/capacity"));
            }
            _ => {}
        }
    }
    let source = match (mains, discharging) {
        (Some(true), _) | (None, Some(false)) => Ok(PowerSource::Mains),
        (Some(false), Some(_)) | (None, Some(true)) => Ok(PowerSource::Battery),
        (Some(false), None) | (None, None) => Err(none),
    };
    Power { source: source.into(), battery_percent: charge.into(), low_power_mode: None, notes: Reasons::new() }
}
