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

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Pass, Reason, Reasons};

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

    /// The reason of its absence.
    pub fn reason(&self) -> Option<&Reason> {
        self.as_result().err()
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
        Ok(value.map_or_else(|| Self::Absent(Reason::unrecorded()), Self::Present))
    }
}

/// Values by name, such as counters.
pub type RecordedMap = BTreeMap<String, Recorded<f64>>;

/// A field of a row. Only [`Recorded`] values have reasons; for other types the provided methods do nothing.
pub(crate) trait Field {
    /// The field of a row in which every value is absent for the same reason.
    fn absent(reason: &Reason) -> Self;

    /// Adds the reasons of absent values to those that are written.
    fn add_reasons(&self, _name: &str, _reasons: &mut Reasons) {}

    /// Takes the reasons of absent values out of those that were read.
    fn take_reasons(&mut self, _name: &str, _reasons: &mut Reasons) {}
}

impl<T> Field for Recorded<T> {
    fn absent(reason: &Reason) -> Self {
        Self::Absent(reason.clone())
    }

    fn add_reasons(&self, name: &str, reasons: &mut Reasons) {
        if let Some(reason) = self.reason().filter(|reason| **reason != Reason::unrecorded()) {
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

/// Types of fields that are never `null`, or not written where they do not apply.
macro_rules! without_reason {
    ($($type:ty),* $(,)?) => { $(impl Field for $type {
        fn absent(_reason: &Reason) -> Self {
            Self::default()
        }
    })* };
}

without_reason!(String, bool, u32, u64, usize, f64, Pass, Reasons, BTreeMap<String, f64>);

impl<T> Field for Option<T> {
    fn absent(_reason: &Reason) -> Self {
        None
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
/// The row can be written and read, and has `absent` and `reasons`. An `Option` in a row must not be written while it is `None`: it is
/// a field that does not apply to every row.
///
/// `remote = "Self"` has serde derive functions instead of the traits, so that reading can move the reasons to their values.
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
                let mut reasons = self.notes.clone();
                $($crate::recorded::Field::add_reasons(&self.$field, stringify!($field), &mut reasons);)*
                reasons
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
                let mut notes = std::mem::take(&mut row.notes);
                $($crate::recorded::Field::take_reasons(&mut row.$field, stringify!($field), &mut notes);)*
                row.notes = notes;
                Ok(row)
            }
        }
    };
}
pub(crate) use with_reasons;

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
