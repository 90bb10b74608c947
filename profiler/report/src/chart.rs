//! Charts as data: names, numbers and units. `draw` draws them. Formats without pictures show [`Chart::numbers`], or
//! [`Chart::summary`] where another table has the numbers.

use super::table::Table;

/// A chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What the chart shows.
    pub title: String,
    /// The same in one sentence with its figures, for readers who cannot see the picture.
    pub summary: String,
    /// What is drawn.
    pub figure: Figure,
    /// Its numbers, where no other table has them.
    pub numbers: Option<Table>,
}

/// The kinds of charts.
#[derive(Debug, Clone, PartialEq)]
pub enum Figure {
    /// A bar and its interval per row.
    Bars(Bars),
    /// Bars that consist of parts.
    StackedBars(StackedBars),
    /// Lines with a band.
    Lines(Lines),
    /// Points under ceilings, both axes logarithmic.
    Scatter(Scatter),
    /// Layers over time.
    Layers(Layers),
    /// Changes to either side of zero.
    Differences(Differences),
    /// From one total to another.
    Waterfall(Waterfall),
}

/// Horizontal bars to either side of zero, with their intervals.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Differences {
    /// What the axis shows, with its unit.
    pub axis: String,
    /// Changes between `-band` and `band` are irrelevant in practice.
    pub band: f64,
    /// From top to bottom.
    pub rows: Vec<Bar>,
}

/// A waterfall chart: totals start at zero, each change between them starts where the row above it ends.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Waterfall {
    /// What the axis shows, with its unit.
    pub axis: String,
    /// From top to bottom.
    pub rows: Vec<WaterfallStep>,
}

/// A row of a waterfall.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WaterfallStep {
    /// What the row shows.
    pub label: String,
    /// The value or the change as text, with its unit.
    pub text: String,
    /// Start on the axis.
    pub from: f64,
    /// End on the axis.
    pub to: f64,
    /// Whether this is a total rather than a change.
    pub is_total: bool,
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
    /// What the row shows.
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
pub struct StackedBars {
    /// What the axis shows, with its unit.
    pub axis: String,
    /// Names of the parts, from left to right.
    pub parts: Vec<String>,
    /// From top to bottom: label, the total as text, and one value per part.
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
    /// Points that are marked: what they are, and their positions. Points above the top of the axis are drawn at its edge.
    pub marks: Option<(String, Vec<(f64, f64)>)>,
    /// Where the vertical axis ends, if not at the largest value.
    pub top: Option<f64>,
}

/// A line.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Line {
    /// What the row shows.
    pub name: String,
    /// Its points by ascending x.
    pub points: Vec<Point>,
    /// Whether each point is drawn, for few of them.
    pub dots: bool,
}

/// A point of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Point {
    /// Position on the horizontal axis.
    pub x: f64,
    /// Position on the vertical axis.
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
    /// The name and the points of each kind.
    pub groups: Vec<(String, Vec<Dot>)>,
    /// The lines that bound the points.
    pub ceilings: Vec<CeilingLine>,
}

/// A point with its name. Where there is not enough space for all names, points with larger weights get theirs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dot {
    /// Its name.
    pub label: String,
    /// Position on the horizontal axis.
    pub x: f64,
    /// Position on the vertical axis.
    pub y: f64,
    /// Its importance, 0 to 1.
    pub weight: f64,
}

/// A bound: y = `level` x, or y = `level`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CeilingLine {
    /// Its name in the chart.
    pub label: String,
    /// The name and the value.
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
    /// Times, ascending.
    pub times: Vec<f64>,
    /// From bottom to top: a name, and one value per time.
    pub layers: Vec<(String, Vec<f64>)>,
    /// Times with a name.
    pub events: Vec<(f64, String)>,
}
