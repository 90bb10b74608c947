//! Markdown as GitHub renders it.

use record::printable;

use super::content::{Block, Content};
use super::table::{Align, Table};

/// The report as Markdown.
pub fn markdown(content: &Content) -> String {
    let mut out = format!("# {}\n", escaped(&content.title));
    for section in &content.sections {
        out.push_str(&format!("\n## {}\n", escaped(&section.heading)));
        for block in &section.blocks {
            let shown = render(block);
            if !shown.is_empty() {
                out.push('\n');
                out.push_str(&shown);
            }
        }
    }
    printable(&out).into_owned()
}

fn render(block: &Block) -> String {
    match block {
        Block::Sentence(sentence) => format!("{}\n", escaped(sentence)),
        Block::Warning(warning) => format!("> **Warning:** {}\n", escaped(warning)),
        Block::Failure(failure) => format!("> **Failed:** {}\n", escaped(failure)),
        Block::Table(table) | Block::Sortable(table) => table_text(table),
        Block::Properties(facts) => {
            facts.iter().map(|(name, value)| format!("- {}: {}\n", escaped(name), escaped(value))).collect()
        }
        Block::Chart(chart) => match &chart.numbers {
            Some(numbers) => table_text(numbers),
            None => format!("{}\n", escaped(&chart.summary)),
        },
        Block::Cards(_) | Block::ChartNote(_) => String::new(),
        Block::Details { blocks, .. } => blocks.iter().map(render).collect::<Vec<_>>().join("\n"),
    }
}

fn table_text(table: &Table) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut out = match table.caption.as_str() {
        "" => String::new(),
        caption => format!("{}\n\n", escaped(caption)),
    };
    out.push_str(&line(table.columns.iter().map(|column| escaped(&column.name)).collect()));
    let rule = |align: Align| if align == Align::Right { "--:" } else { "---" };
    out.push_str(&line(table.columns.iter().map(|column| rule(column.align).to_owned()).collect()));
    for row in &table.rows {
        out.push_str(&line(row.iter().map(|cell| escaped(cell)).collect()));
    }
    out
}

/// One line without markup, so that text of users and models cannot change the page.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\n' | '\r' => out.push(' '),
            '<' => out.push_str("&lt;"),
            '\\' | '`' | '*' | '|' | '[' => {
                out.push('\\');
                out.push(c);
            }
            // An underscore inside a word is not markup.
            '_' if !(before.is_alphanumeric() && rest.peek().is_some_and(|after| after.is_alphanumeric())) => {
                out.push_str("\\_");
            }
            '#' | '>' | '+' | '-' if out.is_empty() => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
        before = c;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Section;

    #[test]
    fn markup_in_text_is_escaped() {
        assert_eq!(escaped("a|b <script> *x* [y](z)"), "a\\|b &lt;script> \\*x\\* \\[y](z)");
        assert_eq!(escaped("q4_k_m and _x_"), "q4_k_m and \\_x\\_");
        assert_eq!(escaped("# no heading"), "\\# no heading");
        assert_eq!(escaped("1.0\n[0.9, 1.1]"), "1.0 \\[0.9, 1.1]");
    }

    #[test]
    fn what_describes_pictures_is_only_beside_them() {
        let mut section = Section::new("S");
        section.add_chart_note("Lines are ceilings.");
        let content = Content { title: "T".to_owned(), sections: vec![section] };
        assert_eq!(markdown(&content), "# T\n\n## S\n");
        assert!(!crate::text(&content, crate::TextOptions::default()).contains("ceilings"));
        assert!(crate::page(&content).contains("<p>Lines are ceilings.</p>"));
    }

    #[test]
    fn a_table_has_a_line_of_alignments() {
        let mut section = Section::new("S");
        let mut table = Table::new("", &["<name", "tps"]);
        table.rows.push(vec!["a".to_owned(), "1".to_owned()]);
        section.add_table(table);
        let shown = markdown(&Content { title: "T".to_owned(), sections: vec![section] });
        assert_eq!(shown, "# T\n\n## S\n\n| name | tps |\n| --- | --: |\n| a | 1 |\n");
    }
}
