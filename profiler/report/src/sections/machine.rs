//! The machine and the build.

use super::RunView;
use crate::content::{Block, Section};
use record::Tool;
use record::environment::{Environment, Processor};

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
    let (host, processor, memory, state) =
        (&environment.host, &environment.processor, &environment.memory, &environment.state);
    let mut properties = Vec::new();
    let mut property = |name: &str, value: Option<String>, reason: Option<&String>| {
        let value =
            value.unwrap_or_else(|| format!("unknown ({})", reason.map_or("no reason recorded", String::as_str)));
        properties.push((name.to_owned(), value));
    };
    property("processor", processor.model.clone(), processor.reasons.get("model"));
    property("cores", topology(processor), processor.reasons.get("cores"));
    property("features", Some(processor.features.join(" ")), None);
    let caches: Vec<String> = processor
        .caches
        .iter()
        .map(|cache| format!("L{} {} {} x {}", cache.level, cache.kind, binary(cache.bytes), cache.instances))
        .collect();
    property("caches", (!caches.is_empty()).then(|| caches.join(", ")), processor.reasons.get("caches"));
    property("frequency", frequency(processor), processor.reasons.get("frequency_now_hz"));
    property("governor", processor.governor.clone(), processor.reasons.get("governor"));
    let bytes = |bytes: Option<u64>| bytes.map(|bytes| models::Bytes(bytes).to_string());
    let all = bytes(memory.total_bytes)
        .map(|total| format!("{total}, {} available", bytes(memory.available_bytes).unwrap_or_default()));
    property("memory", all, memory.reasons.get("total_bytes"));
    let swap = bytes(memory.swap_total_bytes)
        .map(|total| format!("{total}, {} in use", bytes(memory.swap_used_bytes).unwrap_or_default()));
    property("swap", swap, memory.reasons.get("swap_total_bytes"));
    let pages = memory
        .transparent_huge_pages
        .clone()
        .map(|pages| format!("{pages}, defrag {}", memory.huge_page_defrag.as_deref().unwrap_or("unknown")));
    property("huge pages", pages, memory.reasons.get("transparent_huge_pages"));
    property("system", host.system.clone(), host.reasons.get("system"));
    property("kernel", host.kernel.clone(), host.reasons.get("kernel"));
    property("machine", host.machine.clone(), host.reasons.get("machine"));
    let virtualised = host.virtualised.map(|guest| match (guest, &host.hypervisor) {
        (false, _) => "no".to_owned(),
        (true, Some(name)) => name.clone(),
        (true, None) => "yes".to_owned(),
    });
    property("virtual", virtualised, host.reasons.get("virtualised"));
    property("container", host.container.clone(), host.reasons.get("container"));
    let limits = &environment.limits;
    let granted = [
        limits.memory_bytes.map(|limit| format!("memory {}", models::Bytes(limit))),
        limits.cpus.map(|limit| format!("{limit:.2} processors")),
    ];
    let granted: Vec<String> = granted.into_iter().flatten().collect();
    property("limits", Some(if granted.is_empty() { "none".to_owned() } else { granted.join(", ") }), None);
    if host.translated == Some(true) {
        property("translated", Some("by Rosetta; build for this processor instead".to_owned()), None);
    }
    property("clock source", host.clock_source.clone(), host.reasons.get("clock_source"));
    let low = if environment.power.low_power_mode == Some(true) { ", low power mode" } else { "" };
    let source = environment.power.source.as_ref().map(|source| format!("{source}{low}"));
    property("power", source, environment.power.reasons.get("source"));
    // macOS reports pressure, Linux temperatures.
    if state.thermal_pressure.is_some() || state.reasons.contains_key("thermal_pressure") {
        property("thermal pressure", state.thermal_pressure.clone(), state.reasons.get("thermal_pressure"));
    }
    if let Some(class) = &state.scheduling_class {
        property("scheduling class", Some(class.clone()), None);
    }
    let share = |share: Option<f64>, what: &str| {
        share.map(|share| format!(", {:.1} % of the processors {what} just before", share * 100.0)).unwrap_or_default()
    };
    let load = state.load_1m.map(|load| {
        format!("{load:.2} over the last minute{}{}", share(state.busy_now, "busy"), share(state.steal_now, "stolen"))
    });
    property("load", load, state.reasons.get("load_1m"));
    let variables = &environment.variables;
    if !variables.kept.is_empty() {
        property(
            "variables",
            Some(variables.kept.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")),
            None,
        );
    }
    if !variables.hidden.is_empty() {
        property("variables not shown", Some(variables.hidden.join(" ")), None);
    }
    properties
}

fn topology(processor: &Processor) -> Option<String> {
    let (sockets, cores, threads) = (processor.sockets?, processor.cores?, processor.threads?);
    let usable = processor
        .usable_threads
        .filter(|&usable| usable != threads)
        .map(|usable| format!(", {usable} usable"))
        .unwrap_or_default();
    let kinds: Vec<String> = processor.kinds.iter().map(|kind| format!("{} {}", kind.cores, kind.name)).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    Some(format!(
        "{cores} cores{kinds}, {threads} hardware threads{usable}, sockets: {sockets}, memory nodes: {}",
        processor.numa_nodes.map_or("unknown".to_owned(), |nodes| nodes.to_string())
    ))
}

fn frequency(processor: &Processor) -> Option<String> {
    let gigahertz = |hertz: u64| format!("{:.2} GHz", hertz as f64 / 1e9);
    let now = gigahertz(processor.frequency_now_hz?);
    Some(match (processor.frequency_min_hz, processor.frequency_max_hz) {
        (Some(min), Some(max)) => format!("{now} when read, {} to {}", gigahertz(min), gigahertz(max)),
        _ => format!("{now} when read, limits unknown"),
    })
}

/// Sizes of caches in binary units.
fn binary(bytes: u64) -> String {
    if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{} KiB", bytes >> 10)
    }
}
