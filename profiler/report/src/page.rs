//! One HTML page without network access or other files, from `templates/`.

use std::fmt::Write as _;

use askama::Template;
use record::printable;

use super::chart::Chart;
use super::content::{Block, Card, Content};
use super::draw::{self, LegendEntry};
use super::table::{Align, Column, Table};

/// Columns whose cells have at most this many characters are never wrapped.
const SHORT: usize = 26;

/// The report as one HTML page.
pub fn page(content: &Content) -> String {
    let mut charts = 0;
    let mut sections = Vec::new();
    for (number, section) in content.sections.iter().enumerate() {
        // A section that is collapsed as a whole shows its heading once.
        let (collapsed, blocks) = match section.blocks.as_slice() {
            [Block::Details { summary, blocks }] if *summary == section.heading => (true, blocks),
            _ => (false, &section.blocks),
        };
        sections.push(SectionTemplate {
            id: format!("s{}", number + 1),
            heading: &section.heading,
            collapsed,
            body: blocks.iter().map(|block| show(block, &mut charts)).collect(),
        });
    }
    printable(&rendered(&PageTemplate { title: &content.title, charts, sections })).into_owned()
}

#[derive(Template)]
#[template(path = "page.html")]
struct PageTemplate<'a> {
    title: &'a str,
    /// The number of charts, so that a check can count them.
    charts: usize,
    sections: Vec<SectionTemplate<'a>>,
}

struct SectionTemplate<'a> {
    id: String,
    heading: &'a str,
    collapsed: bool,
    body: String,
}

#[derive(Template)]
#[template(path = "table.html")]
struct TableTemplate<'a> {
    /// For screen readers.
    name: &'a str,
    caption: &'a str,
    sortable: bool,
    columns: Vec<HeadCell<'a>>,
    rows: Vec<Vec<BodyCell<'a>>>,
}

struct HeadCell<'a> {
    /// Class of all cells of the column.
    class: &'static str,
    name: &'a str,
}

struct BodyCell<'a> {
    class: &'static str,
    first: &'a str,
    /// The second line, an interval, in small type.
    rest: &'a str,
}

#[derive(Template)]
#[template(path = "chart.html")]
struct ChartTemplate<'a> {
    id: String,
    title: &'a str,
    summary: &'a str,
    legend: Vec<LegendEntry>,
    pictures: Vec<PictureTemplate>,
    numbers: String,
}

struct PictureTemplate {
    class: &'static str,
    width: i32,
    height: i32,
    body: String,
}

#[derive(Template)]
#[template(path = "cards.html")]
struct CardsTemplate<'a> {
    cards: &'a [Card],
}

/// Rendering fails only where a value cannot be formatted, and text always can.
fn rendered(part: &impl Template) -> String {
    part.render().unwrap_or_default()
}

fn show(block: &Block, charts: &mut usize) -> String {
    match block {
        Block::Sentence(sentence) | Block::ChartNote(sentence) => format!("<p>{}</p>\n", escaped(sentence)),
        Block::Warning(warning) => format!("<p class=\"warning\"><strong>Warning:</strong> {}</p>\n", escaped(warning)),
        Block::Failure(failure) => format!("<p class=\"failure\"><strong>Failed:</strong> {}</p>\n", escaped(failure)),
        Block::Table(table) => show_table(table, false),
        Block::Sortable(table) => show_table(table, true),
        Block::Cards(cards) => rendered(&CardsTemplate { cards }),
        Block::Chart(chart) => show_chart(chart, charts),
        Block::Details { summary, blocks } => {
            let inside: String = blocks.iter().map(|block| show(block, charts)).collect();
            format!("<details><summary>{}</summary>\n{inside}</details>\n", escaped(summary))
        }
        Block::Properties(facts) => {
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
        Align::Left | Align::Name if is_short(place) => "short",
        Align::Left | Align::Name => "",
    };
    let classes: Vec<&'static str> = table.columns.iter().enumerate().map(class).collect();
    let rows = table.rows.iter().map(|row| {
        let cells = row.iter().zip(&classes).map(|(text, &class)| {
            let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
            BodyCell { class, first, rest }
        });
        cells.collect()
    });
    rendered(&TableTemplate {
        name: if table.caption.is_empty() { "table" } else { &table.caption },
        caption: &table.caption,
        sortable,
        columns: table
            .columns
            .iter()
            .zip(&classes)
            .map(|(column, &class)| HeadCell { class, name: &column.name })
            .collect(),
        rows: rows.collect(),
    })
}

/// The pictures with their summary, and the numbers, collapsed. Without a picture, the summary and the numbers.
fn show_chart(chart: &Chart, charts: &mut usize) -> String {
    let numbers = chart.numbers.as_ref().map(|numbers| show_table(numbers, false)).unwrap_or_default();
    let Some(drawn) = draw::draw(chart) else { return format!("<p>{}</p>\n{numbers}", escaped(&chart.summary)) };
    *charts += 1;
    let picture = |class: &'static str, picture: draw::Picture| PictureTemplate {
        class,
        width: picture.width,
        height: picture.height,
        body: picture.body,
    };
    rendered(&ChartTemplate {
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
    fn markup_in_text_is_escaped_and_nothing_is_fetched() {
        let mut section = Section::new("<img src=x>");
        section.add_sentence("\"quoted\" & <b>bold</b>");
        let mut table = Table::new("c", &["<name", "tps"]);
        table.rows.push(vec!["<td>".to_owned(), "1\n[0, 2]".to_owned()]);
        section.add_table(table);
        section.add_chart(chart("<script>alert(1)</script>"));
        let shown = page(&Content { title: "t".to_owned(), sections: vec![section] });
        assert!(!shown.contains("<img") && !shown.contains("<b>") && !shown.contains("<td><td>"), "{shown}");
        assert!(shown.contains("1<br><small>[0, 2]</small>"));
        assert_eq!(shown.matches("<script").count(), 1, "the page's own");
        assert!(!shown.contains("http:") && !shown.contains("https:") && !shown.contains("url("));
    }

    #[test]
    fn a_chart_has_two_pictures_a_description_and_its_numbers() {
        let mut section = Section::new("S");
        section.add_chart(chart("a"));
        let shown = page(&Content { title: "t".to_owned(), sections: vec![section] });
        assert!(shown.contains("data-charts=\"1\""));
        assert_eq!(shown.matches("role=\"img\"").count(), 2);
        assert_eq!(shown.matches("a takes 1 s.").count(), 3, "in both pictures and below");
        assert!(shown.contains("<summary>Numbers</summary>"));
    }

    #[test]
    fn sections_and_details_are_collapsed() {
        let mut section = Section::new("S");
        section
            .blocks
            .push(Block::Details { summary: "more".to_owned(), blocks: vec![Block::Sentence("x".to_owned())] });
        section.add_sentence("y");
        let section = section.collapsed();
        let shown = page(&Content { title: "t".to_owned(), sections: vec![section] });
        assert!(shown.contains("<summary><h2>S</h2></summary>") && shown.contains("<summary>more</summary>"));
    }
}
