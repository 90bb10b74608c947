//! The record of a run: wire types with a schema version, their reading and writing.
//!
//! Every number in a report can be recomputed from it. A value that could not be measured is `null`, and the `reasons` map of the same
//! object contains the reason under the name of the field. [`Findings`] are what follows from the measurements.

mod atomic;
mod attribution;
mod cache_ceilings;
mod case;
mod case_notes;
pub mod ceilings;
mod counter_totals;
mod counter_unit;
mod depth_law;
mod document;
pub mod environment;
mod error;
mod examination;
mod experts;
mod features;
pub mod figures;
mod findings;
mod folders;
mod journal;
mod json_lines;
mod llama_bench;
mod lock;
mod looks_like;
mod moment;
mod named;
mod pass;
mod pass_figures;
mod phase;
pub mod plan;
mod precision;
mod printable;
mod read;
pub mod recorded;
mod run;
mod sample;
mod server;
mod server_counters;
mod setting;
mod sources;
mod spread;
mod store;
mod suggest;
mod summary;
mod table;
mod verdict;

pub use atomic::write as write_atomically;
pub use attribution::{AllocationRow, LayerRow, MemoryPoint, PhaseSum, Roof, Series, Stall, WorkerRow};
pub use cache_ceilings::{CacheCeiling, CacheCeilings};
pub use case::{
    Case, CaseOutput, EnergyRow, LoadCache, MemoryFile, MemoryNodeRow, OpCounters, OpRow, PhaseRow, PromptIdsOf, Status,
};
pub use case_notes::{CaseNote, CaseNotes};
pub use ceilings::{CeilingProbe, Ceilings, ThreadCeilings};
pub use counter_totals::CounterTotals;
pub use counter_unit::counter_unit;
pub use depth_law::{DepthLaw, OpGrowth};
pub use document::Document;
pub use engine_api::Reason;
pub use environment::{Conditions, ConditionsAt, Environment};
pub use error::{Error, ErrorKind};
pub use examination::{Examination, TopLogprobs};
pub use experts::{ExpertPassRow, ExpertRow};
pub use findings::{Attainable, CaseFindings, Findings, MemoryFindings, OpFindings, Roofline};
pub use folders::{Folder, find, folders, folders_of, name_of, named, place, remove};
pub use journal::{Entry, Journalled, Session};
pub use lock::FolderLock;
pub use moment::{Moment, NotAMoment};
pub use pass::Pass;
pub use pass_figures::{Allocations, MemoryTimeline, PassFigures, SteppedFigures, TracedFigures};
pub use phase::PhaseOrOther;
pub use plan::PlanFile;
pub use precision::{PrecisionReached, StoppedBy, short_percent};
pub use printable::{Printable, printable};
pub use read::{Opened, open};
pub use recorded::{Reasons, Recorded, RecordedList, RecordedMap};
pub use run::{ProbeEffect, RESTS_ON, RunFile, SCHEMA_VERSION, Tool, WhatIf};
pub use sample::{METRICS, Metric, Sample, TokenCount, Unit, mark_repeated};
pub use server::{AuditFinding, Preprocessing, ServerFile, ServerSample};
pub use server_counters::ServerCounters;
pub use setting::{Action, Names, Setting, name_settings};
pub use sources::{NamedSource, Source, open_all, sources};
pub use spread::Spread;
pub use statistics::Slope;
pub use store::{Store, file_name};
pub use suggest::nearest;
pub use summary::{Estimate, Summary, SummaryMetrics, TokenGaps};
pub use table::{COLUMNS_OF_CASE, csv};
pub use verdict::{Advice, Confidence, Evidence, GroupVerdict, Limit, Verdict};

/// Names of the files in a run folder.
pub mod files {
    /// Everything about the run.
    pub const RUN: &str = "run.json";
    /// Everything that was measured, in its order: the other files are made of it.
    pub const JOURNAL: &str = "journal.jsonl";
    /// A journal whose first line cannot be read; a resumed run begins another one.
    pub const DAMAGED_JOURNAL: &str = "journal-damaged.jsonl";
    /// The lock of the program that measures.
    pub const LOCK: &str = "run.lock";
    /// One line per measured request, written after each request.
    pub const SAMPLES: &str = "samples.jsonl";
    /// One row per sample.
    pub const TABLE: &str = "results.csv";
    /// The Chrome trace.
    pub const TRACE: &str = "trace.json";
    /// The report as Markdown.
    pub const REPORT_MARKDOWN: &str = "report.md";
    /// The report as a page.
    pub const REPORT_PAGE: &str = "report.html";
    /// The folder of the outputs of the cases.
    pub const OUTPUTS: &str = "outputs";
}
