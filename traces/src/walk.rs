//! [`each_span`]: every span of a trace in its place, in memory that does not grow with the trace.
//!
//! Spans are folded away while the file is read ([`Folder`]). A file whose spans are not in order, so that one lies among
//! those that are folded away, is read again with all of its spans in memory.

use crate::chrome::{Item, ReadError, Trace};
use crate::lanes::{Lanes, Texts};
use crate::nesting::{Folder, Kinds, Placed};

/// Spans of one thread that are gathered before they are folded, beyond twice those that are kept.
const GATHERED: usize = 1 << 15;

/// What a trace holds beside its spans.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) texts: Texts,
    /// Threads and tracks with spans.
    pub(crate) threads: u64,
    /// Records that the recorder dropped.
    pub(crate) dropped: u64,
    /// Spans without one of their ends, or of negative duration.
    pub(crate) unpaired: u64,
    /// Places that hold no record.
    pub(crate) broken: u64,
}

/// Hands every span to `take`, with what `take` has made of those before, begun by `S::default()`.
///
/// # Errors
/// When the file can no longer be read.
pub(crate) fn each_span<S: Default>(
    trace: &Trace,
    take: impl Fn(&mut S, &Placed, Kinds),
) -> Result<(S, Walked), ReadError> {
    match attempt(trace, GATHERED, &take)? {
        Some(walked) => Ok(walked),
        // Nothing is folded away, so nothing can be missed.
        None => Ok(attempt(trace, usize::MAX, &take)?.unwrap_or_default()),
    }
}

/// The same where at most so many spans are gathered; `None` where one came too late.
fn attempt<S: Default>(
    trace: &Trace,
    gathered: usize,
    take: &impl Fn(&mut S, &Placed, Kinds),
) -> Result<Option<(S, Walked)>, ReadError> {
    let (mut lanes, mut folders, mut state, mut in_time) = (Lanes::default(), Vec::new(), S::default(), true);
    let mut walked = Walked::default();
    let kinds = Kinds::of(&mut lanes.texts);
    trace.visit(|item| {
        let Item::Record(record) = item else {
            walked.broken += 1;
            return;
        };
        walked.unpaired += u64::from(lanes.add(&record).is_err());
        walked.dropped += record.dropped();
        let Some((place, lane)) = lanes.current() else { return };
        if lane.spans.len() < gathered || !in_time {
            return;
        }
        folders.resize_with(folders.len().max(place + 1), Folder::default);
        if let Some(folder) = folders.get_mut(place)
            && lane.spans.len() >= gathered.saturating_add(2 * folder.len())
        {
            in_time = folder.fold(&mut lane.spans, kinds, true, |placed| take(&mut state, &placed, kinds));
        }
    })?;
    folders.resize_with(lanes.lanes.len(), Folder::default);
    for (lane, folder) in lanes.lanes.iter_mut().zip(&mut folders) {
        walked.threads += u64::from(!lane.spans.is_empty() || folder.len() > 0);
        walked.unpaired += lane.open.len() as u64;
        in_time &= folder.fold(&mut lane.spans, kinds, false, |placed| take(&mut state, &placed, kinds));
    }
    walked.texts = lanes.texts;
    Ok(in_time.then_some((state, walked)))
}
