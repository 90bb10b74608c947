//! Points under ceilings, on logarithmic axes.

use std::ops::Range;

use plotters::prelude::{Circle, Color, PathElement, Rectangle, Text, TriangleMarker};
use plotters::style::text_anchor::{HPos, VPos};

use super::Picture;
use super::axes::{Axis, LogPlane, logarithmic};
use super::canvas::{Failed, Ink, SCALE, picture, stroke, style, units};
use super::place::{Place, Room, width as text_width};
use crate::chart::{Ceiling, Dot, Scatter};

/// Half the size of a point, in pixels.
const DOT: f64 = 5.0;

pub(super) fn scatter(chart: &Scatter, width: f64) -> Result<Picture, Failed> {
    let dots = || chart.groups.iter().flat_map(|(_, dots)| dots);
    let flat = chart.ceilings.iter().filter(|ceiling| !ceiling.slanted).map(|ceiling| ceiling.level);
    // To the right as far as the slowest memory meets the highest peak: there the roof is flat.
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
                area.draw(&PathElement::new(path, stroke(Ink::Soft, 1.25)))?;
            }
        }
        let (columns, rows) = area.get_pixel_range();
        let pixels = |range: &Range<i32>| (f64::from(range.start) / SCALE, f64::from(range.end) / SCALE);
        let ((left, right), (top, bottom)) = (pixels(&columns), pixels(&rows));
        let mut room = Room::new(Place { left: left + 2.0, top: top + 2.0, right: right + 20.0, bottom: bottom - 2.0 });
        for dot in dots() {
            let (x, y) = at(&plane, (dot.x, dot.y));
            room.take(Place::around(x, y, DOT));
        }
        // No name is struck through by a flat line; a slanted one leaves too little room to be spared.
        for ceiling in chart.ceilings.iter().filter(|ceiling| !ceiling.slanted && y.range.contains(&ceiling.level)) {
            let (_, middle) = at(&plane, (x.range.start, ceiling.level));
            room.take(Place { left, top: middle - 1.0, right, bottom: middle + 1.0 });
        }
        for ceiling in &chart.ceilings {
            name_ceiling(root, &plane, &mut room, ceiling, (&x.range, &y.range))?;
        }
        for (number, (_, dots)) in chart.groups.iter().enumerate() {
            for dot in dots {
                let (place, colour) = ((dot.x, dot.y), Ink::Part(number).colour().mix(0.85).filled());
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
            let places = corners.map(|(left, middle)| Place::of_text(&dot.label, left, middle));
            if let Some(place) = room.first_free(places) {
                let start = (units(place.left), units(f64::midpoint(place.top, place.bottom)));
                root.draw(&Text::new(dot.label.clone(), start, style(Ink::Text, HPos::Left, VPos::Center)))?;
            }
        }
        Ok(())
    })
}

/// Around all values, with some air as a factor.
fn extent(values: impl Iterator<Item = f64>, air: f64) -> Range<f64> {
    let usable = values.filter(|value| *value > 0.0 && value.is_finite());
    let (low, high) = usable.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    if high > 0.0 { low / air..high * air } else { 0.1..10.0 }
}

fn on(ceiling: &Ceiling, x: f64) -> (f64, f64) {
    (x, if ceiling.slanted { ceiling.level * x } else { ceiling.level })
}

/// The part of a ceiling that lies in the plane.
fn clipped(path: Vec<(f64, f64)>, ceiling: &Ceiling, x: &Range<f64>, y: &Range<f64>) -> Option<Vec<(f64, f64)>> {
    if !ceiling.slanted {
        return y.contains(&ceiling.level).then_some(path);
    }
    let from = x.start.max(y.start / ceiling.level);
    let to = x.end.min(y.end / ceiling.level);
    (from < to).then(|| vec![on(ceiling, from), on(ceiling, to)])
}

/// Writes a ceiling's name above its line, at the first place along it that is free.
fn name_ceiling(
    root: &super::canvas::Root<'_>,
    plane: &LogPlane<'_, '_>,
    room: &mut Room,
    ceiling: &Ceiling,
    (x, y): (&Range<f64>, &Range<f64>),
) -> Result<(), Failed> {
    let Some(path) = clipped(vec![on(ceiling, x.start), on(ceiling, x.end)], ceiling, x, y) else { return Ok(()) };
    let (Some(&from), Some(&to)) = (path.first(), path.last()) else { return Ok(()) };
    let wide = text_width(&ceiling.label);
    let steps = (0..20).map(|step| f64::from(step) / 20.0);
    let places = steps.map(|share| {
        // From the right end of a flat line, from the upper end of a slanted one.
        let between = |a: f64, b: f64| (b.ln() + (a.ln() - b.ln()) * share).exp();
        let (x, y) = at(plane, (between(from.0, to.0), between(from.1, to.1)));
        let left = if ceiling.slanted { x - wide - 4.0 } else { x - wide };
        Place::of_text(&ceiling.label, left, if ceiling.slanted { y } else { y - 10.0 })
    });
    if let Some(place) = room.first_free(places) {
        let start = (units(place.left), units(f64::midpoint(place.top, place.bottom)));
        root.draw(&Text::new(ceiling.label.clone(), start, style(Ink::Soft, HPos::Left, VPos::Center)))?;
    }
    Ok(())
}

/// Where a point of the plane lies in the picture, in pixels.
fn at(plane: &LogPlane<'_, '_>, point: (f64, f64)) -> (f64, f64) {
    let (x, y) = plane.backend_coord(&point);
    (f64::from(x) / SCALE, f64::from(y) / SCALE)
}
