//! Writing and reading Chrome trace files.
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
//! - Spans are `X` records (start and duration) instead of `B`/`E` pairs: half the size, and nothing to pair.
//! - The comma is at the beginning of a record, so that the file is an array without its `]` after every write. Perfetto,
//!   catapult and speedscope accept that; two of them reject `,]`, or a truncated object form.
//! - `ts` and `dur` are microseconds with three decimals, printed from whole nanoseconds. `ts` counts from an epoch, which
//!   keeps it short. The `clock` record has the epoch: `epoch_ns` on [`clock::now`](crate::clock::now), whose origin all
//!   processes of a machine share, so that files with the same epoch can be combined; `unix_us` is the wall time at its `ts`.
//! - An op has no `cat`: the `clock` record has the category of spans without one, and readers add it.
//! - A span whose end is not known when its inner spans are written has a `B` and an `E` record instead.
//! - The `shape` of an op is written when it differs from that of the previous op with the same name on its thread.
//! - A line may end with spaces: no record crosses a page of the file, so that even a kill inside a write leaves no partial
//!   record (see the module `line_file`).
//! - Process and thread ids are the operating system's; both have names. Numbers in `args` are JSON numbers.

mod line;
mod line_file;
mod other;
mod read;
mod record;
mod scan;
mod writer;

pub use other::{Other, Reader};
pub use read::{Broken, Form, Item, ReadError, Trace, read};
pub(crate) use record::excerpt;
pub use record::{Flaw, Id, Phase, Record, Time, TimeAxis};
pub use writer::{AppendError, Appended, Process, WriteError, Writer, Written};
