//! `results.csv`: one row per sample of every pass, its columns named as in `run.json`.

use serde_json::Value;

use super::{Case, Printable, Reasons, RunFile, Sample, ServerSample};

/// The first columns: the case of a sample.
pub const COLUMNS_OF_CASE: &[&str] = &["engine", "model", "prompt", "threads", "depth", "status"];

/// The prefix of the columns of a server; only where one computed.
const OF_SERVER: &str = "server.";

/// The table. An absent value is an empty cell; the last columns contain why figures are estimates, and why others are absent.
pub fn csv(file: &RunFile) -> Printable {
    // Fields that may be left out of a line always have a column.
    let whole = Sample { disturbed: Some(String::new()), repeated: true, ..Sample::absent("") };
    let mut fields = fields(&whole);
    if file.cases.iter().flat_map(|case| &case.samples).any(|sample| sample.server.is_some()) {
        let whole = ServerSample {
            first_token_s: Some(0.0),
            queue_s: Some(0.0),
            whole_s: Some(0.0),
            drafted_tokens: Some(0),
            accepted_tokens: Some(0),
            other_requests: Some(0),
            unknown_finish: Some(String::new()),
            piece_times_s: vec![0.0],
            ..ServerSample::absent("")
        };
        fields.extend(self::fields(&whole).iter().map(|field| format!("{OF_SERVER}{field}")));
    }
    let mut out = csv::Writer::from_writer(Vec::new());
    let header =
        COLUMNS_OF_CASE.iter().copied().chain(fields.iter().map(String::as_str)).chain(["estimated", "reasons"]);
    let mut written = out.write_record(header);
    for case in &file.cases {
        for sample in case.samples.iter().chain(&case.stepped).chain(&case.traced) {
            written = written.and_then(|()| out.write_record(row(case, sample, &fields)));
        }
    }
    // Writing into a vector cannot fail.
    let _ = written;
    Printable::new(&String::from_utf8_lossy(&out.into_inner().unwrap_or_default()))
}

/// The fields of a type in its own order, without the columns at the end.
fn fields(of: &impl serde::Serialize) -> Vec<String> {
    match serde_json::to_value(of) {
        Ok(Value::Object(object)) => {
            object.keys().filter(|key| *key != "reasons" && *key != "estimated").cloned().collect()
        }
        _ => Vec::new(),
    }
}

fn row(case: &Case, sample: &Sample, fields: &[String]) -> Vec<String> {
    let value = serde_json::to_value(sample).unwrap_or_default();
    let status = serde_json::to_value(case.status).unwrap_or_default();
    let mut row = vec![
        case.engine.clone(),
        case.model.clone(),
        case.prompt.clone(),
        case.threads.to_string(),
        case.depth.to_string(),
        cell(&status),
    ];
    row.extend(fields.iter().map(|field| match field.strip_prefix(OF_SERVER) {
        Some(field) => cell(&value["server"][field]),
        None if field == "repeated" => sample.repeated.to_string(),
        None => cell(&value[field]),
    }));
    let listed = |reasons: &Reasons| {
        reasons.iter().map(|(field, reason)| format!("{field}: {reason}")).collect::<Vec<_>>().join("; ")
    };
    row.extend([listed(&sample.estimated), listed(&sample.reasons())]);
    row
}

/// Lists are joined by spaces.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_those_of_the_type() {
        let fields = fields(&Sample::absent("not measured"));
        for name in [
            "latency_s",
            "ttft_s",
            "tokenize_s",
            "prefill_s",
            "decode_s",
            "sample_s",
            "detokenize_s",
            "prompt_tokens",
            "output_tokens",
            "tps",
        ] {
            assert!(fields.contains(&name.to_owned()), "{name}");
        }
        assert!(!fields.contains(&"reasons".to_owned()));
    }

    #[test]
    fn the_report_of_a_server_has_its_own_columns() {
        let server = ServerSample { prefill_s: 0.5.into(), ..ServerSample::absent("not reported") };
        let sample = Sample { prefill_s: 0.7.into(), server: Some(server), ..Sample::absent("not measured") };
        let case = Case { samples: vec![sample], ..Case::default() };
        let file = RunFile { cases: vec![case], ..RunFile::default() };
        let text = csv(&file).to_string();
        let mut rows = csv::Reader::from_reader(text.as_bytes());
        let place = |name: &str| rows.headers().unwrap().iter().position(|header| header == name).unwrap();
        let mut places = ["prefill_s", "server.prefill_s"].map(place).into_iter();
        let row = rows.records().next().unwrap().unwrap();
        assert_eq!(places.next().and_then(|at| row.get(at)), Some("0.7"));
        assert_eq!(places.next().and_then(|at| row.get(at)), Some("0.5"));
        let plain = RunFile {
            cases: vec![Case { samples: vec![Sample::absent("not measured")], ..Case::default() }],
            ..RunFile::default()
        };
        assert!(!csv(&plain).as_str().contains(OF_SERVER));
    }

    #[test]
    fn control_characters_of_names_and_reasons_are_shown() {
        let sample = Sample::absent("a server said \u{1b}[2J");
        let case = Case { model: "m\u{9b}1m".to_owned(), samples: vec![sample], ..Case::default() };
        let table = csv(&RunFile { cases: vec![case], ..RunFile::default() });
        assert!(table.as_str().contains("m\u{fffd}1m") && table.as_str().contains("␛[2J"), "{table}");
    }

    #[test]
    fn lists_and_gaps_have_their_cells() {
        let sample = Sample {
            token_times_s: [0.5, 1.0].into(),
            latency_s: 0.25.into(),
            estimated: [("decode_tps".to_owned(), "from pieces".to_owned())].into(),
            ..Sample::absent("merged")
        };
        let fields = vec!["latency_s".to_owned(), "ttft_s".to_owned(), "token_times_s".to_owned()];
        let row = row(&Case::default(), &sample, &fields);
        let (reasons, cells) = row[COLUMNS_OF_CASE.len()..].split_last().unwrap();
        assert_eq!(cells, ["0.25", "", "0.5 1.0", "decode_tps: from pieces"]);
        assert!(reasons.contains("; ttft_s: merged"), "{reasons}");
    }
}
