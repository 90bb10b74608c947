//! Horizontal bars: from zero, to both sides of zero, stacked, or as a waterfall. The label is above its bar and the value at the
//! right, so that both can use the whole width.

use std::ops::Range;

use plotters::chart::ChartBuilder;
use plotters::prelude::{Color, PathElement, Rectangle, Text};
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{ColourRole, DrawError, TEXT, picture, stroke, style, units};
use super::labels::{width as text_width, wrapped};
use super::{Picture, axes};
use crate::chart::{Bars, Differences, StackedBars, Waterfall};

/// Heights in pixels.
const LINE: f64 = TEXT * 1.4;
const BAR: f64 = 14.0;
const BETWEEN: f64 = 12.0;
const BELOW: f64 = TEXT * 3.6;
/// Left of the plane, for half of the first number.
const LEFT: f64 = 6.0;

/// The layout of a bar: the tops of its text and of its bar.
struct Row<'a> {
    lines: Vec<String>,
    value: &'a str,
    /// Whether the value has its own line.
    own_line: bool,
    top: f64,
    bar: f64,
}

fn layout<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>, width: f64) -> (Vec<Row<'a>>, f64) {
    let mut top = 0.0;
    let rows = labels
        .map(|(label, value)| {
            let beside = width - text_width(value) - 16.0;
            let own_line = text_width(label) > beside;
            let lines = wrapped(label, if own_line { width } else { beside });
            let bar = top + LINE * (lines.len() + usize::from(own_line)) as f64;
            let row = Row { lines, value, own_line, top, bar };
            top = bar + BAR + BETWEEN;
            row
        })
        .collect();
    (rows, top)
}

/// One bar per row, with its interval as a thin line.
pub(super) fn bars(bars: &Bars, width: f64) -> Result<Picture, DrawError> {
    let longest = bars.rows.iter().map(|row| row.interval.map_or(row.value, |(_, high)| high.max(row.value)));
    let longest = longest.fold(0.0, f64::max);
    let labels = bars.rows.iter().map(|row| (row.label.as_str(), row.text.as_str()));
    rows(width, 0.0..axis_end(longest), &bars.axis, labels, |place| {
        let Some(row) = bars.rows.get(place) else { return Vec::new() };
        let mut shapes = vec![Shape::Part { from: 0.0, to: row.value, ink: ColourRole::Part(0) }];
        if let Some((low, high)) = row.interval {
            shapes.push(Shape::Interval { low, high });
        }
        shapes
    })
}

/// Parts beside each other.
pub(super) fn stack(stack: &StackedBars, width: f64) -> Result<Picture, DrawError> {
    let longest = stack.rows.iter().map(|(.., parts)| parts.iter().sum::<f64>()).fold(0.0, f64::max);
    let labels = stack.rows.iter().map(|(label, whole, _)| (label.as_str(), whole.as_str()));
    rows(width, 0.0..axis_end(longest), &stack.axis, labels, |place| {
        let mut from = 0.0;
        let parts = stack.rows.get(place).map_or(&[][..], |(.., parts)| parts);
        let part = |(number, part): (usize, &f64)| {
            let to = from + part;
            let shape = Shape::Part { from, to, ink: ColourRole::Part(number) };
            from = to;
            shape
        };
        parts.iter().enumerate().map(part).collect()
    })
}

/// Bars to both sides of zero, with the band of irrelevant changes behind them.
pub(super) fn differences(chart: &Differences, width: f64) -> Result<Picture, DrawError> {
    let values = || {
        chart.rows.iter().flat_map(|row| {
            let (low, high) = row.interval.unwrap_or((row.value, row.value));
            [low, high, row.value]
        })
    };
    let least = values().fold(-chart.band, f64::min);
    let most = values().fold(chart.band, f64::max);
    let edge = (most - least) * 0.02;
    let labels = chart.rows.iter().map(|row| (row.label.as_str(), row.text.as_str()));
    rows(width, least - edge..most + edge, &chart.axis, labels, |place| {
        let Some(row) = chart.rows.get(place) else { return Vec::new() };
        let mut shapes = vec![
            Shape::Part { from: -chart.band, to: chart.band, ink: ColourRole::Grid },
            Shape::Part { from: row.value.min(0.0), to: row.value.max(0.0), ink: ColourRole::Part(0) },
        ];
        if let Some((low, high)) = row.interval {
            shapes.push(Shape::Interval { low, high });
        }
        shapes
    })
}

/// A waterfall.
pub(super) fn steps(chart: &Waterfall, width: f64) -> Result<Picture, DrawError> {
    let longest = chart.rows.iter().map(|row| row.from.max(row.to)).fold(0.0, f64::max);
    let labels = chart.rows.iter().map(|row| (row.label.as_str(), row.text.as_str()));
    rows(width, 0.0..axis_end(longest), &chart.axis, labels, |place| {
        let Some(row) = chart.rows.get(place) else { return Vec::new() };
        let ink = if row.is_total {
            0
        } else if row.to < row.from {
            1
        } else {
            2
        };
        vec![Shape::Part { from: row.from.min(row.to), to: row.from.max(row.to), ink: ColourRole::Part(ink) }]
    })
}

/// The end of an axis that starts at zero.
fn axis_end(longest: f64) -> f64 {
    if longest > 0.0 { longest * 1.01 } else { 1.0 }
}

/// A shape on a row.
enum Shape {
    Part { from: f64, to: f64, ink: ColourRole },
    Interval { low: f64, high: f64 },
}

fn rows<'a>(
    width: f64,
    range: Range<f64>,
    axis: &str,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    shapes: impl Fn(usize) -> Vec<Shape>,
) -> Result<Picture, DrawError> {
    let (start, end) = (range.start, range.end);
    let (rows, height) = layout(labels, width - LEFT - axes::RIGHT);
    picture(width, height + BELOW, |root| {
        // One vertical unit is one pixel.
        let mut plane = ChartBuilder::on(root)
            .margin_left(units(LEFT))
            .margin_right(units(axes::RIGHT))
            .x_label_area_size(units(BELOW))
            .build_cartesian_2d(range.clone(), height..0.0)?;
        axes::mesh(&mut plane, axis, if width > 500.0 { 9 } else { 5 }, 0)?;
        for (number, row) in rows.iter().enumerate() {
            let mut middle = row.top + LINE / 2.0;
            for line in &row.lines {
                let text = Text::new(line.clone(), (start, middle), style(ColourRole::Text, HPos::Left, VPos::Center));
                plane.plotting_area().draw(&text)?;
                middle += LINE;
            }
            let beside = if row.own_line { middle } else { row.top + LINE / 2.0 };
            let value = style(ColourRole::Text, HPos::Right, VPos::Center);
            plane.plotting_area().draw(&Text::new(row.value.to_owned(), (end, beside), value))?;
            for shape in shapes(number) {
                match shape {
                    Shape::Part { from, to, ink } => {
                        let corners = [(from, row.bar), (to, row.bar + BAR)];
                        plane.plotting_area().draw(&Rectangle::new(corners, ink.colour().filled()))?;
                        // A gap separates parts without relying on colours.
                        let edge = vec![(to, row.bar), (to, row.bar + BAR)];
                        plane.plotting_area().draw(&PathElement::new(edge, stroke(ColourRole::Background, 1.0)))?;
                    }
                    Shape::Interval { low, high } => {
                        let (middle, half) = (row.bar + BAR / 2.0, BAR / 4.0);
                        for path in [
                            vec![(low, middle), (high, middle)],
                            vec![(low, middle - half), (low, middle + half)],
                            vec![(high, middle - half), (high, middle + half)],
                        ] {
                            plane.plotting_area().draw(&PathElement::new(path, stroke(ColourRole::Text, 1.5)))?;
                        }
                    }
                }
            }
        }
        Ok(())
    })
}
