//! How much room a text takes, and where there is some.
//!
//! The font is the reader's and unknown here, so widths are those of a wide one.

use super::canvas::TEXT;

/// Width of a text in pixels, rather too much than too little.
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

/// Lines that are no wider than `room`, broken at blanks; a word that is wider is cut.
pub(super) fn wrapped(text: &str, room: f64) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word = word.to_owned();
        while let Some(line) = lines.last_mut() {
            let longer = if line.is_empty() { word.clone() } else { format!("{line} {word}") };
            if width(&longer) <= room {
                *line = longer;
                break;
            }
            if !line.is_empty() {
                lines.push(String::new());
                continue;
            }
            let fits = (1..word.chars().count())
                .take_while(|&n| width(&word.chars().take(n).collect::<String>()) <= room)
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
pub(super) struct Place {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Place {
    pub(super) const fn around(x: f64, y: f64, radius: f64) -> Self {
        Self { left: x - radius, top: y - radius, right: x + radius, bottom: y + radius }
    }

    /// Of a text whose left end and middle line lie here.
    pub(super) fn of_text(text: &str, left: f64, middle: f64) -> Self {
        Self { left, top: middle - TEXT * 0.65, right: left + width(text), bottom: middle + TEXT * 0.65 }
    }

    fn meets(&self, other: &Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    fn holds(&self, other: &Self) -> bool {
        self.left <= other.left && self.top <= other.top && other.right <= self.right && other.bottom <= self.bottom
    }
}

/// The free room of a picture.
#[derive(Debug)]
pub(super) struct Room {
    whole: Place,
    taken: Vec<Place>,
}

impl Room {
    pub(super) const fn new(whole: Place) -> Self {
        Self { whole, taken: Vec::new() }
    }

    /// Nothing may be put here any more.
    pub(super) fn take(&mut self, place: Place) {
        self.taken.push(place);
    }

    /// Takes the first of these places that is free.
    pub(super) fn first_free(&mut self, places: impl IntoIterator<Item = Place>) -> Option<Place> {
        let free = |place: &Place| self.whole.holds(place) && !self.taken.iter().any(|taken| taken.meets(place));
        let found = places.into_iter().find(free)?;
        self.taken.push(found);
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_no_wider_than_their_room() {
        let lines = wrapped("llama-3.2-1b (synthetic weights) on candle, 2 threads, depth 4096", 120.0);
        assert!(lines.len() > 2 && lines.iter().all(|line| width(line) <= 120.0), "{lines:?}");
        let cut = wrapped("a-word-that-is-far-too-long-for-its-line", 60.0);
        assert_eq!(cut.concat(), "a-word-that-is-far-too-long-for-its-line");
        assert!(cut.iter().all(|line| width(line) <= 60.0), "{cut:?}");
        assert_eq!(wrapped("", 10.0), [""]);
    }

    #[test]
    fn what_is_taken_is_not_given_again() {
        let mut room = Room::new(Place { left: 0.0, top: 0.0, right: 100.0, bottom: 100.0 });
        let here = Place::around(50.0, 50.0, 10.0);
        let outside = Place::around(95.0, 50.0, 10.0);
        assert_eq!(room.first_free([outside, here]), Some(here));
        assert_eq!(room.first_free([here, outside]), None);
        let beside = Place::around(75.0, 50.0, 10.0);
        assert_eq!(room.first_free([here, beside]), Some(beside));
    }
}
