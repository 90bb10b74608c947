//! The measured ceilings of the machine, and how stable they were during the run.

use std::collections::{BTreeMap, BTreeSet};

use super::RunView;
use crate::content::{Block, Section};
use crate::figures::ABSENT;
use crate::table::Table;
use analyse::drift::drift;
use record::ceilings::SIMULATED;
use record::figures::significant;
use record::{CeilingProbe, Ceilings, Reason, Recorded, Spread, ThreadCeilings};

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Ceilings of this machine");
    let ceilings = match &view.file.ceilings {
        Recorded::Present(ceilings) => ceilings,
        Recorded::Absent(reason) => {
            // Run files of earlier versions have no ceilings.
            if *reason != Reason::unrecorded() {
                section.add_sentence(format!("Not measured: {reason}."));
            }
            return section;
        }
    };
    let shown = |entry: &&ThreadCeilings| view.file.plan.threads.contains(&entry.threads);
    let threads = ceilings.threads.iter().filter(shown).cloned().map(ThreadCeilings::without_contradictions).collect();
    section.blocks = blocks(&Ceilings { threads, ..ceilings.clone() });
    // Probes use the same kernel as the ceilings.
    let dot_products = ceilings.threads.iter().any(|entry| entry.dot_i8.is_present());
    section.add_table(probes(&view.file.ceiling_probes, dot_products));
    section
}

/// Measured ceilings as tables; also what `inferometer machine` shows.
pub fn blocks(ceilings: &Ceilings) -> Vec<Block> {
    let first = if ceilings.machine == SIMULATED {
        "The ceilings of the mock engine, from its settings.".to_owned()
    } else {
        format!(
            "Measured {} with as many threads as the engines use: the median of the repetitions; brackets contain the lowest and the highest. GB = 10^9 bytes; a multiply-add counts as two operations.",
            ceilings.measured
        )
    };
    let mut blocks = vec![Block::Sentence(first), Block::Table(table(ceilings))];
    let of_machine = of_machine(ceilings);
    if !of_machine.is_empty() {
        blocks.push(Block::Properties(of_machine));
    }
    blocks.extend(reasons(ceilings).into_iter().map(Block::Sentence));
    blocks
}

/// One row per ceiling, one column per thread count.
fn table(ceilings: &Ceilings) -> Table {
    let heads: Vec<String> =
        ceilings.threads.iter().map(|entry| crate::figures::count(entry.threads, "thread")).collect();
    let columns: Vec<&str> = std::iter::once("<ceiling").chain(heads.iter().map(String::as_str)).collect();
    let mut table = Table::new("", &columns);
    let mut row = |name: String, scale: f64, value: &dyn Fn(&ThreadCeilings) -> Option<Spread>| {
        // A ceiling that was not measured is listed below the table with its reason.
        if ceilings.threads.iter().any(|entry| value(entry).is_some()) {
            let cells = ceilings.threads.iter().map(|entry| spread(value(entry), scale));
            table.rows.push(std::iter::once(name).chain(cells).collect());
        }
    };
    let fixed = |text: &str| text.to_owned();
    row(fixed("memory read, 4 KiB pages, GB/s"), 1e-9, &|entry| entry.memory_read.value());
    row(fixed("memory read, huge pages, GB/s"), 1e-9, &|entry| entry.memory_read_huge.value());
    row(fixed("memory copy, GB/s"), 1e-9, &|entry| entry.copy.value());
    for level in levels(ceilings) {
        let of =
            |entry: &ThreadCeilings| entry.caches.iter().find(|cache| cache.level == level).map(|cache| cache.read);
        row(format!("level {level} cache read, GB/s"), 1e-9, &of);
    }
    row(fixed("f32 multiply-add, GFLOP/s"), 1e-9, &|entry| entry.fma_f32.value());
    row(fixed("8-bit dot product, GOP/s"), 1e-9, &|entry| entry.dot_i8.value());
    row(fixed("dispatch to all threads, µs"), 1e6, &|entry| entry.dispatch_s.value());
    table
}

fn levels(ceilings: &Ceilings) -> Vec<usize> {
    let mut levels: Vec<usize> =
        ceilings.threads.iter().flat_map(|entry| entry.caches.iter().map(|cache| cache.level)).collect();
    levels.sort_unstable();
    levels.dedup();
    levels
}

fn spread(value: Option<Spread>, scale: f64) -> String {
    let Some(value) = value else { return ABSENT.to_owned() };
    let [median, low, high] = [value.median, value.low, value.high].map(|value| significant(value * scale));
    if value.n < 2 { median } else { format!("{median}\n[{low}, {high}]") }
}

/// Ceilings that do not depend on the number of threads.
fn of_machine(ceilings: &Ceilings) -> Vec<(String, String)> {
    let property = |name: &str, value: Option<Spread>, scale: f64, unit: &str| {
        let text = format!("{} {unit}", spread(Some(value?), scale).replace('\n', " "));
        Some((name.to_owned(), text))
    };
    let facts = [
        property("file read, cold", ceilings.file_read_cold.value(), 1e-9, "GB/s"),
        property("file read, warm", ceilings.file_read_warm.value(), 1e-9, "GB/s, mapped, one thread"),
        property("first touch of a page", ceilings.page_fault_s.value(), 1e6, "µs"),
    ];
    facts.into_iter().flatten().collect()
}

/// Why ceilings are absent, one sentence per reason.
fn reasons(ceilings: &Ceilings) -> Vec<String> {
    let all = ceilings.threads.iter().flat_map(ThreadCeilings::reasons).chain(ceilings.reasons());
    let mut fields_of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (field, reason) in all {
        fields_of.entry(reason).or_default().insert(field);
    }
    let sentence = |(reason, fields): (String, BTreeSet<String>)| {
        format!("Absent ({}): {reason}.", fields.into_iter().collect::<Vec<_>>().join(", "))
    };
    fields_of.into_iter().map(sentence).collect()
}

/// The stability of the ceilings: one row per thread count.
fn probes(probes: &[CeilingProbe], dot_products: bool) -> Table {
    let compute = if dot_products { "8-bit dot product, GOP/s" } else { "f32 multiply-add, GFLOP/s" };
    let mut table = Table::new(
        "Probed between the rounds of this run, while all engines are stopped.",
        &["threads", "probes", "memory read, GB/s", "last / first", "range / median", compute],
    );
    for drift in drift(probes) {
        let own = |value: fn(&CeilingProbe) -> Option<f64>| {
            let values = probes.iter().filter(|probe| probe.threads == drift.threads).filter_map(value);
            spread(Spread::of(&values.collect::<Vec<f64>>()), 1e-9)
        };
        table.rows.push(vec![
            drift.threads.to_string(),
            drift.n.to_string(),
            own(|probe| probe.memory_read.value()),
            format!("{:.2}", drift.last_to_first),
            format!("{:.2}", drift.range),
            own(|probe| probe.compute.value()),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{CacheCeiling, CacheCeilings};

    fn exact(value: f64) -> Spread {
        Spread { median: value, low: value * 0.9, high: value * 1.1, n: 7 }
    }

    #[test]
    fn every_ceiling_has_a_row_or_a_reason() {
        let entry = |threads: usize| ThreadCeilings {
            threads,
            memory_read: exact(20e9 * threads as f64).into(),
            caches: CacheCeilings::measured(vec![CacheCeiling { level: 2, size_bytes: 1, read: exact(1e11) }], "none"),
            dispatch_s: exact(2e-6).into(),
            copy: Recorded::absent("not enough memory"),
            ..ThreadCeilings::absent(Reason::unrecorded())
        };
        let ceilings = Ceilings {
            threads: vec![entry(1), entry(2)],
            page_fault_s: exact(5e-7).into(),
            ..Ceilings::absent(Reason::unrecorded())
        };
        let content = crate::Content {
            title: String::new(),
            sections: vec![Section { heading: "Ceilings".to_owned(), short: true, blocks: blocks(&ceilings) }],
        };
        insta::assert_snapshot!(crate::text(&content, crate::TextOptions { width: 100, colour: false }));
    }

    #[test]
    fn probes_show_their_range() {
        let probe = |rate: f64| CeilingProbe {
            threads: 2,
            memory_read: rate.into(),
            compute: 1e11.into(),
            ..CeilingProbe::absent("not probed")
        };
        let table = probes(&[probe(40e9), probe(30e9), probe(36e9)], true);
        assert_eq!(table.rows, [["2", "3", "36.00\n[30.00, 40.00]", "0.90", "0.28", "100.0\n[100.0, 100.0]"]]);
    }
}
