//! The content of a report, independent of its format.

use super::chart::Chart;

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

/// A table. A cell may have a second line: the interval of its figure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// What it shows.
    pub caption: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows, each with one cell per column.
    pub rows: Vec<Vec<String>>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its heading, with the unit.
    pub name: String,
    /// How its cells are aligned.
    pub align: Align,
}

/// How cells are aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
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

    pub(super) fn add_sentence(&mut self, sentence: impl Into<String>) {
        self.blocks.push(Block::Sentence(sentence.into()));
    }

    pub(super) fn add_table(&mut self, table: Table) {
        if !table.rows.is_empty() {
            self.blocks.push(Block::Table(table));
        }
    }
}

impl Table {
    /// Columns by heading. A heading that begins with `<` is left-aligned, any other one right-aligned.
    pub(super) fn new(caption: impl Into<String>, columns: &[&str]) -> Self {
        let column = |heading: &&str| match heading.strip_prefix('<') {
            Some(name) => Column { name: name.to_owned(), align: Align::Left },
            None => Column { name: (*heading).to_owned(), align: Align::Right },
        };
        Self { caption: caption.into(), columns: columns.iter().map(column).collect(), ..Self::default() }
    }

    /// Leaves out those of the named columns whose cells are all equal.
    pub(super) fn without_constant(mut self, names: &[&str]) -> Self {
        let constant = |place: usize| self.rows.iter().all(|row| row[place] == self.rows[0][place]);
        let kept: Vec<bool> = self
            .columns
            .iter()
            .enumerate()
            .map(|(place, column)| !(names.contains(&column.name.as_str()) && constant(place)))
            .collect();
        let keep = |cells: Vec<String>| {
            cells.into_iter().zip(&kept).filter(|(_, keep)| **keep).map(|(cell, _)| cell).collect()
        };
        self.rows = std::mem::take(&mut self.rows).into_iter().map(keep).collect();
        self.columns = std::mem::take(&mut self.columns)
            .into_iter()
            .zip(&kept)
            .filter(|(_, keep)| **keep)
            .map(|(column, _)| column)
            .collect();
        self
    }
}
