//! Values that carry the reason of their absence, and the rows of a record that contain them.
//!
//! In a file an absent value is `null`, and the map `reasons` of the same object has its reason under the name of the field:
//!
//! ```text
//! EnergyRow { mean_w: Absent("the stepped pass has no times"), .. }   in memory
//! { "mean_w": null, "reasons": { "mean_w": "the stepped pass has no times" } }   in a file
//! ```
//!
//! [`with_reasons`] defines such a row. Its code cannot create a `null` without a reason, or a reason for a field that does not exist.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use engine_api::RecordedKvTypes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Moment, Pass, PhaseOrOther, Reason};

/// Why fields of the same object are absent: field name to reason.
pub type Reasons = BTreeMap<String, String>;

/// A value of a record, or the reason why it is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded<T> {
    /// It was measured or computed.
    Present(T),
    /// It was not, for a reason.
    Absent(Reason),
}

impl<T> Recorded<T> {
    /// An absent value.
    pub fn absent(reason: impl Into<Reason>) -> Self {
        Self::Absent(reason.into())
    }

    /// A value; `without` is the reason where there is none.
    pub fn of(value: Option<T>, without: impl Into<Reason>) -> Self {
        value.map_or_else(|| Self::absent(without), Self::Present)
    }

    /// The value, without the reason of its absence.
    pub fn value(&self) -> Option<T>
    where
        T: Copy,
    {
        self.as_ref().copied()
    }

    /// A reference to the value, without the reason of its absence.
    pub fn as_ref(&self) -> Option<&T> {
        self.as_result().ok()
    }

    /// A reference to the value that can change it.
    pub fn as_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent(_) => None,
        }
    }

    /// What the value points to, without the reason of its absence.
    pub fn as_deref(&self) -> Option<&T::Target>
    where
        T: Deref,
    {
        self.as_ref().map(Deref::deref)
    }

    /// The reason of its absence.
    pub fn reason(&self) -> Option<&Reason> {
        self.as_result().err()
    }

    /// The reason of its absence, where one is known: files of earlier versions do not always have one.
    pub fn stated_reason(&self) -> Option<&Reason> {
        self.reason().filter(|reason| **reason != Reason::unrecorded())
    }

    /// An absent value of a file that has no reason for it.
    pub(crate) fn unrecorded() -> Self {
        Self::Absent(Reason::unrecorded())
    }

    /// The value or the reason, as references.
    ///
    /// # Errors
    /// When it is absent.
    pub fn as_result(&self) -> Result<&T, &Reason> {
        match self {
            Self::Present(value) => Ok(value),
            Self::Absent(reason) => Err(reason),
        }
    }

    /// Whether there is a value.
    pub fn is_present(&self) -> bool {
        self.as_result().is_ok()
    }

    /// Whether there is none.
    pub fn is_absent(&self) -> bool {
        !self.is_present()
    }

    /// Changes a value; a reason stays.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Recorded<U> {
        Result::from(self).map(change).into()
    }
}

impl<T> From<T> for Recorded<T> {
    fn from(value: T) -> Self {
        Self::Present(value)
    }
}

impl<T> From<Result<T, Reason>> for Recorded<T> {
    fn from(found: Result<T, Reason>) -> Self {
        match found {
            Ok(value) => Self::Present(value),
            Err(reason) => Self::Absent(reason),
        }
    }
}

impl<T> From<Recorded<T>> for Result<T, Reason> {
    fn from(recorded: Recorded<T>) -> Self {
        match recorded {
            Recorded::Present(value) => Ok(value),
            Recorded::Absent(reason) => Err(reason),
        }
    }
}

impl<T: Serialize> Serialize for Recorded<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_ref().serialize(serializer)
    }
}

/// `null` and a missing field are absent values; the row adds their reasons.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Recorded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Option::deserialize(deserializer)?;
        Ok(value.map_or_else(Self::unrecorded, Self::Present))
    }
}

/// A list of a record that has an entry, or the reason why it has none. In a file the list without an entry is `[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedList<T>(Recorded<Vec<T>>);

impl<T> RecordedList<T> {
    /// A list without an entry.
    pub fn absent(reason: impl Into<Reason>) -> Self {
        Self(Recorded::absent(reason))
    }

    /// These entries; `without` is the reason where there are none.
    pub fn new(entries: Vec<T>, without: impl Into<Reason>) -> Self {
        if entries.is_empty() { Self::absent(without) } else { Self(Recorded::Present(entries)) }
    }

    /// The reason why it has no entry.
    pub fn reason(&self) -> Option<&Reason> {
        self.0.reason()
    }

    /// The reason why it has no entry, where one is known: files of earlier versions do not always have one.
    pub fn stated_reason(&self) -> Option<&Reason> {
        self.0.stated_reason()
    }

    /// Adds entries at the end.
    pub fn extend(&mut self, entries: impl IntoIterator<Item = T>) {
        let mut entries = entries.into_iter().peekable();
        match &mut self.0 {
            Recorded::Present(known) => known.extend(entries),
            Recorded::Absent(_) if entries.peek().is_some() => self.0 = Recorded::Present(entries.collect()),
            Recorded::Absent(_) => {}
        }
    }
}

impl<T> From<Result<Vec<T>, Reason>> for RecordedList<T> {
    fn from(found: Result<Vec<T>, Reason>) -> Self {
        match found {
            Ok(entries) => Self::new(entries, "the list is empty"),
            Err(reason) => Self::absent(reason),
        }
    }
}

/// Known entries, at least one.
impl<T, const N: usize> From<[T; N]> for RecordedList<T> {
    fn from(entries: [T; N]) -> Self {
        const { assert!(N > 0, "a list without an entry needs a reason") };
        Self(Recorded::Present(entries.into()))
    }
}

impl<T> Deref for RecordedList<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<T> DerefMut for RecordedList<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.0.as_mut().map_or(&mut [], Vec::as_mut_slice)
    }
}

impl<'a, T> IntoIterator for &'a mut RecordedList<T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl<'a, T> IntoIterator for &'a RecordedList<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Serialize> Serialize for RecordedList<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.deref().serialize(serializer)
    }
}

/// A list without an entry is absent; the row adds its reason.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for RecordedList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(Vec::deserialize(deserializer)?, Reason::unrecorded()))
    }
}

/// The list of a file that has none.
impl<T> Default for RecordedList<T> {
    fn default() -> Self {
        Self::absent(Reason::unrecorded())
    }
}

/// Values by name, such as counters.
pub type RecordedMap = BTreeMap<String, Recorded<f64>>;

/// A field of a row. Only [`Recorded`] values have reasons; for other types the provided methods do nothing.
pub trait Field: Sized {
    /// The field of a row in which every value is absent for the same reason.
    fn absent(reason: &Reason) -> Self;

    /// Adds the reasons of absent values to those that are written.
    fn add_reasons(&self, _name: &str, _reasons: &mut Reasons) {}

    /// Takes the reasons of absent values out of those that were read.
    fn take_reasons(&mut self, _name: &str, _reasons: &mut Reasons) {}

    /// The absent value whose reason was read although the field was not.
    fn of_reason(_name: &str, _reasons: &mut Reasons) -> Option<Self> {
        None
    }
}

/// The field of a file that does not have it.
pub(crate) fn unrecorded<T: Field>() -> T {
    T::absent(&Reason::unrecorded())
}

impl<T> Field for Recorded<T> {
    fn absent(reason: &Reason) -> Self {
        Self::Absent(reason.clone())
    }

    fn add_reasons(&self, name: &str, reasons: &mut Reasons) {
        if let Some(reason) = self.stated_reason() {
            reasons.insert(name.to_owned(), reason.to_string());
        }
    }

    fn take_reasons(&mut self, name: &str, reasons: &mut Reasons) {
        if let Self::Absent(absent) = self
            && let Some(reason) = reasons.remove(name)
        {
            *absent = reason.into();
        }
    }

    fn of_reason(name: &str, reasons: &mut Reasons) -> Option<Self> {
        reasons.remove(name).map(Self::absent)
    }
}

impl<T> Field for RecordedList<T> {
    fn absent(reason: &Reason) -> Self {
        Self::absent(reason.clone())
    }

    fn add_reasons(&self, name: &str, reasons: &mut Reasons) {
        self.0.add_reasons(name, reasons);
    }

    fn take_reasons(&mut self, name: &str, reasons: &mut Reasons) {
        self.0.take_reasons(name, reasons);
    }
}

/// The reasons are under the names of the values.
impl Field for RecordedMap {
    fn absent(_reason: &Reason) -> Self {
        Self::new()
    }

    fn add_reasons(&self, _name: &str, reasons: &mut Reasons) {
        self.iter().for_each(|(name, value)| value.add_reasons(name, reasons));
    }

    fn take_reasons(&mut self, _name: &str, reasons: &mut Reasons) {
        self.iter_mut().for_each(|(name, value)| value.take_reasons(name, reasons));
    }
}

/// Declares types of fields that are never `null`, or not written where they do not apply.
#[macro_export]
macro_rules! without_reason {
    ($($type:ty),* $(,)?) => { $(impl $crate::recorded::Field for $type {
        fn absent(_reason: &$crate::Reason) -> Self {
            Self::default()
        }
    })* };
}
pub use without_reason;

without_reason!(
    String, bool, u32, u64, usize, f64, Pass, PhaseOrOther, Reasons, BTreeMap<String, f64>, RecordedKvTypes
);

impl Field for Moment {
    /// A row that has a moment has it always.
    fn absent(_reason: &Reason) -> Self {
        Self::Before
    }
}

/// `None` is a field that does not apply to this row.
impl<T: Field> Field for Option<T> {
    fn absent(_reason: &Reason) -> Self {
        None
    }

    fn add_reasons(&self, name: &str, reasons: &mut Reasons) {
        if let Some(value) = self {
            value.add_reasons(name, reasons);
        }
    }

    fn take_reasons(&mut self, name: &str, reasons: &mut Reasons) {
        match self {
            Some(value) => value.take_reasons(name, reasons),
            // In a file the field that does not apply and the absent value are alike, but for the reason.
            None => *self = T::of_reason(name, reasons),
        }
    }
}

impl<T> Field for Vec<T> {
    fn absent(_reason: &Reason) -> Self {
        Self::new()
    }
}

/// Defines a row: a structure with [`Recorded`] fields, and a field `notes` that is written as `reasons` together with the reasons of
/// the absent values.
///
/// The row can be written and read, and has `absent` and `reasons`. An `Option` in a row is no absent figure:
/// `None` is a field that does not apply to the row. `Option<Recorded<T>>` is one that may be absent where it applies.
///
/// `remote = "Self"` has serde derive functions instead of the traits, so that reading can move the reasons to their values.
#[macro_export]
macro_rules! with_reasons {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $row:ident {
            $($(#[$of_field:meta])* $visibility_of_field:vis $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(remote = "Self")]
        $visibility struct $row {
            $($(#[$of_field])* $visibility_of_field $field: $type,)*
        }

        impl $row {
            /// A row whose values are all absent for the same reason; its other fields are zero or empty.
            $visibility fn absent(reason: impl Into<$crate::Reason>) -> Self {
                let reason = reason.into();
                Self { $($field: $crate::recorded::Field::absent(&reason),)* }
            }

            /// The map `reasons` as it is written: the notes, and why each absent value is absent, by field name.
            $visibility fn reasons(&self) -> $crate::Reasons {
                let mut reasons = $crate::Reasons::from(self.notes.clone());
                $($crate::recorded::Field::add_reasons(&self.$field, stringify!($field), &mut reasons);)*
                reasons
            }
        }

        /// A row in a row has reasons of its own.
        impl $crate::recorded::Field for $row {
            fn absent(reason: &$crate::Reason) -> Self {
                Self::absent(reason.clone())
            }
        }

        impl serde::Serialize for $row {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Self::serialize(self, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $row {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut row = Self::deserialize(deserializer)?;
                let mut notes = $crate::Reasons::from(std::mem::take(&mut row.notes));
                $($crate::recorded::Field::take_reasons(&mut row.$field, stringify!($field), &mut notes);)*
                row.notes = notes.into();
                Ok(row)
            }
        }
    };
}
pub use with_reasons;

#[cfg(test)]
mod tests {
    use super::*;

    with_reasons! {
        /// A row.
        struct Row {
            name: String,
            time_s: Recorded<f64>,
            bytes: Recorded<u64>,
            counters: RecordedMap,
            #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
            notes: Reasons,
        }
    }

    with_reasons! {
        /// A row with a value that some rows do not have, and a list.
        struct Wide {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            watts: Option<Recorded<f64>>,
            #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
            levels: RecordedList<u32>,
            #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
            notes: Reasons,
        }
    }

    fn wide(text: &str) -> Wide {
        serde_json::from_str(text).unwrap()
    }

    fn read(text: &str) -> Row {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_absent_value_is_null_with_its_reason_in_the_same_object() {
        let row = Row {
            name: "a".to_owned(),
            bytes: 7.into(),
            counters: [
                ("cycles".to_owned(), Recorded::absent("not allowed")),
                ("faults".to_owned(), Recorded::Present(2.0)),
            ]
            .into(),
            notes: [("faults".to_owned(), "extrapolated".to_owned())].into(),
            ..Row::absent("no clock")
        };
        let text = serde_json::to_string(&row).unwrap();
        insta::assert_snapshot!(text, @r#"{"name":"a","time_s":null,"bytes":7,"counters":{"cycles":null,"faults":2.0},"reasons":{"cycles":"not allowed","faults":"extrapolated","time_s":"no clock"}}"#);
        assert_eq!(read(&text), row);
        let complete = Row { time_s: 1.5.into(), bytes: 7.into(), ..Row::absent("unused") };
        insta::assert_snapshot!(serde_json::to_string(&complete).unwrap(), @r#"{"name":"","time_s":1.5,"bytes":7,"counters":{}}"#);
    }

    #[test]
    fn a_value_that_applies_to_some_rows_is_not_written_for_the_others() {
        let applies = Wide { watts: Some(Recorded::absent("not allowed")), ..Wide::absent(Reason::unrecorded()) };
        let text = serde_json::to_string(&applies).unwrap();
        insta::assert_snapshot!(text, @r#"{"watts":null,"reasons":{"watts":"not allowed"}}"#);
        assert_eq!(wide(&text), applies);
        assert_eq!(wide(r#"{"reasons":{"watts":"not allowed"}}"#), applies, "older files do not have the null");
        assert_eq!(serde_json::to_string(&wide("{}")).unwrap(), "{}");
        assert_eq!(wide(r#"{"watts":2.5}"#).watts, Some(Recorded::Present(2.5)));
    }

    #[test]
    fn a_list_without_an_entry_has_its_reason() {
        let row = |levels| Wide { levels, ..Wide::absent("unused") };
        let text = serde_json::to_string(&row(RecordedList::new(Vec::new(), "not reported"))).unwrap();
        insta::assert_snapshot!(text, @r#"{"reasons":{"levels":"not reported"}}"#);
        assert_eq!(wide(&text).levels, RecordedList::absent("not reported"));
        let mut some = RecordedList::new(vec![2], "unused");
        assert_eq!(wide(&serde_json::to_string(&row(some.clone())).unwrap()).levels, some);
        some.extend([3]);
        assert_eq!((&*some, some.reason()), (&[2, 3][..], None));
        let mut none = RecordedList::absent("not yet");
        none.extend([]);
        assert_eq!(none.reason().unwrap(), &"not yet");
        none.extend([5]);
        assert_eq!(none, RecordedList::new(vec![5], "unused"));
    }

    #[test]
    fn an_older_row_is_written_as_it_was_read() {
        for text in [
            r#"{"name":"","time_s":null,"bytes":null,"counters":{"cycles":null},"reasons":{"bytes":"why"}}"#,
            r#"{"name":"","time_s":1.0,"bytes":null,"counters":{},"reasons":{"gone":"a field of an older version","time_s":"a note"}}"#,
        ] {
            assert_eq!(serde_json::to_string(&read(text)).unwrap(), text);
        }
        let row = read(r#"{"name":"","bytes":null,"counters":{"cycles":null},"reasons":{"bytes":"why"}}"#);
        assert_eq!(row.time_s.reason().unwrap(), &"no reason was recorded", "a missing field");
        assert_eq!(row.counters["cycles"].reason().unwrap(), &"no reason was recorded");
        assert_eq!(row.bytes.reason().unwrap(), &"why");
        assert!(row.notes.is_empty());
    }
}
