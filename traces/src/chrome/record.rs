//! [`Record`]: one record of a trace file as it is read, with the [`Flaw`]s in its fields; the [`Id`] of its process and its thread;
//! and the [`TimeAxis`] that the `clock` record of a file defines.
//!
//! Every field is read as raw JSON first and interpreted afterwards, so that a field of the wrong type becomes a flaw with the
//! field's name and does not hide the other fields.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::Nanos;
use crate::record::Category;

/// The name of the record that defines the time axis, and its arguments.
pub(super) const CLOCK_RECORD: &str = "clock";
pub(super) const UNIX_MICROS: &str = "unix_us";
pub(super) const EPOCH_NANOS: &str = "epoch_ns";
pub(super) const UNCATEGORISED: &str = "uncategorised";

/// The names of the fields that are read; others are allowed.
const FIELDS: [&str; 8] = ["ph", "name", "cat", "pid", "tid", "ts", "dur", "args"];

/// The fields that are read, and which of them stand more than once. JSON allows that; as in other readers, the last one counts.
#[derive(Default)]
struct Fields<'a> {
    values: [Option<&'a RawValue>; FIELDS.len()],
    repeated: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    fn value(&self, field: &str) -> Option<&'a RawValue> {
        FIELDS.iter().position(|name| *name == field).and_then(|index| self.values[index])
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a record")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut fields = Fields::default();
                while let Some(Key(index)) = map.next_key()? {
                    let Some(index) = index else {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    };
                    // `null` is as no value.
                    if std::mem::replace(&mut fields.values[index], map.next_value()?).is_some() {
                        fields.repeated.push(FIELDS[index]);
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// The index of a field's name in [`FIELDS`], if it is one of them.
struct Key(Option<usize>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }

            fn visit_str<E>(self, name: &str) -> Result<Key, E> {
                Ok(Key(FIELDS.iter().position(|field| *field == name)))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// An invalid field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The field.
    pub field: &'static str,
    /// What was expected and what was found.
    pub text: String,
}

/// The `ph` of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// `X`: a span with its duration.
    Complete,
    /// `B`: a span begins.
    Begin,
    /// `E`: the span that began last on its thread ends.
    End,
    /// `C`: the values of a counter at one time.
    Counter,
    /// `i`, `I` or `R`: an instant.
    Instant,
    /// `M`: a name or sort index of a process or thread.
    Metadata,
    /// Another phase of the format: async, flow, sample, object, memory, clock.
    Other(char),
    /// Missing, or not a phase of the format.
    Unknown,
}

impl Phase {
    fn of(letter: &str) -> Self {
        let mut characters = letter.chars();
        match (characters.next(), characters.next()) {
            (Some('X'), None) => Self::Complete,
            (Some('B'), None) => Self::Begin,
            (Some('E'), None) => Self::End,
            (Some('C'), None) => Self::Counter,
            (Some('i' | 'I' | 'R'), None) => Self::Instant,
            (Some('M'), None) => Self::Metadata,
            (Some(other), None) if "benSTFpstfPNODVvcaG()".contains(other) => Self::Other(other),
            _ => Self::Unknown,
        }
    }
}

/// A time in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// Nanoseconds; a file may have negative times.
    pub nanos: i64,
    /// The number of decimals of its microseconds in the file.
    pub decimals: u8,
}

/// The id of a process or a thread. The format has numbers; some writers use texts, such as `"GPU 0"`, which viewers show as the name,
/// and negative numbers for what is no process of the system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id {
    /// A number. A text of digits is that number.
    Number(i128),
    /// A text.
    Text(Box<str>),
}

impl Id {
    /// The id in a JSON value; `None` if the value is neither a whole number nor a text.
    fn of(raw: &RawValue) -> Option<Self> {
        if let Ok(number) = raw.get().parse() {
            return Some(Self::Number(number));
        }
        let text = text(raw)?;
        Some(text.parse().map_or_else(|_| Self::Text(text.into()), Self::Number))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// One record.
#[derive(Debug)]
pub struct Record<'a> {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// Its `ph`.
    pub phase: Phase,
    /// Its name; empty if it has none.
    pub name: Cow<'a, str>,
    /// Its category; empty if it has none.
    pub category: Cow<'a, str>,
    /// The process id. An invalid id is the text of its JSON, so that records with the same one belong together.
    pub pid: Option<Id>,
    /// The thread id, likewise.
    pub tid: Option<Id>,
    /// `ts`.
    pub start: Option<Time>,
    /// `dur`.
    pub duration: Option<Time>,
    /// `args`, as JSON.
    pub args: Option<&'a RawValue>,
    /// Its invalid fields.
    pub flaws: Vec<Flaw>,
}

impl<'a> Record<'a> {
    /// Reads a record.
    ///
    /// # Errors
    /// When the text is not one JSON object.
    pub(super) fn parse(line: u64, text: &'a [u8]) -> Result<Self, serde_json::Error> {
        let fields: Fields<'a> = serde_json::from_slice(text)?;
        let stands_twice =
            |&field: &&'static str| Flaw { field, text: "stands more than once: the last one counts".to_owned() };
        let mut flaws: Vec<Flaw> = fields.repeated.iter().map(stands_twice).collect();
        let before = flaws.len();
        let letter = text_of("ph", fields.value("ph"), &mut flaws);
        let phase = Phase::of(&letter);
        if phase == Phase::Unknown && fields.value("ph").is_some() && flaws.len() == before {
            flaws.push(Flaw { field: "ph", text: format!("{letter:?} is not a phase of the format") });
        }
        Ok(Self {
            line,
            phase,
            name: text_of("name", fields.value("name"), &mut flaws),
            category: text_of("cat", fields.value("cat"), &mut flaws),
            pid: id_of("pid", fields.value("pid"), &mut flaws),
            tid: id_of("tid", fields.value("tid"), &mut flaws),
            start: time_of("ts", fields.value("ts"), &mut flaws),
            duration: time_of("dur", fields.value("dur"), &mut flaws),
            args: fields.value("args"),
            flaws,
        })
    }

    /// Reads a record. Where its text is not JSON because of what writers often get wrong, it is mended in `buffer` and has a flaw.
    ///
    /// # Errors
    /// As of [`parse`](Self::parse), of the text as it is.
    pub(super) fn parse_or_mend(line: u64, text: &'a [u8], buffer: &'a mut Vec<u8>) -> Result<Self, serde_json::Error> {
        let error = match Self::parse(line, text) {
            Ok(record) => return Ok(record),
            Err(error) => error,
        };
        let Some((mended, faults)) = mend(text) else { return Err(error) };
        *buffer = mended;
        let Ok(mut record) = Self::parse(line, buffer) else { return Err(error) };
        record.flaws.push(Flaw { field: "record", text: format!("is not JSON: it has {}", faults.join(" and ")) });
        Ok(record)
    }

    /// The pass of a request, or of a phase of one.
    pub(crate) fn pass(&self) -> Option<Cow<'a, str>> {
        #[derive(Deserialize)]
        struct Pass<'a> {
            #[serde(borrow)]
            pass: Cow<'a, str>,
        }
        if ![Category::Request.name(), Category::Phase.name()].contains(&self.category.as_ref()) {
            return None;
        }
        serde_json::from_str::<Pass<'a>>(self.args?.get()).ok().map(|args| args.pass)
    }

    /// The case of a request: engine, model, prompt, threads and depth.
    pub(crate) fn case(&self) -> Option<Cow<'a, str>> {
        #[derive(Deserialize)]
        struct Case<'a> {
            #[serde(borrow)]
            case: Cow<'a, str>,
        }
        if self.category != Category::Request.name() {
            return None;
        }
        serde_json::from_str::<Case<'a>>(self.args?.get()).ok().map(|args| args.case)
    }

    /// The number of records that the recorder dropped, if this record reports it; else 0.
    pub(crate) fn dropped(&self) -> u64 {
        #[derive(Deserialize)]
        struct Dropped {
            records: u64,
        }
        if self.phase != Phase::Instant || self.name != "dropped" {
            return 0;
        }
        let args = self.args.and_then(|args| serde_json::from_str::<Dropped>(args.get()).ok());
        args.map_or(0, |args| args.records)
    }
}

/// How to interpret the times and spans of a file. A file without a `clock` record counts from the origin of the clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeAxis {
    /// The reading of [`clock::now`](crate::clock::now) at which `ts` is 0.
    pub epoch: Nanos,
    /// Whether spans without a category are ops.
    pub(super) uncategorised_are_ops: bool,
}

impl TimeAxis {
    /// The axis that this record defines; `None` if it is not a `clock` record.
    pub(super) fn of(record: &Record<'_>) -> Option<Self> {
        #[derive(Deserialize)]
        struct Args<'a> {
            #[serde(default)]
            epoch_ns: Nanos,
            #[serde(default, borrow)]
            uncategorised: Option<&'a str>,
        }
        if record.phase != Phase::Instant || record.name != CLOCK_RECORD {
            return None;
        }
        let args: Args<'_> = serde_json::from_str(record.args?.get()).ok()?;
        Some(Self { epoch: args.epoch_ns, uncategorised_are_ops: args.uncategorised == Some(Category::Op.name()) })
    }
}

/// The text with `null` for numbers that are not finite, escaped control characters in strings, and U+FFFD for bytes that are not
/// UTF-8; with the names of what was replaced. `None` where nothing was.
fn mend(text: &[u8]) -> Option<(Vec<u8>, Vec<&'static str>)> {
    let mut faults = Vec::new();
    let utf8 = String::from_utf8_lossy(text);
    if matches!(utf8, Cow::Owned(_)) {
        faults.push("bytes that are not UTF-8");
    }
    let finite = text_input::with_null_for_not_a_number(&utf8);
    if matches!(finite, Cow::Owned(_)) {
        faults.push("a number that is not finite");
    }
    let mut mended = String::with_capacity(finite.len());
    let (mut in_string, mut escaped, mut control) = (false, false, false);
    for character in finite.chars() {
        if in_string && character.is_ascii_control() {
            control = true;
            mended.push_str(&format!("\\u{:04x}", u32::from(character)));
            continue;
        }
        match character {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ => {}
        }
        mended.push(character);
    }
    if control {
        faults.push("a control character in a string");
    }
    (!faults.is_empty()).then(|| (mended.into_bytes(), faults))
}

fn text_of<'a>(field: &'static str, raw: Option<&'a RawValue>, flaws: &mut Vec<Flaw>) -> Cow<'a, str> {
    let Some(raw) = raw else { return Cow::Borrowed("") };
    match text(raw) {
        Some(text) => text,
        None => {
            flaws.push(Flaw { field, text: format!("expected a text, found {}", excerpt(raw)) });
            Cow::Borrowed(raw.get())
        }
    }
}

/// The text of a JSON string; borrowed unless it has escapes.
fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(raw.get()).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

fn id_of(field: &'static str, raw: Option<&RawValue>, flaws: &mut Vec<Flaw>) -> Option<Id> {
    let raw = raw?;
    let id = Id::of(raw);
    if id.is_none() {
        flaws.push(Flaw { field, text: format!("expected a whole number or a text, found {}", excerpt(raw)) });
    }
    Some(id.unwrap_or_else(|| Id::Text(raw.get().into())))
}

fn time_of(field: &'static str, raw: Option<&RawValue>, flaws: &mut Vec<Flaw>) -> Option<Time> {
    let raw = raw?;
    if let Some(time) = micros(raw.get()) {
        return Some(time);
    }
    flaws.push(Flaw { field, text: format!("expected a number of microseconds, found {}", excerpt(raw)) });
    text(raw).and_then(|text| micros(&text))
}

/// Microseconds in decimal to nanoseconds: exact up to three decimals, rounded beyond.
fn micros(text: &str) -> Option<Time> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) {
        // A number with an exponent, or not a number.
        let value: f64 = text.parse().ok().filter(|value: &f64| value.is_finite())?;
        return text
            .starts_with(|first: char| first == '-' || first.is_ascii_digit())
            .then_some(Time { nanos: (value * 1e3).round() as i64, decimals: 3 });
    }
    let whole: i64 = whole.parse().ok()?;
    // Four decimals: three are nanoseconds, the fourth rounds.
    let fourth = fraction.bytes().chain(std::iter::repeat(b'0')).take(4);
    let tenths = fourth.fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let nanos = whole.checked_mul(1_000)?.checked_add((tenths + 5) / 10)?;
    Some(Time { nanos: if negative { -nanos } else { nanos }, decimals: fraction.len().min(9) as u8 })
}

/// The beginning of a JSON value, for a message.
pub(crate) fn excerpt(raw: &RawValue) -> String {
    let text = raw.get();
    match text.char_indices().nth(40) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exact() {
        let nanos = |text| micros(text).map(|time| (time.nanos, time.decimals));
        assert_eq!(nanos("0"), Some((0, 0)));
        assert_eq!(nanos("9007199254740993.001"), Some((9_007_199_254_740_993_001, 3)));
        assert_eq!(nanos("1.5"), Some((1_500, 1)));
        assert_eq!(nanos("-1.0005"), Some((-1_001, 4)));
        assert_eq!(nanos("12.34567"), Some((12_346, 5)));
        assert_eq!(nanos("1e3"), Some((1_000_000, 3)));
        assert_eq!(nanos("99999999999999999999"), None);
        for invalid in ["", "-", ".5", "null", "true", "NaN", "inf", "\"1\"", "1.2.3"] {
            assert_eq!(nanos(invalid), None, "{invalid}");
        }
    }

    #[test]
    fn each_invalid_field_is_reported_and_hides_no_other_field() {
        let text = br#"{"ph":"Q","name":7,"pid":[1],"tid":1.5,"ts":"12.5","dur":[1],"args":{}}"#;
        let record = Record::parse(3, text).unwrap();
        let flaws: Vec<_> = record.flaws.iter().map(|flaw| format!("{}: {}", flaw.field, flaw.text)).collect();
        assert_eq!(
            flaws,
            [
                "ph: \"Q\" is not a phase of the format",
                "name: expected a text, found 7",
                "pid: expected a whole number or a text, found [1]",
                "tid: expected a whole number or a text, found 1.5",
                "ts: expected a number of microseconds, found \"12.5\"",
                "dur: expected a number of microseconds, found [1]",
            ]
        );
        assert_eq!(record.start.map(|time| time.nanos), Some(12_500));
        assert_eq!(record.duration, None);
        assert!(record.pid.is_some() && record.pid != record.tid);
    }

    #[test]
    fn the_last_of_several_fields_of_one_name_counts() {
        let text =
            br#"{"ph":"X","name":"a","n\u0061me":"b","other":1,"other":2,"ts":1,"dur":2,"ts":3,"pid":1,"tid":1}"#;
        let record = Record::parse(1, text).unwrap();
        assert_eq!((record.name.as_ref(), record.start.map(|time| time.nanos)), ("b", Some(3_000)));
        let flaws: Vec<_> = record.flaws.iter().map(|flaw| (flaw.field, flaw.text.as_str())).collect();
        let text = "stands more than once: the last one counts";
        assert_eq!(flaws, [("name", text), ("ts", text)]);
    }

    #[test]
    fn ids_are_numbers_or_texts() {
        let ids = |text: &str| {
            let record = Record::parse(1, text.as_bytes()).unwrap();
            assert_eq!(record.flaws, [], "{text}");
            (record.pid.unwrap(), record.tid.unwrap())
        };
        let text = |text: &str| Id::Text(text.into());
        assert_eq!(ids(r#"{"pid":7,"tid":18446744073709551615}"#), (Id::Number(7), Id::Number(u64::MAX.into())));
        assert_eq!(ids(r#"{"pid":-1,"tid":0}"#), (Id::Number(-1), Id::Number(0)));
        assert_eq!(ids(r#"{"pid":"Spans","tid":"GPU 0 \u00e9"}"#), (text("Spans"), text("GPU 0 é")));
        assert_eq!(ids(r#"{"pid":"7","tid":""}"#), (Id::Number(7), text("")));
        assert_eq!((Id::Number(7).to_string(), text("a\n").to_string()), ("7".to_owned(), r#""a\n""#.to_owned()));
    }

    #[test]
    fn names_with_escapes_are_decoded() {
        let record = Record::parse(1, br#"{"ph":"X","name":"a\u00e9\n","cat":"op"}"#).unwrap();
        assert_eq!((record.name.as_ref(), record.category.as_ref()), ("aé\n", "op"));
        assert!(matches!(record.category, Cow::Borrowed(_)));
    }
}
