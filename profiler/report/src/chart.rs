//! Charts as data: names, numbers and units. How they are drawn is the page's business; forms without pictures show
//! [`Chart::numbers`], or the one sentence of [`Chart::summary`] where another table holds the numbers.

use super::content::Table;

/// A chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What it shows, and of what.
    pub title: String,
    /// What it says, in one sentence with its figures: for whoever cannot see it.
    pub summary: String,
    /// What is drawn.
    pub figure: Figure,
    /// Its numbers, where no other table holds them.
    pub numbers: Option<Table>,
}

/// The kinds of charts.
#[derive(Debug, Clone, PartialEq)]
pub enum Figure {
    /// A bar and its interval per row.
    Bars(Bars),
    /// Bars made of parts.
    Stack(Stack),
    /// Lines with a band.
    Lines(Lines),
    /// Points under ceilings, both axes logarithmic.
    Scatter(Scatter),
    /// Layers over time.
    Layers(Layers),
    /// Changes to either side of zero.
    Differences(Differences),
    /// From one whole to another.
    Steps(Steps),
}

/// Horizontal bars to either side of zero, with their intervals.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Differences {
    /// What the axis shows, with its unit.
    pub axis: String,
    /// What does not matter: from minus this to this.
    pub band: f64,
    /// From top to bottom.
    pub rows: Vec<Bar>,
}

/// A waterfall: wholes stand on zero, what lies between them begins where the row above it ends.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Steps {
    /// What the axis shows, with its unit.
    pub axis: String,
    /// From top to bottom.
    pub rows: Vec<Step>,
}

/// A row of a waterfall.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// What it stands for.
    pub label: String,
    /// The value or the change as text, with its unit.
    pub text: String,
    /// Where it begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// A whole and no change.
    pub whole: bool,
}

/// Horizontal bars from zero.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bars {
    /// What the axis shows, with its unit.
    pub axis: String,
    /// From top to bottom.
    pub rows: Vec<Bar>,
}

/// A bar.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bar {
    /// What it stands for.
    pub label: String,
    /// Its length.
    pub value: f64,
    /// The ends of its interval.
    pub interval: Option<(f64, f64)>,
    /// The value as text, with its unit.
    pub text: String,
}

/// Horizontal bars whose parts add up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stack {
    /// What the axis shows, with its unit.
    pub axis: String,
    /// Names of the parts, from left to right.
    pub parts: Vec<String>,
    /// From top to bottom: label, the whole as text, and one value a part.
    pub rows: Vec<(String, String, Vec<f64>)>,
}

/// Lines over a common axis, both axes from zero.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lines {
    /// What the horizontal axis shows, with its unit.
    pub x: String,
    /// What the vertical axis shows, with its unit.
    pub y: String,
    /// The lines.
    pub lines: Vec<Line>,
    /// Points that are told apart: what they are, and where. Above the top of the axis they stand at its edge.
    pub marks: Option<(String, Vec<(f64, f64)>)>,
    /// Where the vertical axis ends, if not at the largest value.
    pub top: Option<f64>,
}

/// A line.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Line {
    /// What it stands for.
    pub name: String,
    /// Its points by ascending x.
    pub points: Vec<Point>,
    /// Whether each point is drawn, for few of them.
    pub dots: bool,
}

/// A point of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Point {
    /// Where.
    pub x: f64,
    /// How much.
    pub y: f64,
    /// The ends of its interval or range.
    pub range: Option<(f64, f64)>,
}

/// Points in a plane of two logarithmic axes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scatter {
    /// What the horizontal axis shows, with its unit.
    pub x: String,
    /// What the vertical axis shows, with its unit.
    pub y: String,
    /// Points of one kind: its name, and its points.
    pub groups: Vec<(String, Vec<Dot>)>,
    /// What bounds them.
    pub ceilings: Vec<Ceiling>,
}

/// A point with its name; where there is no room for all names, those of the larger weights are written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dot {
    /// Its name.
    pub label: String,
    /// Where.
    pub x: f64,
    /// How much.
    pub y: f64,
    /// Its importance, 0 to 1.
    pub weight: f64,
}

/// A bound: y = `level` x, or y = `level`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ceiling {
    /// A word for the chart.
    pub label: String,
    /// The same with its figure.
    pub text: String,
    /// The slope or the height.
    pub level: f64,
    /// Whether y grows with x.
    pub slanted: bool,
}

/// Layers that are stacked over time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layers {
    /// What the horizontal axis shows, with its unit.
    pub x: String,
    /// What the vertical axis shows, with its unit.
    pub y: String,
    /// Moments, ascending.
    pub at: Vec<f64>,
    /// From bottom to top: a name, and one value a moment.
    pub layers: Vec<(String, Vec<f64>)>,
    /// Moments with a name.
    pub moments: Vec<(f64, String)>,
}
