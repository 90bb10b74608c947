//! Charts as SVG.
//!
//! Each chart is drawn twice, for a wide page and for a narrow one, each in the size in which it is shown: text keeps its
//! size and is never shrunk. Colours are names of CSS variables, so that one drawing serves light, dark and print; the
//! legend is no part of the picture, because text outside of it wraps by itself.

mod axes;
mod bars;
mod canvas;
mod lines;
mod place;
mod scatter;

use super::chart::{Chart, Figure};
use canvas::Failed;

/// Widths in pixels of the two drawings.
const WIDE: f64 = 760.0;
const NARROW: f64 = 350.0;

/// A chart that is drawn.
#[derive(Debug)]
pub(super) struct Drawn {
    /// SVG elements without their enclosing tag, with their sizes.
    pub(super) wide: Picture,
    pub(super) narrow: Picture,
    pub(super) legend: Vec<Key>,
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
pub(super) struct Key {
    /// The class of its sign.
    pub(super) sign: &'static str,
    /// The number of its colour.
    pub(super) ink: usize,
    pub(super) text: String,
}

/// Draws it; `None` where there is nothing to draw.
pub(super) fn draw(chart: &Chart) -> Option<Drawn> {
    let picture = |width: f64| -> Result<Picture, Failed> {
        match &chart.figure {
            Figure::Bars(bars) => bars::bars(bars, width),
            Figure::Stack(stack) => bars::stack(stack, width),
            Figure::Lines(lines) => lines::lines(lines, width),
            Figure::Scatter(scatter) => scatter::scatter(scatter, width),
            Figure::Layers(layers) => lines::layers(layers, width),
            Figure::Differences(differences) => bars::differences(differences, width),
            Figure::Steps(steps) => bars::steps(steps, width),
        }
    };
    // Drawing into memory fails only where an axis has no extent.
    Some(Drawn { wide: picture(WIDE).ok()?, narrow: picture(NARROW).ok()?, legend: legend(&chart.figure) })
}

fn legend(figure: &Figure) -> Vec<Key> {
    let key = |sign: &'static str| move |(ink, text): (usize, String)| Key { sign, ink, text };
    match figure {
        Figure::Bars(_) | Figure::Differences(_) => Vec::new(),
        Figure::Steps(_) => {
            let names = ["whole", "less", "more"].map(str::to_owned);
            names.into_iter().enumerate().map(key("box")).collect()
        }
        Figure::Stack(stack) => stack.parts.iter().cloned().enumerate().map(key("box")).collect(),
        Figure::Layers(layers) => {
            layers.layers.iter().map(|(name, _)| name.clone()).enumerate().map(key("box")).collect()
        }
        Figure::Lines(lines) => {
            let named = lines.lines.iter().map(|line| line.name.clone()).enumerate().map(key("line"));
            let marks = lines.marks.iter().filter(|(_, marks)| !marks.is_empty());
            named.chain(marks.map(|(name, _)| Key { sign: "mark", ink: 0, text: name.clone() })).collect()
        }
        Figure::Scatter(scatter) => {
            let signs = ["dot", "square", "triangle"];
            let groups = scatter.groups.iter().enumerate().map(|(ink, (name, _))| Key {
                sign: signs[ink % signs.len()],
                ink,
                text: name.clone(),
            });
            let ceilings = scatter.ceilings.iter().map(|ceiling| Key {
                sign: if ceiling.slanted { "slant" } else { "flat" },
                ink: 0,
                text: ceiling.text.clone(),
            });
            groups.chain(ceilings).collect()
        }
    }
}
