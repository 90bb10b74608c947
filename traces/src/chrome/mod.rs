//! Chrome trace files: writing them and reading them.
//!
//! The format is the JSON *array* form of the Trace Event Format, one record per line:
//!
//! ```json
//! [
//! {"ph":"M","pid":71,"tid":71,"name":"process_name","args":{"name":"inferometer"}}
//! ,{"ph":"i","s":"p","pid":71,"tid":71,"ts":5000.000,"name":"clock","cat":"tool","args":{"unix_us":1767225605000000}}
//! ,{"ph":"X","pid":71,"tid":71,"ts":5012.250,"dur":31.004,"name":"q_proj","cat":"op","args":{"layer":3,"shape":[1,576,576]}}
//! ,{"ph":"C","pid":71,"tid":71,"ts":5050.000,"name":"memory MB","args":{"anon":12.5,"file":98.0}}
//! ]
//! ```
//!
//! - `X` records (start and duration) instead of `B`/`E` pairs: half the size, and nothing to pair.
//! - The comma stands before a record, so that the file is an array without its `]` after every single write: all of
//!   Perfetto, catapult and speedscope accept that; two of them refuse `,]`, or an object form that is cut.
//! - `ts` and `dur` are microseconds with three decimals, printed from whole nanoseconds. `ts` counts from the origin of
//!   [`clock::now`](crate::clock::now), which all processes of a machine share; the `clock` record ties it to wall time.
//! - The `shape` of an op is written where it differs from that of the op of the same name in front of it on its thread.
//! - Spaces may stand in front of a line's end: no record crosses a page of the file, so that not even a kill inside a write
//!   leaves half of one (the module `file` says how).
//! - Real process and thread ids; names for both. Numbers in `args` are numbers.

mod append;
mod file;
mod line;
mod read;
mod record;
mod scan;
mod writer;

pub use append::{AppendError, Appended};
pub use read::{Broken, Form, Item, ReadError, Trace, read};
pub use record::{Flaw, Phase, Record, Time};
pub(crate) use record::{is_number, shown};
pub use writer::{Process, WriteError, Writer, Written};
