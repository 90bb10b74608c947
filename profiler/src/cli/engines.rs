//! `inferometer engines list`.

use ::engines::registry::{ENGINES, Entry, find};
use ::engines::{Caps, OpTimes};
use clap::Subcommand;
use record::Printable;
use report::{Align, Block, Column, Content, Section, Table, text};

use super::failure::Code;
use super::output;

/// The engines of this build
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List every engine with version, device and capabilities, and why engines are unavailable
    List,
}

pub(super) fn run(verb: &Verb) -> anyhow::Result<Code> {
    let Verb::List = verb;
    let column = |name: &str| Column { name: name.to_owned(), align: Align::Left };
    let mut columns = ["engine", "version", "device", "operation times", "steps", "what it is"].map(column);
    // A name is copied into other commands.
    columns[0].align = Align::Name;
    let mut rows = Vec::new();
    for entry in ENGINES {
        rows.push(row(entry.name, entry.summary));
        rows.extend(entry.variants.iter().map(|(variant, summary)| row(&format!("{}:{variant}", entry.name), summary)));
    }
    let section = Section {
        heading: "Engines".to_owned(),
        short: true,
        blocks: vec![Block::Table(Table { caption: String::new(), columns: columns.into(), rows })],
    };
    let content = Content { title: title(ENGINES), sections: vec![section, unavailable(ENGINES)] };
    let content = Content {
        sections: content.sections.into_iter().filter(|section| !section.blocks.is_empty()).collect(),
        ..content
    };
    output::print(&Printable::styled(&text(&content, output::text_options())))?;
    Ok(Code::Done)
}

/// The number of engines and of variants.
fn title(entries: &[Entry]) -> String {
    let variants: usize = entries.iter().map(|entry| entry.variants.len()).sum();
    let apart = match variants {
        0 => String::new(),
        1 => ", and 1 variant".to_owned(),
        many => format!(", and {many} variants"),
    };
    format!("{} engines{apart}", entries.len())
}

fn row(label: &str, summary: &str) -> Vec<String> {
    let opened = find(label).ok().and_then(|selection| selection.open().ok());
    let Some(engine) = opened else {
        return [label, "–", "–", "–", "–", summary].map(str::to_owned).into();
    };
    let (identity, caps) = (engine.identity(), engine.caps());
    let features =
        if identity.features.is_empty() { String::new() } else { format!(" ({})", identity.features.join(" ")) };
    let steps = if caps.steps { "yes" } else { "no" };
    vec![
        label.to_owned(),
        format!("{}{features}", identity.version),
        identity.device.to_string(),
        op_times(&caps).to_owned(),
        steps.to_owned(),
        summary.to_owned(),
    ]
}

fn op_times(caps: &Caps) -> &'static str {
    match (caps.virtual_time, caps.op_times) {
        (true, _) => "virtual",
        (_, OpTimes::None) => "none",
        (_, OpTimes::HostEnqueue) => "host, enqueue only",
        (_, OpTimes::Host) => "host",
        (_, OpTimes::Device) => "device",
    }
}

/// Reason and advice for each engine that is not in this build.
fn unavailable(entries: &[Entry]) -> Section {
    let reason = |entry: &Entry| {
        find(entry.name)
            .ok()
            .and_then(|selection| selection.open().err())
            .map(|error| (entry.name.to_owned(), format!("{}; {}", error.reason, error.command)))
    };
    let facts: Vec<(String, String)> = entries.iter().filter_map(reason).collect();
    let blocks = if facts.is_empty() { Vec::new() } else { vec![Block::Properties(facts)] };
    Section { heading: "Not available in this build".to_owned(), short: true, blocks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_that_of_the_rows() {
        assert_eq!(title(ENGINES), "5 engines, and 1 variant");
        let plain: Vec<Entry> = ENGINES.iter().filter(|entry| entry.variants.is_empty()).copied().collect();
        assert_eq!(title(&plain), "4 engines");
    }
}
