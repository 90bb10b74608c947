//! [`CacheCeilings`]: the rates of the levels of cache.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::recorded::Field;
use super::{Reason, Reasons, Recorded, RecordedList, Spread};

/// One level of cache.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CacheCeiling {
    /// 1 is the nearest to the core.
    pub level: usize,
    /// The size that these threads have of it together, in bytes.
    pub size_bytes: u64,
    /// Bytes per second that all threads read from it together.
    pub read: Spread,
}

/// The levels of cache that were measured, the nearest first, and why each of the others was not.
///
/// In a file only the measured levels are in the list. The row has the reasons: of a level under `caches.LEVEL`, of an empty list under
/// `caches`.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheCeilings {
    measured: RecordedList<CacheCeiling>,
    absent: BTreeMap<usize, Reason>,
}

impl CacheCeilings {
    /// Levels of cache, each with what was measured or why it was not; `without` is the reason where none was measured.
    pub fn new(levels: impl IntoIterator<Item = (usize, Recorded<CacheCeiling>)>, without: impl Into<Reason>) -> Self {
        let (mut measured, mut absent) = (Vec::new(), BTreeMap::new());
        for (level, found) in levels {
            match found {
                Recorded::Present(cache) => measured.push(cache),
                Recorded::Absent(reason) => drop(absent.insert(level, reason)),
            }
        }
        Self { measured: RecordedList::new(measured, without), absent }
    }

    /// Measured levels, where nothing is known of others; `without` is the reason where there is none.
    pub fn measured(caches: Vec<CacheCeiling>, without: impl Into<Reason>) -> Self {
        Self { measured: RecordedList::new(caches, without), absent: BTreeMap::new() }
    }

    /// No level, for one reason.
    pub fn absent(reason: impl Into<Reason>) -> Self {
        Self::new([], reason)
    }

    /// Why a level was not measured.
    pub fn reason_of(&self, level: usize) -> Option<&Reason> {
        self.absent.get(&level)
    }

    /// Why no level was measured.
    pub fn reason(&self) -> Option<&Reason> {
        self.measured.reason()
    }

    /// The same without some levels, for these reasons; `without` is the reason where none is left.
    pub(super) fn withhold(self, found: Vec<(usize, Reason)>, without: impl Into<Reason>) -> Self {
        let kept = self.measured.iter().filter(|cache| !found.iter().any(|(level, _)| *level == cache.level));
        let measured = RecordedList::new(kept.cloned().collect(), without);
        Self { measured, absent: self.absent.into_iter().chain(found).collect() }
    }
}

impl Deref for CacheCeilings {
    type Target = [CacheCeiling];

    fn deref(&self) -> &[CacheCeiling] {
        &self.measured
    }
}

impl Field for CacheCeilings {
    fn absent(reason: &Reason) -> Self {
        Self::absent(reason.clone())
    }

    fn add_reasons(&self, name: &str, reasons: &mut Reasons) {
        self.measured.add_reasons(name, reasons);
        reasons.extend(self.absent.iter().map(|(level, reason)| (format!("{name}.{level}"), reason.to_string())));
    }

    fn take_reasons(&mut self, name: &str, reasons: &mut Reasons) {
        self.measured.take_reasons(name, reasons);
        let level_of = |key: &str| key.strip_prefix(name)?.strip_prefix('.')?.parse::<usize>().ok();
        for (key, reason) in std::mem::take(reasons) {
            match level_of(&key) {
                Some(level) => drop(self.absent.insert(level, reason.into())),
                None => drop(reasons.insert(key, reason)),
            }
        }
    }
}

impl Serialize for CacheCeilings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.measured.serialize(serializer)
    }
}

/// Levels without reasons: the row adds these.
impl<'de> Deserialize<'de> for CacheCeilings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { measured: RecordedList::deserialize(deserializer)?, absent: BTreeMap::new() })
    }
}
