//! Charts as SVG.
//!
//! Each chart is drawn twice, for wide and for narrow pages, in the size in which it is shown, so that text is never scaled.
//! Colours are CSS variables, so that one drawing serves light mode, dark mode and print. The legend is HTML text outside of
//! the picture, so that it wraps.

mod axes;
mod bars;
mod canvas;
mod labels;
mod lines;
mod scatter;

use super::chart::{Chart, Figure};
use canvas::DrawError;

/// Widths in pixels of the two drawings.
const WIDE: f64 = 760.0;
const NARROW: f64 = 350.0;

/// A drawn chart.
#[derive(Debug)]
pub(super) struct Drawn {
    /// SVG elements without their enclosing tag, with their sizes.
    pub(super) wide: Picture,
    pub(super) narrow: Picture,
    pub(super) legend: Vec<LegendEntry>,
}

/// The inside of an SVG element.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) width: i32,
    pub(super) height: i32,
    pub(super) body: String,
}

/// A line of a legend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LegendEntry {
    /// The CSS class of its symbol.
    pub(super) symbol: &'static str,
    /// The number of its colour.
    pub(super) ink: usize,
    pub(super) text: String,
}

/// Draws a chart; `None` where there is nothing to draw.
pub(super) fn draw(chart: &Chart) -> Option<Drawn> {
    let picture = |width: f64| -> Result<Picture, DrawError> {
        match &chart.figure {
            Figure::Bars(bars) => bars::bars(bars, width),
            Figure::StackedBars(stack) => bars::stack(stack, width),
            Figure::Lines(lines) => lines::lines(lines, width),
            Figure::Scatter(scatter) => scatter::scatter(scatter, width),
            Figure::Layers(layers) => lines::layers(layers, width),
            Figure::Differences(differences) => bars::differences(differences, width),
            Figure::Waterfall(steps) => bars::steps(steps, width),
        }
    };
    // Drawing into memory fails only where an axis has no extent.
    Some(Drawn { wide: picture(WIDE).ok()?, narrow: picture(NARROW).ok()?, legend: legend(&chart.figure) })
}

fn legend(figure: &Figure) -> Vec<LegendEntry> {
    let key = |symbol: &'static str| move |(ink, text): (usize, String)| LegendEntry { symbol, ink, text };
    match figure {
        Figure::Bars(_) | Figure::Differences(_) => Vec::new(),
        Figure::Waterfall(_) => {
            let names = ["total", "less", "more"].map(str::to_owned);
            names.into_iter().enumerate().map(key("box")).collect()
        }
        Figure::StackedBars(stack) => stack.parts.iter().cloned().enumerate().map(key("box")).collect(),
        Figure::Layers(layers) => {
            layers.layers.iter().map(|(name, _)| name.clone()).enumerate().map(key("box")).collect()
        }
        Figure::Lines(lines) => {
            let named = lines.lines.iter().map(|line| line.name.clone()).enumerate().map(key("line"));
            let marks = lines.marks.iter().filter(|(_, marks)| !marks.is_empty());
            named.chain(marks.map(|(name, _)| LegendEntry { symbol: "mark", ink: 0, text: name.clone() })).collect()
        }
        Figure::Scatter(scatter) => {
            let symbols = ["dot", "square", "triangle"];
            let groups = scatter.groups.iter().enumerate().map(|(ink, (name, _))| LegendEntry {
                symbol: symbols[ink % symbols.len()],
                ink,
                text: name.clone(),
            });
            let ceilings = scatter.ceilings.iter().map(|ceiling| LegendEntry {
                symbol: if ceiling.slanted { "slant" } else { "flat" },
                ink: 0,
                text: ceiling.text.clone(),
            });
            groups.chain(ceilings).collect()
        }
    }
}
