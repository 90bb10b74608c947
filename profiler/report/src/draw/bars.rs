//! Horizontal bars: from zero, to either side of it, one after the other. A bar's label stands above it and its value at the right, so that both have the whole width.

use std::ops::Range;

use plotters::chart::ChartBuilder;
use plotters::prelude::{Color, PathElement, Rectangle, Text};
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{Failed, Ink, TEXT, picture, stroke, style, units};
use super::place::{width as text_width, wrapped};
use super::{Picture, axes};
use crate::chart::{Bars, Differences, Stack, Steps};

/// Heights in pixels.
const LINE: f64 = TEXT * 1.4;
const BAR: f64 = 14.0;
const BETWEEN: f64 = 12.0;
const BELOW: f64 = TEXT * 3.6;
/// Left of the plane, for half of the first number.
const LEFT: f64 = 6.0;

/// A bar as it is laid out: where its lines of text and its bar begin, from the top.
struct Row<'a> {
    lines: Vec<String>,
    value: &'a str,
    /// Whether the value has a line of its own.
    apart: bool,
    top: f64,
    bar: f64,
}

fn layout<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>, room: f64) -> (Vec<Row<'a>>, f64) {
    let mut top = 0.0;
    let rows = labels
        .map(|(label, value)| {
            let beside = room - text_width(value) - 16.0;
            let apart = text_width(label) > beside;
            let lines = wrapped(label, if apart { room } else { beside });
            let bar = top + LINE * (lines.len() + usize::from(apart)) as f64;
            let row = Row { lines, value, apart, top, bar };
            top = bar + BAR + BETWEEN;
            row
        })
        .collect();
    (rows, top)
}

/// A bar per row, with its interval as a line over its end.
pub(super) fn bars(bars: &Bars, width: f64) -> Result<Picture, Failed> {
    let longest = bars.rows.iter().map(|row| row.interval.map_or(row.value, |(_, high)| high.max(row.value)));
    let longest = longest.fold(0.0, f64::max);
    let labels = bars.rows.iter().map(|row| (row.label.as_str(), row.text.as_str()));
    rows(width, 0.0..room(longest), &bars.axis, labels, |place| {
        let Some(row) = bars.rows.get(place) else { return Vec::new() };
        let mut shapes = vec![Shape::Part { from: 0.0, to: row.value, ink: Ink::Part(0) }];
        if let Some((low, high)) = row.interval {
            shapes.push(Shape::Interval { low, high });
        }
        shapes
    })
}

/// Parts beside each other.
pub(super) fn stack(stack: &Stack, width: f64) -> Result<Picture, Failed> {
    let longest = stack.rows.iter().map(|(.., parts)| parts.iter().sum::<f64>()).fold(0.0, f64::max);
    let labels = stack.rows.iter().map(|(label, whole, _)| (label.as_str(), whole.as_str()));
    rows(width, 0.0..room(longest), &stack.axis, labels, |place| {
        let mut from = 0.0;
        let parts = stack.rows.get(place).map_or(&[][..], |(.., parts)| parts);
        let part = |(number, part): (usize, &f64)| {
            let to = from + part;
            let shape = Shape::Part { from, to, ink: Ink::Part(number) };
            from = to;
            shape
        };
        parts.iter().enumerate().map(part).collect()
    })
}

/// Bars to either side of zero; the band in which nothing matters lies behind them.
pub(super) fn differences(chart: &Differences, width: f64) -> Result<Picture, Failed> {
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
            Shape::Part { from: -chart.band, to: chart.band, ink: Ink::Grid },
            Shape::Part { from: row.value.min(0.0), to: row.value.max(0.0), ink: Ink::Part(0) },
        ];
        if let Some((low, high)) = row.interval {
            shapes.push(Shape::Interval { low, high });
        }
        shapes
    })
}

/// A waterfall.
pub(super) fn steps(chart: &Steps, width: f64) -> Result<Picture, Failed> {
    let longest = chart.rows.iter().map(|row| row.from.max(row.to)).fold(0.0, f64::max);
    let labels = chart.rows.iter().map(|row| (row.label.as_str(), row.text.as_str()));
    rows(width, 0.0..room(longest), &chart.axis, labels, |place| {
        let Some(row) = chart.rows.get(place) else { return Vec::new() };
        let ink = if row.whole {
            0
        } else if row.to < row.from {
            1
        } else {
            2
        };
        vec![Shape::Part { from: row.from.min(row.to), to: row.from.max(row.to), ink: Ink::Part(ink) }]
    })
}

/// Where an axis from zero ends.
fn room(longest: f64) -> f64 {
    if longest > 0.0 { longest * 1.01 } else { 1.0 }
}

/// What lies on a row.
enum Shape {
    Part { from: f64, to: f64, ink: Ink },
    Interval { low: f64, high: f64 },
}

fn rows<'a>(
    width: f64,
    range: Range<f64>,
    axis: &str,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    shapes: impl Fn(usize) -> Vec<Shape>,
) -> Result<Picture, Failed> {
    let (start, end) = (range.start, range.end);
    let (rows, height) = layout(labels, width - LEFT - axes::RIGHT);
    picture(width, height + BELOW, |root| {
        // Vertically a unit is a pixel.
        let mut plane = ChartBuilder::on(root)
            .margin_left(units(LEFT))
            .margin_right(units(axes::RIGHT))
            .x_label_area_size(units(BELOW))
            .build_cartesian_2d(range.clone(), height..0.0)?;
        axes::mesh(&mut plane, axis, if width > 500.0 { 9 } else { 5 }, 0)?;
        for (number, row) in rows.iter().enumerate() {
            let mut middle = row.top + LINE / 2.0;
            for line in &row.lines {
                let text = Text::new(line.clone(), (start, middle), style(Ink::Text, HPos::Left, VPos::Center));
                plane.plotting_area().draw(&text)?;
                middle += LINE;
            }
            let beside = if row.apart { middle } else { row.top + LINE / 2.0 };
            let value = style(Ink::Text, HPos::Right, VPos::Center);
            plane.plotting_area().draw(&Text::new(row.value.to_owned(), (end, beside), value))?;
            for shape in shapes(number) {
                match shape {
                    Shape::Part { from, to, ink } => {
                        let corners = [(from, row.bar), (to, row.bar + BAR)];
                        plane.plotting_area().draw(&Rectangle::new(corners, ink.colour().filled()))?;
                        // A gap between parts tells them apart without colours.
                        let edge = vec![(to, row.bar), (to, row.bar + BAR)];
                        plane.plotting_area().draw(&PathElement::new(edge, stroke(Ink::Paper, 1.0)))?;
                    }
                    Shape::Interval { low, high } => {
                        let (middle, half) = (row.bar + BAR / 2.0, BAR / 4.0);
                        for path in [
                            vec![(low, middle), (high, middle)],
                            vec![(low, middle - half), (low, middle + half)],
                            vec![(high, middle - half), (high, middle + half)],
                        ] {
                            plane.plotting_area().draw(&PathElement::new(path, stroke(Ink::Text, 1.5)))?;
                        }
                    }
                }
            }
        }
        Ok(())
    })
}
