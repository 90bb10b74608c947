//! A plane with axes: grid, ticks, numbers and titles.

use std::ops::Range;

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::combinators::IntoLogRange;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::{SVGBackend, Text};
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{Canvas, ColourRole, DrawError, TEXT, stroke, style, units};
use super::labels;

/// Space above the plane for the title of the vertical axis.
const TITLE: f64 = TEXT * 2.0;
/// Space below it for numbers and title.
const BELOW: f64 = TEXT * 3.6;
/// Space at the right, for half of the last number.
pub(super) const RIGHT: f64 = 26.0;

/// Title and range of an axis.
#[derive(Debug, Clone)]
pub(super) struct Axis<'a> {
    pub(super) title: &'a str,
    pub(super) range: Range<f64>,
    /// Whether only whole numbers are labelled.
    pub(super) whole: bool,
}

/// A plane with linear axes.
pub(super) type Plane<'a, 'r> = ChartContext<
    'a,
    SVGBackend<'r>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;
/// A plane with logarithmic axes.
pub(super) type LogPlane<'a, 'r> = ChartContext<
    'a,
    SVGBackend<'r>,
    Cartesian2d<plotters::coord::combinators::LogCoord<f64>, plotters::coord::combinators::LogCoord<f64>>,
>;

/// A plane with axes of these kinds.
type Drawn<'a, 'r, X, Y> = ChartContext<
    'a,
    SVGBackend<'r>,
    Cartesian2d<<X as AsRangedCoord>::CoordDescType, <Y as AsRangedCoord>::CoordDescType>,
>;

/// Linear axes, drawn.
pub(super) fn linear<'a, 'r>(root: &'a Canvas<'r>, x: &Axis<'_>, y: &Axis<'_>) -> Result<Plane<'a, 'r>, DrawError> {
    plane(root, x, y, x.range.clone(), y.range.clone())
}

/// Logarithmic axes, drawn.
pub(super) fn logarithmic<'a, 'r>(
    root: &'a Canvas<'r>,
    x: &Axis<'_>,
    y: &Axis<'_>,
) -> Result<LogPlane<'a, 'r>, DrawError> {
    plane(root, x, y, x.range.clone().log_scale(), y.range.clone().log_scale())
}

fn plane<'a, 'r, X, Y>(
    root: &'a Canvas<'r>,
    x: &Axis<'_>,
    y: &Axis<'_>,
    horizontal: X,
    vertical: Y,
) -> Result<Drawn<'a, 'r, X, Y>, DrawError>
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let left = labels::width(&number(y.range.end)).max(labels::width("0.00")) + 14.0;
    let mut plane = ChartBuilder::on(root)
        .margin_top(units(TITLE))
        .margin_right(units(RIGHT))
        .x_label_area_size(units(BELOW))
        .y_label_area_size(units(left))
        .build_cartesian_2d(horizontal, vertical)?;
    let (wide, _) = root.dim_in_pixel();
    let most = if f64::from(wide) > 500.0 * super::canvas::SCALE { 9 } else { 5 };
    mesh(&mut plane, x.title, if x.whole { most.min(x.range.end as usize + 1) } else { most }, 6)?;
    root.draw(&Text::new(y.title.to_owned(), (0, units(1.0)), style(ColourRole::Muted, HPos::Left, VPos::Top)))?;
    Ok(plane)
}

/// Grid and numbers of a plane. With 0 rows there is no vertical axis.
pub(super) fn mesh<X, Y>(
    plane: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>,
    title: &str,
    columns: usize,
    rows: usize,
) -> Result<(), DrawError>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let show = |value: &f64| number(*value);
    let mut mesh = plane.configure_mesh();
    mesh.max_light_lines(1)
        .bold_line_style(stroke(ColourRole::Grid, 1.0))
        .axis_style(stroke(ColourRole::Grid, 1.0))
        .label_style(style(ColourRole::Muted, HPos::Center, VPos::Center))
        .axis_desc_style(style(ColourRole::Muted, HPos::Center, VPos::Center))
        .set_all_tick_mark_size(units(4.0))
        .x_labels(columns)
        .x_label_formatter(&show)
        .y_label_formatter(&show)
        .x_desc(title);
    if rows == 0 {
        mesh.disable_y_mesh().disable_y_axis();
    } else {
        mesh.y_labels(rows);
    }
    mesh.draw()
}

/// A number of an axis, without trailing zeros.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    let text = match size {
        _ if size >= 1e9 => return format!("{} G", number(value / 1e9)),
        _ if size >= 1e6 => return format!("{} M", number(value / 1e6)),
        _ if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        _ if size >= 0.001 => format!("{value:.4}"),
        _ => format!("{value:.7}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_of_an_axis_are_short() {
        let shown = [0.0, 0.5, 20.0, 1500.0, 2e6, 0.30000000000000004, 0.0001].map(number);
        assert_eq!(shown, ["0", "0.5", "20", "1500", "2 M", "0.3", "0.0001"]);
    }
}
