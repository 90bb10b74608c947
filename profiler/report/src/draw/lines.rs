//! Lines with bands, and layers over time.

use plotters::prelude::{Circle, Color, LineSeries, PathElement, Polygon, Text, TriangleMarker};
use plotters::style::text_anchor::{HPos, VPos};

use super::Picture;
use super::axes::{Axis, linear};
use super::canvas::{ColourRole, DrawError, SCALE, picture, stroke, style, units};
use super::labels::width as text_width;
use crate::chart::{Layers, Line, Lines};

/// Height for a width, in pixels.
fn height(width: f64) -> f64 {
    if width > 500.0 { 280.0 } else { 240.0 }
}

pub(super) fn lines(chart: &Lines, width: f64) -> Result<Picture, DrawError> {
    let points = || chart.lines.iter().flat_map(|line| &line.points);
    let highest = points().map(|point| point.range.map_or(point.y, |(_, high)| high.max(point.y))).fold(0.0, f64::max);
    let right = points().map(|point| point.x).fold(0.0, f64::max);
    let top = chart.top.unwrap_or(highest * 1.05);
    let whole = points().all(|point| point.x.fract() <= 0.0);
    let x = Axis { title: &chart.x, range: 0.0..above_zero(right), whole };
    let y = Axis { title: &chart.y, range: 0.0..above_zero(top), whole: false };
    picture(width, height(width), |root| {
        let mut plane = linear(root, &x, &y)?;
        let clipped = |y: f64| y.min(top);
        for (number, line) in chart.lines.iter().enumerate() {
            if let Some(band) = band(line, clipped) {
                plane.plotting_area().draw(&Polygon::new(band, ColourRole::Part(number).colour().mix(0.2)))?;
            }
        }
        for (number, line) in chart.lines.iter().enumerate() {
            let path = line.points.iter().map(|point| (point.x, clipped(point.y)));
            // Lower lines are wider, so that lines on top do not hide them.
            let wider = (chart.lines.len() - 1 - number).min(3) as f64 * 1.5;
            plane.draw_series(LineSeries::new(path, stroke(ColourRole::Part(number), 2.0 + wider)))?;
            for point in line.points.iter().filter(|_| line.dots) {
                let dot = Circle::new(
                    (point.x, clipped(point.y)),
                    units(4.0 + wider),
                    ColourRole::Part(number).colour().filled(),
                );
                plane.plotting_area().draw(&dot)?;
                if let Some((low, high)) = point.range {
                    let path = vec![(point.x, clipped(low)), (point.x, clipped(high))];
                    plane.plotting_area().draw(&PathElement::new(path, stroke(ColourRole::Part(number), 1.5)))?;
                }
            }
        }
        for &(x, y) in chart.marks.iter().flat_map(|(_, marks)| marks) {
            let mark = TriangleMarker::new((x, clipped(y)), units(6.0), ColourRole::Alert.colour().filled());
            plane.plotting_area().draw(&mark)?;
        }
        Ok(())
    })
}

/// The outline of a line's ranges, if all of its points have one.
fn band(line: &Line, clipped: impl Fn(f64) -> f64) -> Option<Vec<(f64, f64)>> {
    let ranges: Option<Vec<(f64, f64, f64)>> =
        line.points.iter().map(|point| point.range.map(|(low, high)| (point.x, low, high))).collect();
    let ranges = ranges.filter(|ranges| ranges.len() > 1)?;
    let upper = ranges.iter().map(|&(x, _, high)| (x, clipped(high)));
    let lower = ranges.iter().rev().map(|&(x, low, _)| (x, clipped(low)));
    Some(upper.chain(lower).collect())
}

pub(super) fn layers(chart: &Layers, width: f64) -> Result<Picture, DrawError> {
    let total = |place: usize| chart.layers.iter().filter_map(|(_, values)| values.get(place)).sum::<f64>();
    let top = (0..chart.times.len()).map(total).fold(0.0, f64::max) * 1.12;
    let end = chart.times.last().copied().unwrap_or(0.0);
    let x = Axis { title: &chart.x, range: 0.0..above_zero(end), whole: false };
    let y = Axis { title: &chart.y, range: 0.0..above_zero(top), whole: false };
    picture(width, height(width), |root| {
        let plane = linear(root, &x, &y)?;
        let area = plane.plotting_area();
        let mut floor = vec![0.0; chart.times.len()];
        for (number, (_, values)) in chart.layers.iter().enumerate() {
            let roof: Vec<f64> = floor.iter().zip(values).map(|(floor, value)| floor + value).collect();
            let upper = chart.times.iter().copied().zip(roof.iter().copied());
            let lower = chart.times.iter().copied().zip(floor.iter().copied()).rev();
            let outline: Vec<(f64, f64)> = upper.clone().chain(lower).collect();
            area.draw(&Polygon::new(outline, ColourRole::Part(number).colour().mix(0.55)))?;
            area.draw(&PathElement::new(upper.collect::<Vec<_>>(), stroke(ColourRole::Part(number), 1.5)))?;
            floor = roof;
        }
        for (at, name) in &chart.events {
            area.draw(&PathElement::new(vec![(*at, 0.0), (*at, top)], stroke(ColourRole::Text, 1.0)))?;
            // At the right if it fits there.
            let (columns, _) = area.get_pixel_range();
            let pixels = f64::from(columns.end - columns.start) / SCALE;
            let left = end > 0.0 && (1.0 - at / end) * pixels < text_width(name) + 8.0;
            let shift = 6.0 / pixels * end;
            let (x, side) = if left { (at - shift, HPos::Right) } else { (at + shift, HPos::Left) };
            area.draw(&Text::new(name.clone(), (x, top * 0.95), style(ColourRole::Text, side, VPos::Center)))?;
        }
        Ok(())
    })
}

/// An axis needs a positive length.
fn above_zero(end: f64) -> f64 {
    if end > 0.0 && end.is_finite() { end } else { 1.0 }
}
