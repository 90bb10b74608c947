//! Points under ceilings, on logarithmic axes.

use std::ops::Range;

use plotters::prelude::{Circle, Color, PathElement, Rectangle, Text, TriangleMarker};
use plotters::style::text_anchor::{HPos, VPos};

use super::Picture;
use super::axes::{Axis, LogPlane, logarithmic};
use super::canvas::{ColourRole, DrawError, SCALE, picture, stroke, style, units};
use super::labels::{FreeSpace, Rect, width as text_width};
use crate::chart::{CeilingLine, Dot, Scatter};

/// Half the size of a point, in pixels.
const DOT: f64 = 5.0;

pub(super) fn scatter(chart: &Scatter, width: f64) -> Result<Picture, DrawError> {
    let dots = || chart.groups.iter().flat_map(|(_, dots)| dots);
    let flat = chart.ceilings.iter().filter(|ceiling| !ceiling.slanted).map(|ceiling| ceiling.level);
    // The axis extends to where the slowest memory line meets the highest peak.
    let slowest =
        chart.ceilings.iter().filter(|ceiling| ceiling.slanted).map(|c| c.level).fold(f64::INFINITY, f64::min);
    let ridge = flat.clone().map(|peak| peak / slowest).filter(|x| x.is_finite());
    let across = extent(dots().map(|dot| dot.x).chain(ridge), 1.6);
    let up = extent(dots().map(|dot| dot.y).chain(flat), 1.8);
    let (x, y) =
        (Axis { title: &chart.x, range: across, whole: false }, Axis { title: &chart.y, range: up, whole: false });
    let height = if width > 500.0 { 420.0 } else { 360.0 };
    picture(width, height, |root| {
        let plane = logarithmic(root, &x, &y)?;
        let area = plane.plotting_area();
        for ceiling in &chart.ceilings {
            let path = vec![on(ceiling, x.range.start), on(ceiling, x.range.end)];
            if let Some(path) = clipped(path, ceiling, &x.range, &y.range) {
                area.draw(&PathElement::new(path, stroke(ColourRole::Muted, 1.25)))?;
            }
        }
        let (columns, rows) = area.get_pixel_range();
        let pixels = |range: &Range<i32>| (f64::from(range.start) / SCALE, f64::from(range.end) / SCALE);
        let ((left, right), (top, bottom)) = (pixels(&columns), pixels(&rows));
        let mut free =
            FreeSpace::new(Rect { left: left + 2.0, top: top + 2.0, right: right + 20.0, bottom: bottom - 2.0 });
        for dot in dots() {
            let (x, y) = at(&plane, (dot.x, dot.y));
            free.occupy(Rect::around(x, y, DOT));
        }
        // Names avoid flat lines. Slanted lines would leave too little space.
        for ceiling in chart.ceilings.iter().filter(|ceiling| !ceiling.slanted && y.range.contains(&ceiling.level)) {
            let (_, middle) = at(&plane, (x.range.start, ceiling.level));
            free.occupy(Rect { left, top: middle - 1.0, right, bottom: middle + 1.0 });
        }
        for ceiling in &chart.ceilings {
            name_ceiling(root, &plane, &mut free, ceiling, (&x.range, &y.range))?;
        }
        for (number, (_, dots)) in chart.groups.iter().enumerate() {
            for dot in dots {
                let (place, colour) = ((dot.x, dot.y), ColourRole::Part(number).colour().mix(0.85).filled());
                match number % 3 {
                    0 => area.draw(&Circle::new(place, units(DOT), colour))?,
                    1 => {
                        let (x, y) = at(&plane, place);
                        let corner = |shift: f64| (units(x + shift), units(y + shift));
                        root.draw(&Rectangle::new([corner(1.0 - DOT), corner(DOT - 1.0)], colour))?;
                    }
                    _ => area.draw(&TriangleMarker::new(place, units(DOT + 1.0), colour))?,
                }
            }
        }
        let mut named: Vec<&Dot> = dots().collect();
        named.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        for dot in named {
            let (x, y) = at(&plane, (dot.x, dot.y));
            let (wide, away) = (text_width(&dot.label), DOT + 3.0);
            let corners = [(x + away, y), (x - away - wide, y), (x - wide / 2.0, y - 14.0), (x - wide / 2.0, y + 14.0)];
            let places = corners.map(|(left, middle)| Rect::of_text(&dot.label, left, middle));
            if let Some(place) = free.first_free(places) {
                let start = (units(place.left), units(f64::midpoint(place.top, place.bottom)));
                root.draw(&Text::new(dot.label.clone(), start, style(ColourRole::Text, HPos::Left, VPos::Center)))?;
            }
        }
        Ok(())
    })
}

/// A range around all values, extended by a factor.
fn extent(values: impl Iterator<Item = f64>, air: f64) -> Range<f64> {
    let usable = values.filter(|value| *value > 0.0 && value.is_finite());
    let (low, high) = usable.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    if high > 0.0 { low / air..high * air } else { 0.1..10.0 }
}

fn on(ceiling: &CeilingLine, x: f64) -> (f64, f64) {
    (x, if ceiling.slanted { ceiling.level * x } else { ceiling.level })
}

/// The part of a ceiling inside the plane.
fn clipped(path: Vec<(f64, f64)>, ceiling: &CeilingLine, x: &Range<f64>, y: &Range<f64>) -> Option<Vec<(f64, f64)>> {
    if !ceiling.slanted {
        return y.contains(&ceiling.level).then_some(path);
    }
    let from = x.start.max(y.start / ceiling.level);
    let to = x.end.min(y.end / ceiling.level);
    (from < to).then(|| vec![on(ceiling, from), on(ceiling, to)])
}

/// Writes the name of a ceiling above its line, at the first free position along it.
fn name_ceiling(
    root: &super::canvas::Canvas<'_>,
    plane: &LogPlane<'_, '_>,
    free: &mut FreeSpace,
    ceiling: &CeilingLine,
    (x, y): (&Range<f64>, &Range<f64>),
) -> Result<(), DrawError> {
    let Some(path) = clipped(vec![on(ceiling, x.start), on(ceiling, x.end)], ceiling, x, y) else { return Ok(()) };
    let (Some(&from), Some(&to)) = (path.first(), path.last()) else { return Ok(()) };
    let wide = text_width(&ceiling.label);
    let steps = (0..20).map(|step| f64::from(step) / 20.0);
    let places = steps.map(|share| {
        // From the right or upper end of the line.
        let between = |a: f64, b: f64| (b.ln() + (a.ln() - b.ln()) * share).exp();
        let (x, y) = at(plane, (between(from.0, to.0), between(from.1, to.1)));
        let left = if ceiling.slanted { x - wide - 4.0 } else { x - wide };
        Rect::of_text(&ceiling.label, left, if ceiling.slanted { y } else { y - 10.0 })
    });
    if let Some(place) = free.first_free(places) {
        let start = (units(place.left), units(f64::midpoint(place.top, place.bottom)));
        root.draw(&Text::new(ceiling.label.clone(), start, style(ColourRole::Muted, HPos::Left, VPos::Center)))?;
    }
    Ok(())
}

/// The position of a point in the picture, in pixels.
fn at(plane: &LogPlane<'_, '_>, point: (f64, f64)) -> (f64, f64) {
    let (x, y) = plane.backend_coord(&point);
    (f64::from(x) / SCALE, f64::from(y) / SCALE)
}
