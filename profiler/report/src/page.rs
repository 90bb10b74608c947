//! One page that needs no network and no other file: `templates/`, filled in.

use std::fmt::Write as _;

use askama::Template;

use super::chart::Chart;
use super::content::{Align, Block, Card, Column, Content, Table};
use super::draw::{self, Key};

/// Cells of a column with at most so many characters are never broken.
const SHORT: usize = 26;

/// The report as one HTML page.
pub fn page(content: &Content) -> String {
    let mut charts = 0;
    let mut sections = Vec::new();
    for (number, section) in content.sections.iter().enumerate() {
        // What is folded as a whole shows its heading and nothing twice.
        let (folded, blocks) = match section.blocks.as_slice() {
            [Block::Details { summary, blocks }] if *summary == section.heading => (true, blocks),
            _ => (false, &section.blocks),
        };
        sections.push(Part {
            id: format!("s{}", number + 1),
            heading: &section.heading,
            folded,
            body: blocks.iter().map(|block| show(block, &mut charts)).collect(),
        });
    }
    filled(&Page { title: &content.title, charts, sections })
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    title: &'a str,
    /// How many charts it holds, for whoever checks that all are there.
    charts: usize,
    sections: Vec<Part<'a>>,
}

struct Part<'a> {
    id: String,
    heading: &'a str,
    folded: bool,
    body: String,
}

#[derive(Template)]
#[template(path = "table.html")]
struct TablePart<'a> {
    /// For those who hear the page.
    name: &'a str,
    caption: &'a str,
    sortable: bool,
    columns: Vec<Head<'a>>,
    rows: Vec<Vec<Cell<'a>>>,
}

struct Head<'a> {
    /// Of all cells of its column.
    class: &'static str,
    name: &'a str,
}

struct Cell<'a> {
    class: &'static str,
    first: &'a str,
    /// The second line, an interval, is set small.
    rest: &'a str,
}

#[derive(Template)]
#[template(path = "chart.html")]
struct ChartPart<'a> {
    id: String,
    title: &'a str,
    summary: &'a str,
    legend: Vec<Key>,
    pictures: Vec<PicturePart>,
    numbers: String,
}

struct PicturePart {
    class: &'static str,
    width: i32,
    height: i32,
    body: String,
}

#[derive(Template)]
#[template(path = "cards.html")]
struct CardsPart<'a> {
    cards: &'a [Card],
}

/// Templates fail only where a value cannot be written, and text always can.
fn filled(part: &impl Template) -> String {
    part.render().unwrap_or_default()
}

fn show(block: &Block, charts: &mut usize) -> String {
    match block {
        Block::Sentence(sentence) => format!("<p>{}</p>\n", escaped(sentence)),
        Block::Warning(warning) => format!("<p class=\"warning\"><strong>Warning:</strong> {}</p>\n", escaped(warning)),
        Block::Failure(failure) => format!("<p class=\"failure\"><strong>Failed:</strong> {}</p>\n", escaped(failure)),
        Block::Table(table) => show_table(table, false),
        Block::Sortable(table) => show_table(table, true),
        Block::Cards(cards) => filled(&CardsPart { cards }),
        Block::Chart(chart) => show_chart(chart, charts),
        Block::Details { summary, blocks } => {
            let inside: String = blocks.iter().map(|block| show(block, charts)).collect();
            format!("<details><summary>{}</summary>\n{inside}</details>\n", escaped(summary))
        }
        Block::Facts(facts) => {
            let mut rows = String::new();
            for (name, value) in facts {
                // Writing to a string cannot fail.
                let _ = writeln!(rows, "<dt>{}</dt><dd>{}</dd>", escaped(name), escaped(value));
            }
            format!("<dl class=\"facts\">\n{rows}</dl>\n")
        }
    }
}

fn show_table(table: &Table, sortable: bool) -> String {
    let is_short =
        |place: usize| table.rows.iter().all(|row| row.get(place).is_some_and(|text| text.chars().count() <= SHORT));
    let class = |(place, column): (usize, &Column)| match column.align {
        Align::Right => "number",
        Align::Left if is_short(place) => "short",
        Align::Left => "",
    };
    let classes: Vec<&'static str> = table.columns.iter().enumerate().map(class).collect();
    let rows = table.rows.iter().map(|row| {
        let cells = row.iter().zip(&classes).map(|(text, &class)| {
            let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
            Cell { class, first, rest }
        });
        cells.collect()
    });
    filled(&TablePart {
        name: if table.caption.is_empty() { "table" } else { &table.caption },
        caption: &table.caption,
        sortable,
        columns: table
            .columns
            .iter()
            .zip(&classes)
            .map(|(column, &class)| Head { class, name: &column.name })
            .collect(),
        rows: rows.collect(),
    })
}

/// The pictures with what they say; the numbers folded away. Without a picture the numbers stand in its place.
fn show_chart(chart: &Chart, charts: &mut usize) -> String {
    let numbers = chart.numbers.as_ref().map(|numbers| show_table(numbers, false)).unwrap_or_default();
    let Some(drawn) = draw::draw(chart) else { return format!("<p>{}</p>\n{numbers}", escaped(&chart.summary)) };
    *charts += 1;
    let picture = |class: &'static str, picture: draw::Picture| PicturePart {
        class,
        width: picture.width,
        height: picture.height,
        body: picture.body,
    };
    filled(&ChartPart {
        id: format!("c{charts}"),
        title: &chart.title,
        summary: &chart.summary,
        legend: drawn.legend,
        pictures: vec![picture("wide", drawn.wide), picture("narrow", drawn.narrow)],
        numbers: match numbers.as_str() {
            "" => numbers,
            _ => format!("<details><summary>Numbers</summary>\n{numbers}</details>"),
        },
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Section;
    use crate::{Bar, Bars, Figure};

    fn chart(label: &str) -> Chart {
        let row = Bar { label: label.to_owned(), value: 1.0, interval: Some((0.5, 1.5)), text: "1 s".to_owned() };
        let mut numbers = Table::new("", &["<what", "s"]);
        numbers.rows.push(vec![label.to_owned(), "1".to_owned()]);
        Chart {
            title: "Latency".to_owned(),
            summary: format!("{label} takes 1 s."),
            figure: Figure::Bars(Bars { axis: "s".to_owned(), rows: vec![row] }),
            numbers: Some(numbers),
        }
    }

    #[test]
    fn what_others_wrote_is_no_markup_and_nothing_is_fetched() {
        let mut section = Section::new("<img src=x>");
        section.say("\"quoted\" & <b>bold</b>");
        let mut table = Table::new("c", &["<name", "tps"]);
        table.rows.push(vec!["<td>".to_owned(), "1\n[0, 2]".to_owned()]);
        section.show(table);
        section.draw(chart("<script>alert(1)</script>"));
        let shown = page(&Content { title: "t".to_owned(), sections: vec![section] });
        assert!(!shown.contains("<img") && !shown.contains("<b>") && !shown.contains("<td><td>"), "{shown}");
        assert!(shown.contains("1<br><small>[0, 2]</small>"));
        assert_eq!(shown.matches("<script").count(), 1, "the page's own");
        assert!(!shown.contains("http:") && !shown.contains("https:") && !shown.contains("url("));
    }

    #[test]
    fn a_chart_has_two_pictures_a_description_and_its_numbers() {
        let mut section = Section::new("S");
        section.draw(chart("a"));
        let shown = page(&Content { title: "t".to_owned(), sections: vec![section] });
        assert!(shown.contains("data-charts=\"1\""));
        assert_eq!(shown.matches("role=\"img\"").count(), 2);
        assert_eq!(shown.matches("a takes 1 s.").count(), 3, "in both pictures and below");
        assert!(shown.contains("<summary>Numbers</summary>"));
    }

    #[test]
    fn sections_and_details_fold() {
        let mut section = Section::new("S");
        section
            .blocks
            .push(Block::Details { summary: "more".to_owned(), blocks: vec![Block::Sentence("x".to_owned())] });
        section.say("y");
        let section = section.folded();
        let shown = page(&Content { title: "t".to_owned(), sections: vec![section] });
        assert!(shown.contains("<summary><h2>S</h2></summary>") && shown.contains("<summary>more</summary>"));
    }
}
