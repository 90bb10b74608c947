//! A table as lines of limited width.
//!
//! Numbers and names are never broken. A table that is too wide first wraps its columns of text. If it is still too wide, the
//! columns of numbers that do not fit form another table below, beside the same columns of text.

use super::table::{Align, Table};

/// Between two columns.
const GAP: usize = 2;
/// The smallest width of a column of text.
const NARROWEST: usize = 14;

/// The table's lines, without its caption, each at most `width` characters where its numbers allow it.
pub(super) fn lines(table: &Table, width: usize) -> Vec<String> {
    let natural: Vec<usize> = (0..table.columns.len()).map(|place| natural(table, place)).collect();
    let (text, numbers): (Vec<usize>, Vec<usize>) =
        (0..natural.len()).partition(|&place| table.columns[place].align != Align::Right);
    let need = |places: &[usize]| places.iter().map(|&place| natural[place] + GAP).sum::<usize>().saturating_sub(GAP);
    // Columns of text get the width that the widest group of numbers leaves.
    let all: Vec<usize> = (0..natural.len()).collect();
    if need(&all) <= width {
        return part(table, &all, &natural);
    }
    let can_wrap = |place: usize| table.columns[place].align == Align::Left;
    let least = |place: usize| if can_wrap(place) { natural[place].min(NARROWEST) } else { natural[place] };
    let least: usize = text.iter().map(|&place| least(place) + GAP).sum();
    let groups = groups(&numbers, &natural, width.saturating_sub(least));
    let widest = groups.iter().map(|group| need(group) + GAP).max().unwrap_or(0);
    let wraps: Vec<usize> = text.iter().copied().filter(|&place| can_wrap(place)).collect();
    let whole = text.iter().filter(|&&place| !can_wrap(place)).map(|&place| natural[place] + GAP).sum::<usize>();
    let width = width.saturating_sub(whole);
    let widths = shrunk(&natural, &wraps, width.saturating_sub(if numbers.is_empty() { 0 } else { widest }));
    let mut out = Vec::new();
    for (number, group) in groups.iter().enumerate() {
        if number > 0 {
            out.push(String::new());
        }
        // In the order of the table: a column of text may be between or after the numbers.
        let places: Vec<usize> =
            all.iter().copied().filter(|place| text.contains(place) || group.contains(place)).collect();
        out.extend(part(table, &places, &widths));
    }
    out
}

/// The longest line of a column's heading and cells.
fn natural(table: &Table, place: usize) -> usize {
    let cells = table.rows.iter().map(|row| row[place].as_str()).chain([table.columns[place].name.as_str()]);
    cells.flat_map(str::lines).map(|line| line.chars().count()).max().unwrap_or(0)
}

/// Groups of columns of numbers that fit together. A column that does not fit alone has its own group.
fn groups(numbers: &[usize], natural: &[usize], width: usize) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = vec![Vec::new()];
    let mut taken = 0;
    for &place in numbers {
        let need = natural[place] + GAP;
        if taken + need > width + GAP && groups.last().is_some_and(|group| !group.is_empty()) {
            groups.push(Vec::new());
            taken = 0;
        }
        if let Some(group) = groups.last_mut() {
            group.push(place);
        }
        taken += need;
    }
    groups
}

/// Makes the columns of text narrower, the widest first, until they fit into `width` or have their smallest width.
fn shrunk(natural: &[usize], text: &[usize], width: usize) -> Vec<usize> {
    let mut widths = natural.to_vec();
    loop {
        let need: usize = text.iter().map(|&place| widths[place] + GAP).sum::<usize>().saturating_sub(GAP);
        let widest = text.iter().copied().filter(|&place| widths[place] > NARROWEST).max_by_key(|&place| widths[place]);
        match widest {
            Some(place) if need > width => widths[place] -= 1,
            _ => return widths,
        }
    }
}

fn part(table: &Table, places: &[usize], widths: &[usize]) -> Vec<String> {
    let heading: Vec<String> = table.columns.iter().map(|column| column.name.clone()).collect();
    let mut out = record(table, places, widths, &heading);
    let rule = places.iter().map(|&place| widths[place] + GAP).sum::<usize>().saturating_sub(GAP);
    out.push("─".repeat(rule));
    let rows: Vec<Vec<String>> = table.rows.iter().map(|row| record(table, places, widths, row)).collect();
    out.extend(rows.concat());
    out
}

/// One row: as many lines as its tallest cell.
fn record(table: &Table, places: &[usize], widths: &[usize], cells: &[String]) -> Vec<String> {
    let broken: Vec<Vec<String>> = places
        .iter()
        .map(|&place| cells[place].lines().flat_map(|line| wrapped(line, widths[place])).collect())
        .collect();
    let height = broken.iter().map(Vec::len).max().unwrap_or(0);
    let line = |number: usize| {
        let mut line = String::new();
        for (column, &place) in places.iter().enumerate() {
            let text = broken[column].get(number).map_or("", String::as_str);
            let blank = " ".repeat(widths[place].saturating_sub(text.chars().count()));
            let gap = if column == 0 { "" } else { "  " };
            line.push_str(gap);
            match table.columns[place].align {
                Align::Left | Align::Name => line.extend([text, &blank]),
                Align::Right => line.extend([&blank, text]),
            }
        }
        line.trim_end().to_owned()
    };
    (0..height.max(1)).map(line).collect()
}

/// Breaks at spaces; a word that is longer than the width is cut. Leading spaces stay: they indent.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    if text.chars().count() <= width {
        return vec![text.to_owned()];
    }
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        while !rest.is_empty() {
            let Some(line) = lines.last_mut() else { break };
            let taken = line.chars().count();
            let gap = usize::from(taken > 0);
            if taken + gap + rest.len() <= width {
                line.extend(std::iter::repeat_n(' ', gap));
                line.extend(rest.drain(..));
            } else if taken > 0 {
                lines.push(String::new());
            } else {
                line.extend(rest.drain(..width.max(1).min(rest.len())));
                lines.push(String::new());
            }
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table() -> Table {
        let mut table = Table::new("", &["<model", "latency s", "memory MB", "TPS tokens/s"]);
        table.rows.push(
            ["llama-3.2-1b (synthetic weights)", "4.994\n[4.970, 5.016]", "12.5", "12.82"].map(str::to_owned).into(),
        );
        table.rows.push(["smollm2-135m", "1.065", "–", "60.08"].map(str::to_owned).into());
        table
    }

    #[test]
    fn a_table_that_fits_is_one_table() {
        insta::assert_snapshot!(lines(&table(), 90).join("\n"));
    }

    #[test]
    fn text_is_wrapped_first() {
        insta::assert_snapshot!(lines(&table(), 60).join("\n"));
    }

    #[test]
    fn numbers_that_do_not_fit_go_into_another_table() {
        insta::assert_snapshot!(lines(&table(), 34).join("\n"));
    }

    #[test]
    fn names_stay_whole() {
        let name = "20261130-224211-llama-3.1-8b-instruct-candle-tensor";
        let mut table = Table::new("", &["<run", "<engines", "MB"]);
        table.columns[0].align = Align::Name;
        table.rows.push([name, "candle, candle:tensor, llama-cpp and others", "1.5"].map(str::to_owned).into());
        for width in [30, 60, 80, 200] {
            let shown = lines(&table, width).join("\n");
            assert!(shown.contains(name) && shown.contains("1.5"), "{width}:\n{shown}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_the_width_is_kept(width in 40usize..120, cells in prop::collection::vec(("[a-z ]{0,60}", "[0-9.]{0,12}", "[0-9.]{0,12}"), 1..6)) {
            let mut table = Table::new("", &["<words", "first", "second"]);
            table.rows.extend(cells.iter().map(|(a, b, c)| vec![a.clone(), b.clone(), c.clone()]));
            let shown = lines(&table, width);
            prop_assert!(shown.iter().all(|line| line.chars().count() <= width), "{shown:#?}");
            let text = shown.join(" ");
            for (words, first, second) in &cells {
                prop_assert!(text.contains(first.as_str()) && text.contains(second.as_str()));
                prop_assert!(words.split_whitespace().filter(|word| word.len() <= NARROWEST).all(|word| text.contains(word)));
            }
        }
    }
}
