//! The machine and the build.

use super::RunView;
use crate::content::{Block, Section};
use crate::figures::{shown, unknown};
use record::environment::{Cache, Environment, Processor};
use record::{Reason, Recorded, Tool};

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Machine and build");
    // A run on a virtual clock does not record the machine.
    let machine = if view.file.plan.virtual_time { Vec::new() } else { properties(&view.file.environment) };
    let properties = machine
        .into_iter()
        .chain(build(&view.file.tool))
        .chain([("command".to_owned(), view.file.command_line.join(" "))]);
    section.blocks.push(Block::Properties(properties.collect()));
    section
}

fn build(tool: &Tool) -> Vec<(String, String)> {
    let revision = tool.revision.as_deref().map(|revision| format!(", revision {revision}")).unwrap_or_default();
    vec![
        (
            "tool".to_owned(),
            format!(
                "{} {}{revision}, {} build for {} by {}",
                tool.name, tool.version, tool.profile, tool.target, tool.compiler
            ),
        ),
        ("built for".to_owned(), tool.target_features.join(" ")),
    ]
}

/// The environment as names and values, also for `inferometer machine`.
pub fn properties(environment: &Environment) -> Vec<(String, String)> {
    let Environment { host, processor, memory, limits, power, state, .. } = environment;
    let mut properties = Vec::new();
    let mut property = |name: &str, value: String| properties.push((name.to_owned(), value));
    property("processor", shown(&processor.model, String::clone));
    property("cores", topology(processor).unwrap_or_else(|reason| unknown(Some(reason))));
    property("features", processor.features.join(" "));
    let cache =
        |cache: &Cache| format!("L{} {} {} x {}", cache.level, cache.kind, binary(cache.bytes), cache.instances);
    let caches = processor.caches.iter().map(cache).collect::<Vec<_>>().join(", ");
    property("caches", processor.caches.reason().map_or(caches, |reason| unknown(Some(reason))));
    property("frequency", frequency(processor));
    property("governor", shown(&processor.governor, String::clone));
    let bytes = |bytes: u64| models::Bytes(bytes).to_string();
    let part = |part: &Recorded<u64>| part.value().map(bytes).unwrap_or_default();
    let available = part(&memory.available_bytes);
    property("memory", shown(&memory.total_bytes, |total| format!("{}, {available} available", bytes(*total))));
    let in_use = part(&memory.swap_used_bytes);
    property("swap", shown(&memory.swap_total_bytes, |total| format!("{}, {in_use} in use", bytes(*total))));
    let defrag = memory.huge_page_defrag.as_deref().unwrap_or("unknown");
    property("huge pages", shown(&memory.transparent_huge_pages, |pages| format!("{pages}, defrag {defrag}")));
    property("system", shown(&host.system, String::clone));
    property("kernel", shown(&host.kernel, String::clone));
    property("machine", shown(&host.machine, String::clone));
    let virtualised = |guest: &bool| match (guest, &host.hypervisor) {
        (false, _) => "no".to_owned(),
        (true, Recorded::Present(name)) => name.clone(),
        (true, Recorded::Absent(_)) => "yes".to_owned(),
    };
    property("virtual machine", shown(&host.virtualised, virtualised));
    property("container", shown(&host.container, String::clone));
    let granted = [
        limits.memory_bytes.value().map(|limit| format!("memory {}", models::Bytes(limit))),
        limits.cpus.value().map(|limit| format!("{limit:.2} processors")),
    ];
    let granted: Vec<String> = granted.into_iter().flatten().collect();
    property("limits", if granted.is_empty() { "none".to_owned() } else { granted.join(", ") });
    if host.translated == Some(true) {
        property("translated", "by Rosetta; build for this processor instead".to_owned());
    }
    property("clock source", shown(&host.clock_source, String::clone));
    let is_low = power.low_power_mode == Some(Recorded::Present(true));
    let low = if is_low { ", low power mode" } else { "" };
    property("power", shown(&power.source, |source| format!("{source}{low}")));
    // macOS reports pressure, Linux temperatures.
    if let Some(pressure) = &state.thermal_pressure {
        property("thermal pressure", shown(pressure, ToString::to_string));
    }
    if let Some(Recorded::Present(class)) = &state.scheduling_class {
        property("scheduling class", class.to_string());
    }
    let share = |share: &Recorded<f64>, what: &str| {
        let text = |share: f64| format!(", {:.1} % of the processors {what} just before", share * 100.0);
        share.value().map(text).unwrap_or_default()
    };
    let shares = share(&state.busy_now, "busy") + &share(&state.steal_now, "taken by the hypervisor");
    property("load", shown(&state.load_1m, |load| format!("{load:.2} over the last minute{shares}")));
    let variables = &environment.variables;
    if !variables.kept.is_empty() {
        let kept = variables.kept.iter().map(|(name, value)| format!("{name}={value}"));
        property("variables", kept.collect::<Vec<_>>().join(" "));
    }
    if !variables.hidden.is_empty() {
        property("variables not shown", variables.hidden.join(" "));
    }
    properties
}

fn topology(processor: &Processor) -> Result<String, &Reason> {
    let counts = [&processor.sockets, &processor.cores, &processor.threads].map(Recorded::as_result);
    let [sockets, cores, threads] = counts;
    let (sockets, cores, threads) = (sockets?, cores?, threads?);
    let usable = processor
        .usable_threads
        .as_ref()
        .filter(|usable| *usable != threads)
        .map(|usable| format!(", {usable} usable"))
        .unwrap_or_default();
    let kinds: Vec<String> = processor.kinds.iter().map(|kind| format!("{} {}", kind.cores, kind.name)).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    Ok(format!(
        "{cores} cores{kinds}, {threads} hardware threads{usable}, sockets: {sockets}, memory nodes: {}",
        processor.numa_nodes.as_ref().map_or("unknown".to_owned(), usize::to_string)
    ))
}

fn frequency(processor: &Processor) -> String {
    let gigahertz = |hertz: u64| format!("{:.2} GHz", hertz as f64 / 1e9);
    let limits = match (processor.frequency_min_hz.value(), processor.frequency_max_hz.value()) {
        (Some(min), Some(max)) => format!("{} to {}", gigahertz(min), gigahertz(max)),
        _ => "limits unknown".to_owned(),
    };
    shown(&processor.frequency_now_hz, |now| format!("{} when read, {limits}", gigahertz(*now)))
}

/// Sizes of caches in binary units.
fn binary(bytes: u64) -> String {
    if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{} KiB", bytes >> 10)
    }
}
