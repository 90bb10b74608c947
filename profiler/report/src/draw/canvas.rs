//! An SVG of known size, its colours, text styles and lines.

use plotters::coord::Shift;
use plotters::prelude::{Color, DrawingArea, IntoDrawingArea, IntoFont, RGBColor, SVGBackend, TextStyle};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Picture;

/// Units per pixel: the library rounds to whole units.
pub(super) const SCALE: f64 = 4.0;
/// Height of the text in pixels.
pub(super) const TEXT: f64 = 12.0;
/// Line height / font size: the library's font size is a line height.
const LINE: f64 = 1.24;

/// Error of drawing.
pub(super) type DrawError = plotters::drawing::DrawingAreaErrorKind<std::io::Error>;
/// The whole picture.
pub(super) type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Colours by meaning. The page's style sheet defines them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColourRole {
    Text,
    Muted,
    Grid,
    Background,
    Alert,
    /// Of the parts, lines or groups of a chart, by number.
    Part(usize),
}

/// Number of colours for parts; further parts repeat them.
pub(super) const PARTS: usize = 8;

impl ColourRole {
    const NAMED: [(Self, &'static str); 5] = [
        (Self::Text, "ink"),
        (Self::Muted, "soft"),
        (Self::Grid, "grid"),
        (Self::Background, "paper"),
        (Self::Alert, "alarm"),
    ];

    /// A placeholder colour, replaced by the CSS variable in the finished picture.
    pub(super) fn colour(self) -> RGBColor {
        let number = match self {
            Self::Part(number) => 16 + number % PARTS,
            named => Self::NAMED.iter().position(|(ink, _)| *ink == named).unwrap_or(0),
        };
        RGBColor(1, 2, u8::try_from(number).unwrap_or(0))
    }

    /// All placeholders with their variables.
    fn variables() -> impl Iterator<Item = (String, String)> {
        let named = Self::NAMED.iter().map(|(ink, name)| (*ink, (*name).to_owned()));
        let parts = (0..PARTS).map(|number| (Self::Part(number), format!("part-{number}")));
        named.chain(parts).map(|(ink, name)| {
            let RGBColor(red, green, blue) = ink.colour();
            (format!("\"#{red:02X}{green:02X}{blue:02X}\""), format!("\"var(--{name})\""))
        })
    }
}

/// Pixels in units of the picture.
pub(super) fn units(pixels: f64) -> i32 {
    (pixels * SCALE).round() as i32
}

/// Draws a picture of this size in pixels.
pub(super) fn picture(
    width: f64,
    height: f64,
    draw: impl FnOnce(&Canvas<'_>) -> Result<(), DrawError>,
) -> Result<Picture, DrawError> {
    let (width, height) = (units(width), units(height));
    let mut svg = String::new();
    {
        let size = (u32::try_from(width).unwrap_or(1), u32::try_from(height).unwrap_or(1));
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&root)?;
        root.present()?;
    }
    // The page writes the enclosing tag.
    let inside = svg.split_once('>').map_or("", |(_, inside)| inside).trim_end().trim_end_matches("</svg>");
    let mut body = inside.replace(" font-family=\"sans-serif\"", "").replace(" opacity=\"1\"", "");
    for (colour, variable) in ColourRole::variables() {
        body = body.replace(&colour, &variable);
    }
    Ok(Picture { width, height, body })
}

/// A text style with its anchor.
pub(super) fn style(ink: ColourRole, side: HPos, height: VPos) -> TextStyle<'static> {
    let font = ("sans-serif", TEXT * LINE * SCALE).into_font();
    TextStyle { font, color: ink.colour().to_backend_color(), pos: Pos::new(side, height) }
}

/// A line of this colour and width in pixels.
pub(super) fn stroke(ink: ColourRole, width: f64) -> plotters::style::ShapeStyle {
    ink.colour().stroke_width(u32::try_from(units(width)).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use plotters::prelude::{Rectangle, Text};

    use super::*;

    #[test]
    fn colours_are_variables_and_text_is_escaped() {
        let shown = picture(100.0, 20.0, |root| {
            root.draw(&Rectangle::new([(0, 0), (9, 9)], ColourRole::Part(9).colour().filled()))?;
            root.draw(&Text::new("<script>&\"#010200\"", (0, 0), style(ColourRole::Text, HPos::Left, VPos::Top)))
        })
        .unwrap();
        assert_eq!((shown.width, shown.height), (400, 80));
        assert!(shown.body.contains("var(--part-1)") && shown.body.contains("var(--ink)"), "{}", shown.body);
        assert!(!shown.body.contains("<script") && !shown.body.contains("\"#01"), "{}", shown.body);
        assert!(shown.body.contains("font-size=\"48\""), "{}", shown.body);
    }
}
