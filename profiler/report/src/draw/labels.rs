//! The width of labels, and free positions for them.
//!
//! The reader's font is unknown, so widths are those of a wide font.

use super::canvas::TEXT;

/// Width of a text in pixels, an upper estimate.
pub(super) fn width(text: &str) -> f64 {
    let share = |c: char| match c {
        'i' | 'j' | 'l' | '|' | '!' | '.' | ',' | ':' | ';' | '\'' | ' ' | 'I' | 't' | 'f' | 'r' | '[' | ']' | '('
        | ')' => 0.4,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.98,
        'A'..='Z' => 0.72,
        _ => 0.63,
    };
    text.chars().map(share).sum::<f64>() * TEXT
}

/// Lines of at most `limit` pixels, broken at spaces; a word that is wider is cut.
pub(super) fn wrapped(text: &str, limit: f64) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word = word.to_owned();
        while let Some(line) = lines.last_mut() {
            let longer = if line.is_empty() { word.clone() } else { format!("{line} {word}") };
            if width(&longer) <= limit {
                *line = longer;
                break;
            }
            if !line.is_empty() {
                lines.push(String::new());
                continue;
            }
            let fits = (1..word.chars().count())
                .take_while(|&n| width(&word.chars().take(n).collect::<String>()) <= limit)
                .last()
                .unwrap_or(1);
            *line = word.chars().take(fits).collect();
            word = word.chars().skip(fits).collect();
            if word.is_empty() {
                break;
            }
            lines.push(String::new());
        }
    }
    lines
}

/// A rectangle in pixels: left, top, right, bottom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Rect {
    pub(super) const fn around(x: f64, y: f64, radius: f64) -> Self {
        Self { left: x - radius, top: y - radius, right: x + radius, bottom: y + radius }
    }

    /// The rectangle of a text with this left end and vertical centre.
    pub(super) fn of_text(text: &str, left: f64, middle: f64) -> Self {
        Self { left, top: middle - TEXT * 0.65, right: left + width(text), bottom: middle + TEXT * 0.65 }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    fn contains(&self, other: &Self) -> bool {
        self.left <= other.left && self.top <= other.top && other.right <= self.right && other.bottom <= self.bottom
    }
}

/// The free space of a picture.
#[derive(Debug)]
pub(super) struct FreeSpace {
    whole: Rect,
    occupied: Vec<Rect>,
}

impl FreeSpace {
    pub(super) const fn new(whole: Rect) -> Self {
        Self { whole, occupied: Vec::new() }
    }

    /// Marks a rectangle as occupied.
    pub(super) fn occupy(&mut self, place: Rect) {
        self.occupied.push(place);
    }

    /// Occupies the first of these rectangles that is free.
    pub(super) fn first_free(&mut self, places: impl IntoIterator<Item = Rect>) -> Option<Rect> {
        let free =
            |place: &Rect| self.whole.contains(place) && !self.occupied.iter().any(|occupied| occupied.overlaps(place));
        let found = places.into_iter().find(free)?;
        self.occupied.push(found);
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_limit() {
        let lines = wrapped("llama-3.2-1b (synthetic weights) on candle, 2 threads, depth 4096", 120.0);
        assert!(lines.len() > 2 && lines.iter().all(|line| width(line) <= 120.0), "{lines:?}");
        let cut = wrapped("a-word-that-is-far-too-long-for-its-line", 60.0);
        assert_eq!(cut.concat(), "a-word-that-is-far-too-long-for-its-line");
        assert!(cut.iter().all(|line| width(line) <= 60.0), "{cut:?}");
        assert_eq!(wrapped("", 10.0), [""]);
    }

    #[test]
    fn occupied_space_is_not_used_again() {
        let mut free = FreeSpace::new(Rect { left: 0.0, top: 0.0, right: 100.0, bottom: 100.0 });
        let here = Rect::around(50.0, 50.0, 10.0);
        let outside = Rect::around(95.0, 50.0, 10.0);
        assert_eq!(free.first_free([outside, here]), Some(here));
        assert_eq!(free.first_free([here, outside]), None);
        let beside = Rect::around(75.0, 50.0, 10.0);
        assert_eq!(free.first_free([here, beside]), Some(beside));
    }
}
