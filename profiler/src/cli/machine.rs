//! `inferometer machine`: which measurements this machine supports, and why others are unavailable.

use std::collections::BTreeMap;

use analyse::warnings::{self, Warning};
use clap::Args;
use measure::ceilings::{self, ProbeResources};
use measure::plan;
use measure::pool::WorkerFolder;
use meter::environment::{self, Noise};
use meter::{COUNTERS, Counter, Meter};
use record::environment::Environment;
use record::figures::milliseconds;
use record::{Printable, Reason};
use report::{Align, Block, Column, Content, Section, Table, condition_properties, environment_properties, text};

use super::failure::Code;
use super::{interrupt, output};

/// Heading of a section.
const CEILINGS: &str = "Ceilings";

/// Show what can be measured on this machine: counters, memory, page cache, noise, ceilings
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Measure the ceilings (bandwidth, operations per second) again
    #[arg(long)]
    refresh: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Code> {
    // First, because counters follow only threads that start later.
    let all: Vec<&'static Counter> = COUNTERS.iter().collect();
    let counters = counters(&all);
    let memory = memory();
    let environment = environment::capture(&[]);
    let sections = vec![
        section("Machine", vec![Block::Properties(environment_properties(&environment))]),
        section(
            "Warnings",
            warnings::before(&environment, &crate::tool::tool(), &[])
                .iter()
                .map(|warning: &Warning| Block::Warning(warning.text()))
                .collect(),
        ),
        section(
            "Frequencies, heat, pressure",
            vec![Block::Properties(condition_properties(&environment::conditions_now()))],
        ),
        counters,
        memory,
        noise(environment::noise()),
        ceilings(&environment, arguments.refresh)?,
    ];
    let interrupted = sections.iter().any(|section| section.blocks.is_empty() && section.heading == CEILINGS);
    let sections = sections.into_iter().filter(|section| !section.blocks.is_empty()).collect();
    let shown = text(&Content { title: "This machine".to_owned(), sections }, output::text_options());
    output::print(&Printable::styled(&shown))?;
    Ok(if interrupted { Code::Interrupted } else { Code::Done })
}

fn section(heading: &str, blocks: Vec<Block>) -> Section {
    Section { heading: heading.to_owned(), short: true, blocks }
}

/// The stored ceilings, or newly measured ones; empty if the measurement was interrupted.
fn ceilings(environment: &Environment, again: bool) -> anyhow::Result<Section> {
    let interrupt = interrupt::listen()?;
    let (worker_folder, binary) = (WorkerFolder::create()?, std::env::current_exe()?);
    let tell = |text: &str| output::complain(&format!("{text}\n"));
    let resources =
        ProbeResources { binary: &binary, worker_folder: &worker_folder, interrupt: &interrupt, report: &tell };
    let threads = environment.processor.usable_threads.value().or(environment.processor.threads.value());
    let cores = plan::physical_cores(environment.limits.cpus.value());
    let counts = ceilings::thread_counts(cores, threads.unwrap_or(cores));
    let found = ceilings::ceilings(resources, environment, &crate::tool::tool(), &counts, again);
    let mut section = section(CEILINGS, Vec::new());
    if !interrupt.is_set() {
        section.blocks = report::ceilings_blocks(&found);
        if crate::tool::tool().profile == "debug" {
            let text = "this is not an optimised build, so the ceilings are far too low; build with --release";
            section.blocks.push(Block::Warning(text.to_owned()));
        }
    }
    Ok(section)
}

/// Opens one counter at a time, because a machine may have too few registers for all.
fn counters(all: &[&'static Counter]) -> Section {
    let left = |name: &str| Column { name: name.to_owned(), align: Align::Left };
    let mut table = Table {
        caption: String::new(),
        columns: vec![Column { align: Align::Name, ..left("counter") }, left("available"), left("what it counts")],
        rows: Vec::new(),
    };
    let mut absent: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for &counter in all {
        let meter = Meter::open(&[counter]);
        let reason = meter.absent().get(counter.name);
        let state = match reason {
            None if counter.default => "yes, by default",
            None => "yes, with --counters",
            Some(_) => "no",
        };
        table.rows.push(vec![counter.name.to_owned(), state.to_owned(), counter.meaning.to_owned()]);
        if let Some(reason) = reason {
            absent.entry(reason.to_string()).or_default().push(counter.name);
        }
    }
    let mut section = section("Counters", vec![Block::Table(table)]);
    // One line per reason, because many counters share it.
    section.blocks.extend(
        absent
            .into_iter()
            .map(|(reason, names)| Block::Sentence(format!("Not available: {}. {reason}.", names.join(", ")))),
    );
    section
}

/// Tries each way to measure memory.
fn memory() -> Section {
    let mut meter = Meter::open(&[]);
    let availability = |result: Result<String, Reason>| match result {
        Ok(found) => format!("yes{}{found}", if found.is_empty() { "" } else { ": " }),
        Err(reason) => format!("no: {reason}"),
    };
    let resident = meter.memory().map(|memory| {
        let footprint =
            memory.footprint.map(|bytes| format!(", footprint {}", ::models::Bytes(bytes))).unwrap_or_default();
        format!(
            "this process has {} ({} anonymous, {} of files){footprint}",
            ::models::Bytes(memory.resident),
            ::models::Bytes(memory.anonymous),
            ::models::Bytes(memory.file)
        )
    });
    let program = std::env::current_exe().map_err(|error| Reason::new(error.to_string()));
    let cached = program.and_then(|path| {
        meter::page_cache::share(&[path])
            .map(|share| format!("{:.0} % of this program's file is cached", share * 100.0))
    });
    let facts = vec![
        ("resident memory".to_owned(), availability(resident)),
        ("peak of a phase".to_owned(), availability(meter.reset_peak().map(|()| "the peak can be reset".to_owned()))),
        ("bytes read from storage".to_owned(), availability(meter.read_bytes().map(|_| String::new()))),
        ("share of a file in the page cache".to_owned(), availability(cached)),
    ];
    section("Memory and page cache", vec![Block::Properties(facts)])
}

fn noise(found: Result<Noise, Reason>) -> Section {
    let found = match found {
        Ok(found) => found,
        Err(reason) => return section("Noise", vec![Block::Sentence(format!("Not measured: {reason}."))]),
    };
    let sentence = format!(
        "The same work on one thread, 400 times: median {} ms, 99th percentile {:.2} times the median, maximum {:.1} times. The resolution of the clock is {} ns; reading it costs {} ns.",
        milliseconds(found.p50_s),
        found.p99_ratio(),
        found.max_ratio(),
        found.clock_step.as_nanos(),
        found.clock_read.as_nanos()
    );
    section("Noise", vec![Block::Sentence(sentence)])
}
