//! One page that needs no network and no other file.

use super::content::{Align, Block, Content, Table};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fdfdfc; --soft: #6a6f76; --line: #d9dbde; --warn: #fff4d6; --fail: #fde2e0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6e8; --paper: #17191c; --soft: #9aa0a6; --line: #3a3e44; --warn: #3d3418; --fail: #452422; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; margin: .6rem 0 1rem; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top; text-align: left; } th { vertical-align: bottom; }
.number { text-align: right; white-space: nowrap; } td small { color: var(--soft); }
.warning, .failure { padding: .5rem .8rem; border-radius: .3rem; margin: .4rem 0; overflow-wrap: anywhere; } .warning { background: var(--warn); } .failure { background: var(--fail); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; } dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
";

/// The report as one HTML page.
pub fn page(content: &Content) -> String {
    let mut body = format!("<h1>{}</h1>\n", escaped(&content.title));
    for section in &content.sections {
        body.push_str(&format!("<section>\n<h2>{}</h2>\n", escaped(&section.heading)));
        for block in &section.blocks {
            body.push_str(&render(block));
        }
        body.push_str("</section>\n");
    }
    let title = escaped(&content.title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

fn render(block: &Block) -> String {
    match block {
        Block::Sentence(sentence) => format!("<p>{}</p>\n", escaped(sentence)),
        Block::Warning(warning) => format!("<p class=\"warning\"><strong>Warning:</strong> {}</p>\n", escaped(warning)),
        Block::Failure(failure) => format!("<p class=\"failure\"><strong>Failed:</strong> {}</p>\n", escaped(failure)),
        Block::Table(table) => table_text(table),
        Block::Facts(facts) => {
            let rows: String = facts
                .iter()
                .map(|(name, value)| format!("<dt>{}</dt><dd>{}</dd>\n", escaped(name), escaped(value)))
                .collect();
            format!("<dl>\n{rows}</dl>\n")
        }
    }
}

fn table_text(table: &Table) -> String {
    let class = |place: usize| match table.columns.get(place).map(|column| column.align) {
        Some(Align::Right) => " class=\"number\"",
        _ => "",
    };
    let head: String = table
        .columns
        .iter()
        .enumerate()
        .map(|(place, column)| format!("<th{}>{}</th>", class(place), escaped(&column.name)))
        .collect();
    let row = |cells: &Vec<String>| {
        let cells: String =
            cells.iter().enumerate().map(|(place, text)| format!("<td{}>{}</td>", class(place), cell(text))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = table.rows.iter().map(row).collect();
    let caption = match table.caption.as_str() {
        "" => String::new(),
        caption => format!("<caption>{}</caption>", escaped(caption)),
    };
    format!(
        "<div class=\"scroll\"><table>{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )
}

/// The second line, an interval, is set small.
fn cell(text: &str) -> String {
    match text.split_once('\n') {
        Some((first, rest)) => format!("{}<br><small>{}</small>", escaped(first), escaped(rest)),
        None => escaped(text),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::content::Section;

    #[test]
    fn what_others_wrote_is_no_markup_and_nothing_is_fetched() {
        let mut section = Section::new("<img src=x>");
        section.say("\"quoted\" & <b>bold</b>");
        let mut table = Table::new("c", &["<name", "tps"]);
        table.rows.push(vec!["<td>".to_owned(), "1\n[0, 2]".to_owned()]);
        section.show(table);
        let shown = page(&Content { title: "t".to_owned(), sections: vec![section] });
        assert!(
            shown.contains("&lt;img src=x&gt;")
                && shown.contains("&lt;td&gt;")
                && !shown.contains("<img")
                && !shown.contains("<b>")
        );
        assert!(shown.contains("1<br><small>[0, 2]</small>"));
        assert!(!shown.contains("http") && !shown.contains("<script") && !shown.contains("<link"));
    }
}
