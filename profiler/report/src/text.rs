//! The format for terminals.

use record::printable;

use super::content::{Block, Content};
use super::layout;
use super::table::Table;

/// The width of the terminal, and whether it shows colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextOptions {
    /// Characters per line.
    pub width: usize,
    /// Whether colour codes may be written.
    pub colour: bool,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self { width: 100, colour: false }
    }
}

/// Before tables and properties.
const INDENT: &str = "  ";
const BOLD: &str = "1";
const YELLOW: &str = "33";
const RED: &str = "31";
const DIM: &str = "2";

/// The report with lines of at most `options.width` characters.
pub fn text(content: &Content, options: TextOptions) -> String {
    let mut out = format!("{}\n", paint(&content.title, BOLD, options));
    for section in &content.sections {
        out.push_str(&format!("\n{}\n", paint(&section.heading, BOLD, options)));
        for block in &section.blocks {
            out.push_str(&render(block, options));
        }
    }
    out
}

fn render(block: &Block, options: TextOptions) -> String {
    match block {
        Block::Sentence(sentence) => wrapped(sentence, "", options.width),
        Block::Warning(warning) => marked("warning: ", warning, YELLOW, options),
        Block::Failure(failure) => marked("failed: ", failure, RED, options),
        Block::Table(table) | Block::Sortable(table) => table_text(table, options),
        Block::Chart(chart) => match &chart.numbers {
            Some(numbers) => table_text(numbers, options),
            None => wrapped(&chart.summary, "", options.width),
        },
        Block::Cards(_) | Block::ChartNote(_) => String::new(),
        Block::Details { blocks, .. } => blocks.iter().map(|block| render(block, options)).collect(),
        Block::Properties(facts) => {
            let widest = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
            let indent = " ".repeat(widest + 4);
            let line = |(name, value): &(String, String)| {
                let gap = " ".repeat(widest + 2 - name.chars().count());
                let body = wrapped(value, &indent, options.width);
                format!("  {}{gap}{}", printable(name), body.trim_start())
            };
            facts.iter().map(line).collect()
        }
    }
}

fn marked(mark: &str, text: &str, colour: &str, options: TextOptions) -> String {
    let body = wrapped(&format!("{mark}{text}"), "  ", options.width);
    body.trim_start().replacen(mark, &paint(mark, colour, options), 1)
}

fn table_text(table: &Table, options: TextOptions) -> String {
    let lines = layout::lines(table, options.width.saturating_sub(INDENT.len()));
    let body: String =
        lines.iter().map(|line| format!("{}\n", format!("{INDENT}{}", printable(line)).trim_end())).collect();
    match table.caption.as_str() {
        "" => body,
        caption => format!("{}{body}", paint(&wrapped(caption, INDENT, options.width), DIM, options)),
    }
}

/// Colours the text before its trailing line ends.
fn paint(text: &str, code: &str, options: TextOptions) -> String {
    let text = printable(text);
    if !options.colour {
        return text.into_owned();
    }
    let body = text.trim_end_matches('\n');
    format!("\u{1b}[{code}m{body}\u{1b}[0m{}", &text[body.len()..])
}

/// Lines of at most `width` characters, broken at spaces. A word that is longer has its own line. Ends with a line end.
fn wrapped(text: &str, indent: &str, width: usize) -> String {
    let text = printable(text);
    let mut out = String::new();
    let mut line = indent.to_owned();
    for word in text.split_whitespace() {
        let empty = line.len() == indent.len();
        if !empty && line.chars().count() + 1 + word.chars().count() > width {
            out.push_str(line.trim_end());
            out.push('\n');
            indent.clone_into(&mut line);
        }
        if line.len() > indent.len() {
            line.push(' ');
        }
        line.push_str(word);
    }
    out.push_str(line.trim_end());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Section;

    fn sample() -> Content {
        let mut section = Section::new("Results");
        section
            .add_sentence("One sentence that is long enough to be broken into two lines when the terminal is narrow.");
        section.blocks.push(Block::Warning("something may be wrong here, and this is what to do about it".to_owned()));
        section.blocks.push(Block::Properties(vec![
            ("cores".to_owned(), "2".to_owned()),
            ("model".to_owned(), "a name of some length that is broken too".to_owned()),
        ]));
        let mut table = Table::new("A caption.", &["<model", "latency s", "tps"]);
        table.rows.push(vec!["a".to_owned(), "1.000\n[0.9, 1.1]".to_owned(), "10".to_owned()]);
        section.add_table(table);
        Content { title: "run".to_owned(), sections: vec![section] }
    }

    #[test]
    fn lines_fit_the_terminal() {
        for width in [40, 60, 100] {
            let shown = text(&sample(), TextOptions { width, colour: false });
            assert!(shown.lines().all(|line| line.chars().count() <= width), "{width}:\n{shown}");
            assert!(!shown.contains('\u{1b}'));
        }
        insta::assert_snapshot!(text(&sample(), TextOptions { width: 40, colour: false }));
    }

    #[test]
    fn control_characters_in_the_content_are_shown() {
        let active = "x\u{1b}[31m\u{7}".to_owned();
        let mut table = Table::new(&active, &["<a"]);
        table.rows.push(vec![active.clone()]);
        let mut section = Section::new(&active);
        section.add_sentence(&active);
        section.blocks.push(Block::Warning(active.clone()));
        section.blocks.push(Block::Failure(active.clone()));
        section.blocks.push(Block::Properties(vec![(active.clone(), active.clone())]));
        section.add_table(table);
        let content = Content { title: active, sections: vec![section] };
        let shown = text(&content, TextOptions { width: 60, colour: false });
        assert!(!shown.contains(['\u{1b}', '\u{7}']) && shown.contains("x␛[31m␇"), "{shown}");
        assert!(!crate::markdown(&content).contains(['\u{1b}', '\u{7}']));
        assert!(!crate::page(&content).contains(['\u{1b}', '\u{7}']));
    }

    #[test]
    fn colours_are_written_where_they_are_enabled() {
        let shown = text(&sample(), TextOptions { width: 60, colour: true });
        assert!(shown.contains("\u{1b}[33mwarning: \u{1b}[0m"), "{shown}");
    }
}
