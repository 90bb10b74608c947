//! The content of a report, independent of its format.

use super::chart::Chart;
use super::table::Table;

/// A report.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Content {
    /// Its title.
    pub title: String,
    /// Its sections in order.
    pub sections: Vec<Section>,
}

/// A part of a report under one heading.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Section {
    /// The heading.
    pub heading: String,
    /// Whether the short report at the end of a run contains it.
    pub short: bool,
    /// What follows the heading.
    pub blocks: Vec<Block>,
}

/// A piece of a section.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// One or more sentences.
    Sentence(String),
    /// A warning with its advice.
    Warning(String),
    /// A failure with its reason.
    Failure(String),
    /// A table.
    Table(Table),
    /// A table whose rows the reader may sort.
    Sortable(Table),
    /// Names and values.
    Properties(Vec<(String, String)>),
    /// A chart.
    Chart(Box<Chart>),
    /// A sentence about the pictures of charts. Formats without pictures leave it out.
    ChartNote(String),
    /// The main figures at a glance. A table repeats them, so text formats leave the cards out.
    Cards(Vec<Card>),
    /// Blocks that the page shows when they are opened. Other formats always show them.
    Details {
        /// The title of the blocks.
        summary: String,
        /// The blocks.
        blocks: Vec<Block>,
    },
}

/// The main figures of one thing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Card {
    /// What was measured.
    pub title: String,
    /// How it was measured.
    pub subtitle: String,
    /// The figures.
    pub figures: Vec<CardFigure>,
}

/// A figure of a card.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CardFigure {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Its unit.
    pub unit: String,
    /// Its interval, or nothing.
    pub interval: String,
}

impl Content {
    /// Only the sections of the short report.
    pub fn short(mut self) -> Self {
        self.sections.retain(|section| section.short);
        self
    }
}

impl Section {
    pub(super) fn new(heading: &str) -> Self {
        Self { heading: heading.to_owned(), ..Self::default() }
    }

    pub(super) fn short(heading: &str) -> Self {
        Self { short: true, ..Self::new(heading) }
    }

    /// The same section, closed until the reader opens it where the format can do that.
    pub(super) fn collapsed(mut self) -> Self {
        if !self.blocks.is_empty() {
            let blocks = std::mem::take(&mut self.blocks);
            self.blocks.push(Block::Details { summary: self.heading.clone(), blocks });
        }
        self
    }

    /// The same section with sortable tables. Their rows must not be sums of other rows.
    pub(super) fn sortable(mut self) -> Self {
        let sortable = |block| match block {
            Block::Table(table) => Block::Sortable(table),
            other => other,
        };
        self.blocks = self.blocks.into_iter().map(sortable).collect();
        self
    }

    pub(super) fn add_chart(&mut self, chart: Chart) {
        self.blocks.push(Block::Chart(Box::new(chart)));
    }

    pub(super) fn add_chart_note(&mut self, note: impl Into<String>) {
        self.blocks.push(Block::ChartNote(note.into()));
    }

    pub(super) fn add_sentence(&mut self, sentence: impl Into<String>) {
        self.blocks.push(Block::Sentence(sentence.into()));
    }

    pub(super) fn add_table(&mut self, table: Table) {
        if !table.rows.is_empty() {
            self.blocks.push(Block::Table(table));
        }
    }
}
