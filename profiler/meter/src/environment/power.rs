//! The power source: processors are slower on batteries.

use crate::root::Root;
use record::Reason;
use record::environment::Power;

const SUPPLIES: &str = "/sys/class/power_supply";

/// Reads `/sys/class/power_supply`. Batteries of mice and keyboards (`scope` is `Device`) are left out.
pub fn read(root: &Root) -> Power {
    let mut power = Power::default();
    let mut mains = None;
    let mut discharging = None;
    let mut charge = Err(Reason::new("no battery"));
    let mut none = format!("{SUPPLIES}: has no supply");
    let names = root.names(SUPPLIES).unwrap_or_else(|why| {
        none = why.into();
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
    power.source = match (mains, discharging) {
        (Some(true), _) | (None, Some(false)) => Some("mains".to_owned()),
        (Some(false), Some(_)) | (None, Some(true)) => Some("battery".to_owned()),
        (Some(false), None) | (None, None) => None,
    };
    if power.source.is_none() {
        power.reasons.insert("source".to_owned(), none.clone());
    }
    power.battery_percent = super::noted(&mut power.reasons, "battery_percent", charge);
    power
}
