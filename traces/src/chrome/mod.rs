//! Chrome trace files: writing them and reading them.
//!
//! The format is the JSON *array* form of the Trace Event Format, one record per line:
//!
//! ```json
//! [
//! {"ph":"M","pid":71,"tid":71,"name":"process_name","args":{"name":"inferometer"}}
//! ,{"ph":"i","s":"p","pid":71,"tid":71,"ts":0.000,"name":"clock","cat":"tool",
//!   "args":{"unix_us":1767225605000000,"epoch_ns":5000000000,"uncategorised":"op"}}
//! ,{"ph":"X","pid":71,"tid":71,"ts":12.250,"dur":31.004,"name":"q_proj","args":{"layer":3,"shape":[1,576,576]}}
//! ,{"ph":"C","pid":71,"tid":71,"ts":50.000,"name":"memory MB","args":{"anon":12.5,"file":98.0}}
//! ]
//! ```
//!
//! - `X` records (start and duration) instead of `B`/`E` pairs: half the size, and nothing to pair.
//! - The comma stands before a record, so that the file is an array without its `]` after every single write: all of
//!   Perfetto, catapult and speedscope accept that; two of them refuse `,]`, or an object form that is cut.
//! - `ts` and `dur` are microseconds with three decimals, printed from whole nanoseconds. `ts` counts from an epoch, which
//!   keeps it short; the `clock` record says which one: `epoch_ns` on [`clock::now`](crate::clock::now), whose origin all
//!   processes of a machine share, so that files of one epoch can be put together; `unix_us` is the wall time at its `ts`.
//! - An op has no `cat`: the `clock` record says what spans without one are, and readers fill it in.
//! - A span whose end is not known when its insides are written has a `B` and an `E` instead.
//! - The `shape` of an op is written where it differs from that of the op of the same name in front of it on its thread.
//! - Spaces may stand in front of a line's end: no record crosses a page of the file, so that not even a kill inside a write
//!   leaves half of one (the module `file` says how).
//! - Real process and thread ids; names for both. Numbers in `args` are numbers.

mod append;
mod axis;
mod file;
mod line;
mod read;
mod record;
mod scan;
mod writer;

pub use append::{AppendError, Appended};
pub use axis::Axis;
pub use read::{Broken, Form, Item, ReadError, Trace, read};
pub use record::{Flaw, Phase, Record, Time};
pub(crate) use record::{is_number, shown};
pub use writer::{Process, WriteError, Writer, Written};
