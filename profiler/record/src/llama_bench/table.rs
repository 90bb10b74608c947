//! Records as rows of tables: CSV, the INSERT statements of SQL, and Markdown.

use serde_json::{Map, Value};

use super::found::{Found, Record, is_record};

/// Delimiters of CSV files, also of those that a spreadsheet has saved again.
const DELIMITERS: &[char] = &[',', ';', '\t'];

fn record(line: usize, names: &[String], values: Vec<String>) -> Record {
    let fields = names.iter().cloned().zip(values.into_iter().map(Value::String));
    Record { line, fields: fields.filter(|(_, value)| value.as_str() != Some("")).collect() }
}

/// The cells of a line of CSV.
fn cells(line: &str, delimiter: char) -> Vec<String> {
    let delimiter = u8::try_from(delimiter).unwrap_or(b',');
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(line.as_bytes());
    let row = reader.records().next().and_then(Result::ok).unwrap_or_default();
    row.iter().map(|cell| cell.trim().to_owned()).collect()
}

/// Rows below a line with the names of the fields.
pub(super) fn csv(text: &str) -> Found {
    let mut found = Found::default();
    let mut header: Option<(char, Vec<String>)> = None;
    for (number, line) in text.lines().enumerate() {
        let names = DELIMITERS.iter().find_map(|&delimiter| {
            let names = cells(line, delimiter);
            let has = |name: &str| names.iter().any(|cell| cell == name);
            (has("n_prompt") && has("n_gen") && (has("avg_ts") || has("avg_ns"))).then_some((delimiter, names))
        });
        if names.is_some() {
            header = names;
            continue;
        }
        let Some((delimiter, names)) = &header else {
            found.other(line);
            continue;
        };
        let row = cells(line, *delimiter);
        if row.len() == names.len() {
            found.records.push(record(number + 1, names, row));
        } else if row.len() > 3 {
            found.truncated.push(number + 1);
        } else {
            found.other(line);
        }
    }
    found
}

/// `INSERT INTO llama_bench (NAMES) VALUES (...)`, also as sqlite3's `.dump` writes it, without the names.
pub(super) fn sql(text: &str) -> Found {
    const INSERT: &str = "insert into";
    let mut found = Found::default();
    let lower = text.to_ascii_lowercase();
    let mut created = created(text, &lower);
    let mut at = 0;
    while let Some(begin) = lower[at..].find(INSERT).map(|place| at + place) {
        let line = text[..begin].matches('\n').count() + 1;
        at = begin + INSERT.len();
        let end_of_statement = lower[at..].find(INSERT).map_or(text.len(), |place| at + place);
        let statement = &text[at..end_of_statement];
        let Some(values) = lower[at..end_of_statement].find("values") else {
            found.truncated.push(line);
            continue;
        };
        let (head, mut rest) = (&statement[..values], &statement[values + "values".len()..]);
        if !head.contains("llama_bench") {
            continue;
        }
        if let Some(names) = head.split_once('(').and_then(|(_, names)| names.rsplit_once(')')) {
            created = names.0.split(',').map(|name| name.trim().trim_matches(['"', '`']).to_owned()).collect();
        }
        loop {
            match tuple(rest) {
                Some((row, after)) if row.len() == created.len() => {
                    let record = record(line, &created, row);
                    if is_record(&record.fields) {
                        found.records.push(record);
                    }
                    rest = after;
                }
                _ => {
                    found.truncated.push(line);
                    break;
                }
            }
            match rest.trim_start().strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
    }
    found
}

/// The columns of `CREATE TABLE ... llama_bench (...)`.
fn created(text: &str, lower: &str) -> Vec<String> {
    let body = lower.find("create table").and_then(|place| {
        let open = place + text[place..].find('(')?;
        let close = open + text[open..].find(");")?;
        text[place..open].contains("llama_bench").then(|| &text[open + 1..close])
    });
    let name = |column: &str| column.split_whitespace().next().map(|name| name.trim_matches(['"', '`']).to_owned());
    body.map(|body| body.split(',').filter_map(name).collect()).unwrap_or_default()
}

/// The values between `(` and `)`, and the text after them. llama-bench does not double the quotes in a value, so that a quote ends a
/// value only before a comma or the closing bracket.
fn tuple(text: &str) -> Option<(Vec<String>, &str)> {
    let mut rest = text.trim_start().strip_prefix('(')?;
    let mut values = Vec::new();
    loop {
        rest = rest.trim_start();
        let value = match rest.strip_prefix('\'') {
            Some(quoted) => {
                let end = quoted.match_indices('\'').map(|(place, _)| place).find(|&place| {
                    let after = quoted[place + 1..].trim_start();
                    after.starts_with(',') || after.starts_with(')')
                })?;
                rest = &quoted[end + 1..];
                quoted[..end].replace("''", "'")
            }
            None => {
                let end = rest.find([',', ')'])?;
                let value = rest[..end].trim();
                rest = &rest[end..];
                if value.eq_ignore_ascii_case("null") { String::new() } else { value.to_owned() }
            }
        };
        values.push(value);
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix(')') {
            return Some((values, after));
        }
        rest = rest.strip_prefix(',')?;
    }
}

/// The columns of Markdown by their heading, where it is not the field's name. llama-bench shortens them.
const COLUMNS: &[(&str, &str)] = &[
    ("model", "model_type"),
    ("backend", "backends"),
    ("ngl", "n_gpu_layers"),
    ("threads", "n_threads"),
    ("sm", "split_mode"),
    ("mg", "main_gpu"),
    ("nkvo", "no_kv_offload"),
    ("fa", "flash_attn"),
    ("dev", "devices"),
    ("ts", "tensor_split"),
    ("ot", "tensor_buft_overrides"),
    ("mmap", "use_mmap"),
    ("dio", "use_direct_io"),
    ("lm", "load_mode"),
    ("embd", "embeddings"),
    ("nopo", "no_op_offload"),
    ("noh", "no_host"),
    ("rpk", "repack"),
    ("fitt", "fit_target"),
    ("fitc", "fit_min_ctx"),
];

/// Rows of tables whose last columns are `test` and `t/s`; the line `build: COMMIT (NUMBER)` below a table belongs to it. Sizes and
/// numbers of parameters are rounded there, so they are not taken.
pub(super) fn markdown(text: &str) -> Found {
    let mut found = Found::default();
    let mut names: Vec<String> = Vec::new();
    let mut without_build = 0;
    for (number, line) in text.lines().enumerate() {
        // Quoted mail and issues begin their lines with `>`.
        let line = line.trim().trim_start_matches('>').trim();
        if let Some((commit, build)) = line.strip_prefix("build: ").and_then(|build| build.split_once(" (")) {
            for record in &mut found.records[without_build..] {
                record.fields.insert("build_commit".to_owned(), commit.trim().into());
                record.fields.insert("build_number".to_owned(), build.trim_end_matches(')').into());
            }
            without_build = found.records.len();
            continue;
        }
        let Some(row) = line.strip_prefix('|').map(|row| row.strip_suffix('|').unwrap_or(row)) else {
            found.other(line);
            continue;
        };
        let row: Vec<&str> = row.split('|').map(str::trim).collect();
        if row.contains(&"t/s") && row.contains(&"test") {
            names = row.iter().map(|name| (*name).to_owned()).collect();
        } else if row.iter().all(|cell| cell.chars().all(|c| "-: ".contains(c))) {
            // The line of alignments.
        } else if names.is_empty() {
            found.other(line);
        } else if row.len() != names.len() {
            found.truncated.push(number + 1);
        } else {
            match row_of_markdown(&names, &row) {
                Some(fields) => found.records.push(Record { line: number + 1, fields }),
                None => found.truncated.push(number + 1),
            }
        }
    }
    found
}

fn row_of_markdown(names: &[String], row: &[&str]) -> Option<Map<String, Value>> {
    let mut fields = Map::new();
    for (name, cell) in names.iter().zip(row) {
        match name.as_str() {
            "size" | "params" => {}
            "test" => fields.extend(test(cell)?),
            "t/s" => {
                // The sign between mean and deviation arrives in many encodings.
                let mut numbers = cell.split(|c: char| !c.is_ascii_digit() && c != '.').filter(|part| !part.is_empty());
                fields.insert("avg_ts".to_owned(), numbers.next()?.into());
                fields.extend(numbers.next().map(|deviation| ("stddev_ts".to_owned(), deviation.into())));
            }
            name => {
                let field = COLUMNS.iter().find(|(heading, _)| *heading == name).map_or(name, |(_, field)| field);
                fields.insert(field.to_owned(), (*cell).into());
            }
        }
    }
    Some(fields)
}

/// `pp512`, `pp 512`, `tg128 @ d4096`, `pp512+tg128`.
fn test(cell: &str) -> Option<Vec<(String, Value)>> {
    let (sizes, depth) = cell.split_once('@').unwrap_or((cell, "d0"));
    let mut fields = vec![("n_depth".to_owned(), depth.trim().strip_prefix('d')?.into())];
    for part in sizes.split('+').map(str::trim) {
        let (name, number) = match (part.strip_prefix("pp"), part.strip_prefix("tg")) {
            (Some(number), _) => ("n_prompt", number),
            (_, Some(number)) => ("n_gen", number),
            _ => return None,
        };
        fields.push((name.to_owned(), number.trim().parse::<u64>().ok()?.into()));
    }
    Some(fields)
}
