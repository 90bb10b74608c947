//! [`Axis`]: what a file's `clock` record says about its times and its spans.

use serde::Deserialize;

use super::record::{Phase, Record};
use crate::Nanos;
use crate::record::Category;

/// The record's name, and its arguments.
pub(super) const CLOCK: &str = "clock";
pub(super) const UNIX: &str = "unix_us";
pub(super) const EPOCH: &str = "epoch_ns";
pub(super) const PLAIN: &str = "uncategorised";

/// How a file's times and spans are to be read; a file without such a record counts from the clock's origin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Axis {
    /// The reading of [`clock::now`](crate::clock::now) at which `ts` is 0.
    pub epoch: Nanos,
    /// Spans without a category are ops.
    pub(super) plain_ops: bool,
}

#[derive(Deserialize)]
struct Args<'a> {
    #[serde(default)]
    epoch_ns: Nanos,
    #[serde(default, borrow)]
    uncategorised: Option<&'a str>,
}

impl Axis {
    /// What this record says, where it is the one.
    pub(super) fn of(record: &Record<'_>) -> Option<Self> {
        if record.phase != Phase::Instant || record.name != CLOCK {
            return None;
        }
        let args: Args<'_> = serde_json::from_str(record.args?.get()).ok()?;
        Some(Self { epoch: args.epoch_ns, plain_ops: args.uncategorised == Some(Category::Op.name()) })
    }
}
