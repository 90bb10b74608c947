//! Tables as data.

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
    /// A name that is copied as a whole: it is never broken.
    Name,
    /// Numbers.
    Right,
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
