//! Which spans enclose which, and the own time of each: [`nest`] for all spans of a thread at once, [`StreamNester`] for a stream
//! of them, and [`visit_spans`] for a trace file, in memory that does not grow with the trace.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::chrome::{Item, ReadError, Trace};
use crate::record::Category;
use crate::spans::{Span, SpansByThread, StringId, StringTable};

/// The number of a thread's spans that are collected before they are nested, beyond twice those that stay open.
const BATCH: usize = 1 << 15;

/// The ids of the categories that nesting distinguishes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CategoryIds {
    /// A phase: the spans inside it belong to it.
    pub(crate) phase: StringId,
    /// An operation of a model.
    pub(crate) op: StringId,
    /// A thread's share of an op: it takes no time from the enclosing op.
    pub(crate) work: StringId,
}

impl CategoryIds {
    pub(crate) fn new(strings: &mut StringTable) -> Self {
        let mut id = |category: Category| strings.id(category.name());
        Self { phase: id(Category::Phase), op: id(Category::Op), work: id(Category::Work) }
    }
}

/// The nearest enclosing phase and pass of a span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Enclosing {
    /// The phase.
    pub(crate) phase: Option<StringId>,
    /// The pass of the request.
    pub(crate) pass: Option<StringId>,
}

/// A span with its position among the others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NestedSpan {
    pub(crate) span: Span,
    /// The number of spans that enclose it.
    pub(crate) depth: usize,
    /// The span that encloses it directly.
    pub(crate) parent: Option<Span>,
    /// By how many nanoseconds it ends after its parent; 0 if it ends inside.
    pub(crate) overhang: i64,
    /// Its duration minus that of its direct children, in nanoseconds.
    pub(crate) own: i64,
    /// The enclosing phase and pass.
    pub(crate) enclosing: Enclosing,
    /// The pass that it belongs to: its own, or the enclosing one.
    pub(crate) pass: Option<StringId>,
}

/// Visits all spans of one thread; children before parents.
///
/// ```text
///   request  |--------------------------------------------|     own = duration - prefill - decode
///   prefill   |-------------------|                             own = duration - q_proj - k_proj
///   q_proj     |------|
///   k_proj             |-------|
///   decode                          |----------------|          overhang > 0 if it ended after `request`
///            ----------------------------------------------> time
/// ```
///
/// The spans are sorted by start, the longer first. The spans that enclose the current one are on a stack; those that ended
/// before its start are removed. A span that begins inside another and ends after it counts as inside up to that end, and
/// `overhang` is the rest. Of spans with equal times a phase is the outer one, then the one written first.
pub(crate) fn nest(spans: &mut [Span], categories: CategoryIds, visit: impl FnMut(NestedSpan)) {
    spans.sort_unstable_by_key(|span| order(span, categories));
    visit_sorted(spans.iter().map(|&span| Pending::new(span)), categories, None, visit);
}

fn order(span: &Span, categories: CategoryIds) -> (i64, Reverse<i64>, bool, u64) {
    (span.start, Reverse(span.duration), span.category != categories.phase, span.line)
}

/// Nests the spans of one thread in the order in which they are read, and keeps only those that may still be open: an enclosed
/// span is visited and dropped once a later span begins after its end. This requires spans that are roughly in order.
#[derive(Debug, Default)]
pub(crate) struct StreamNester {
    pending: Vec<Pending>,
}

/// A span that may get more children.
#[derive(Debug, Clone, Copy)]
struct Pending {
    span: Span,
    /// The time of its visited children.
    inner: i64,
    visited: Option<VisitedChildren>,
}

impl Pending {
    fn new(span: Span) -> Self {
        Self { span, inner: 0, visited: None }
    }
}

/// The visited children of a span.
#[derive(Debug, Clone, Copy)]
struct VisitedChildren {
    /// The latest end of one.
    until: i64,
    /// The enclosing phase and pass that they were visited with.
    enclosing: Enclosing,
}

impl StreamNester {
    /// Adds spans. If `more` will follow, it keeps the spans that nothing encloses and those that are open at the last start.
    /// Returns `false` if a span belongs among visited ones: then the visits so far are wrong.
    #[must_use]
    pub(crate) fn add(
        &mut self,
        spans: &mut Vec<Span>,
        categories: CategoryIds,
        more: bool,
        visit: impl FnMut(NestedSpan),
    ) -> bool {
        let mut all = std::mem::take(&mut self.pending);
        all.extend(spans.drain(..).map(Pending::new));
        all.sort_unstable_by_key(|pending| order(&pending.span, categories));
        visit_sorted(all.into_iter(), categories, more.then_some(&mut self.pending), visit)
    }

    /// The number of spans that it keeps.
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }
}

/// A span on the stack.
struct Frame {
    pending: Pending,
    depth: usize,
    parent: Option<Span>,
    overhang: i64,
    end: i64,
    enclosing: Enclosing,
    /// The enclosing phase and pass of its children.
    inside: Enclosing,
}

/// Visits spans that are sorted. Those that may still be open go to `keep`, if it is given. Returns `false` as
/// [`StreamNester::add`] does.
fn visit_sorted(
    spans: impl Iterator<Item = Pending>,
    categories: CategoryIds,
    mut keep: Option<&mut Vec<Pending>>,
    mut visit: impl FnMut(NestedSpan),
) -> bool {
    let mut stack: Vec<Frame> = Vec::new();
    let mut in_order = true;
    for pending in spans {
        let span = pending.span;
        while let Some(frame) = stack.pop_if(|frame| frame.end <= span.start) {
            match (&mut keep, stack.last_mut()) {
                (Some(keep), None) => keep.push(frame.pending),
                (_, parent) => finish(&frame, parent, categories, &mut visit),
            }
        }
        let depth = stack.len();
        let (mut parent, mut overhang, mut enclosing) = (None, 0, Enclosing::default());
        if let Some(outer) = stack.last() {
            parent = Some(outer.pending.span);
            overhang = span.end().saturating_sub(outer.end).max(0);
            enclosing = outer.inside;
            in_order &= outer.pending.visited.is_none_or(|visited| visited.until <= span.start);
        }
        let inside = Enclosing {
            phase: if span.category == categories.phase { Some(span.name) } else { enclosing.phase },
            pass: span.pass.or(enclosing.pass),
        };
        in_order &= pending.visited.is_none_or(|visited| visited.enclosing == inside);
        stack.push(Frame { pending, depth, parent, overhang, end: span.end(), enclosing, inside });
    }
    while let Some(frame) = stack.pop() {
        match &mut keep {
            Some(keep) => keep.push(frame.pending),
            None => finish(&frame, stack.last_mut(), categories, &mut visit),
        }
    }
    in_order
}

/// Visits a span that has ended, and subtracts its time from the own time of its parent.
fn finish(frame: &Frame, parent: Option<&mut Frame>, categories: CategoryIds, visit: &mut impl FnMut(NestedSpan)) {
    let &Frame { pending: Pending { span, inner, .. }, depth, overhang, enclosing, inside, .. } = frame;
    if let Some(parent) = parent {
        if span.category != categories.work {
            parent.pending.inner += span.duration - overhang.min(span.duration);
        }
        let until = parent.pending.visited.map_or(i64::MIN, |visited| visited.until).max(span.end());
        parent.pending.visited = Some(VisitedChildren { until, enclosing: parent.inside });
    }
    let own = span.duration - inner;
    visit(NestedSpan { span, depth, parent: frame.parent, overhang, own, enclosing, pass: inside.pass });
}

/// The content of a trace beside its spans.
#[derive(Debug, Default)]
pub(crate) struct TraceTotals {
    pub(crate) strings: StringTable,
    /// Threads and tracks with spans.
    pub(crate) threads: u64,
    /// Records that the recorder dropped.
    pub(crate) dropped: u64,
    /// Spans without a begin or an end, or with a negative duration.
    pub(crate) unpaired: u64,
    /// Places without a record.
    pub(crate) broken: u64,
    /// The cases of its requests.
    pub(crate) cases: BTreeSet<String>,
}

/// Visits every span of a trace. `visit` accumulates into a state that begins as `S::default()`.
///
/// Spans are visited while the file is read. If the spans of the file are not in order, so that one belongs among visited ones,
/// the file is read again with all its spans in memory.
///
/// # Errors
/// When the file can no longer be read.
pub(crate) fn visit_spans<S: Default>(
    trace: &Trace,
    visit: impl Fn(&mut S, &NestedSpan, CategoryIds),
) -> Result<(S, TraceTotals), ReadError> {
    match visit_in_batches(trace, BATCH, &visit)? {
        Some(visited) => Ok(visited),
        // One batch with all spans: none of them can come too late.
        None => Ok(visit_in_batches(trace, usize::MAX, &visit)?.unwrap_or_default()),
    }
}

/// Visits the spans in batches of this size; `None` if a span came too late.
fn visit_in_batches<S: Default>(
    trace: &Trace,
    batch: usize,
    visit: &impl Fn(&mut S, &NestedSpan, CategoryIds),
) -> Result<Option<(S, TraceTotals)>, ReadError> {
    let (mut spans, mut nesters, mut state, mut in_order) = (SpansByThread::default(), Vec::new(), S::default(), true);
    let mut totals = TraceTotals::default();
    let categories = CategoryIds::new(&mut spans.strings);
    trace.visit(|item| {
        let Item::Record(record) = item else {
            totals.broken += 1;
            return;
        };
        totals.unpaired += u64::from(spans.add(&record).is_err());
        totals.dropped += record.dropped();
        if let Some(case) = record.case().filter(|case| !totals.cases.contains(case.as_ref())) {
            totals.cases.insert(case.into_owned());
        }
        let Some((index, thread)) = spans.last_thread() else { return };
        if thread.spans.len() < batch || !in_order {
            return;
        }
        nesters.resize_with(nesters.len().max(index + 1), StreamNester::default);
        if let Some(nester) = nesters.get_mut(index)
            && thread.spans.len() >= batch.saturating_add(2 * nester.len())
        {
            in_order = nester.add(&mut thread.spans, categories, true, |span| visit(&mut state, &span, categories));
        }
    })?;
    nesters.resize_with(spans.threads.len(), StreamNester::default);
    for (thread, nester) in spans.threads.iter_mut().zip(&mut nesters) {
        totals.threads += u64::from(!thread.spans.is_empty() || nester.len() > 0);
        totals.unpaired += thread.open.len() as u64;
        in_order &= nester.add(&mut thread.spans, categories, false, |span| visit(&mut state, &span, categories));
    }
    totals.strings = spans.strings;
    Ok(in_order.then_some((state, totals)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASE: u32 = 1;

    fn id(number: u32) -> StringId {
        StringId::new(number + 1).unwrap()
    }

    fn categories() -> CategoryIds {
        CategoryIds { phase: id(PHASE), op: id(98), work: id(99) }
    }

    fn span(name: u32, start: i64, duration: i64) -> Span {
        let category = id(if name == 1 { PHASE } else { 0 });
        Span { start, duration, line: u64::from(name), name: id(name), category, pass: None }
    }

    /// (name, depth, own, overhang, phase) in order of names.
    fn nested(mut spans: Vec<Span>) -> Vec<(u32, usize, i64, i64, Option<u32>)> {
        let mut all = Vec::new();
        let number = |id: StringId| id.get() - 1;
        nest(&mut spans, categories(), |p| {
            all.push((number(p.span.name), p.depth, p.own, p.overhang, p.enclosing.phase.map(number)));
        });
        all.sort_unstable();
        all
    }

    #[test]
    fn own_time_is_the_duration_minus_that_of_children() {
        let spans = vec![span(3, 10, 5), span(0, 0, 100), span(2, 15, 20), span(1, 5, 40), span(4, 50, 50)];
        assert_eq!(
            nested(spans),
            [
                (0, 0, 10, 0, None),
                (1, 1, 15, 0, None),
                (2, 2, 20, 0, Some(1)),
                (3, 2, 5, 0, Some(1)),
                (4, 1, 50, 0, None)
            ]
        );
    }

    #[test]
    fn an_overlap_is_measured_and_counted_once() {
        assert_eq!(nested(vec![span(2, 0, 10), span(3, 6, 10)]), [(2, 0, 6, 0, None), (3, 1, 10, 6, None)]);
    }

    #[test]
    fn spans_that_touch_do_not_enclose_each_other() {
        let spans = vec![span(2, 0, 10), span(3, 10, 0), span(4, 10, 5)];
        assert_eq!(nested(spans), [(2, 0, 10, 0, None), (3, 1, 0, 0, None), (4, 0, 5, 0, None)]);
    }

    #[test]
    fn of_equal_spans_the_phase_is_the_outer_one() {
        assert_eq!(nested(vec![span(0, 0, 9), span(1, 0, 9)]), [(0, 1, 9, 0, Some(1)), (1, 0, 0, 0, None)]);
    }

    /// Own times by name and phase of spans that are added in parts; `None` if a span came too late.
    fn streamed(parts: Vec<Vec<Span>>) -> Option<Vec<(u32, i64, Option<u32>)>> {
        let (mut nester, mut all) = (StreamNester::default(), Vec::new());
        let number = |id: StringId| id.get() - 1;
        let last = parts.len() - 1;
        for (place, mut part) in parts.into_iter().enumerate() {
            let more = place < last;
            let in_order = nester.add(&mut part, categories(), more, |p| {
                all.push((number(p.span.name), p.own, p.enclosing.phase.map(number)));
            });
            if !in_order {
                return None;
            }
            assert!(!more || nester.len() < 4, "{} kept", nester.len());
        }
        all.sort_unstable();
        Some(all)
    }

    #[test]
    fn a_stream_gives_the_same_as_all_spans_at_once() {
        // A request around two phases with ops. The request comes last, and the parts split the second phase.
        let (first, second) = (span(PHASE, 10, 40), span(PHASE, 60, 30));
        let ops = [span(2, 12, 10), span(3, 30, 10), span(2, 60, 10), span(3, 75, 10)];
        let request = span(0, 10, 90);
        let [a, b, c, d] = ops;
        let whole = streamed(vec![vec![first, second, a, b, c, d, request]]).unwrap();
        let parts = streamed(vec![vec![first, a, b, second, c], vec![d], vec![request]]);
        assert_eq!(parts.unwrap(), whole);
    }

    #[test]
    fn a_span_that_comes_too_late_is_detected() {
        let phase = span(PHASE, 0, 100);
        let early = vec![phase, span(2, 10, 10), span(2, 30, 10), span(2, 50, 10)];
        // Between visited ops; then a phase between a span and its visited children.
        assert_eq!(streamed(vec![early, vec![span(4, 20, 5)]]), None);
        let request = vec![span(0, 0, 100), span(2, 10, 10), span(2, 30, 10)];
        assert_eq!(streamed(vec![request.clone(), vec![span(PHASE, 5, 40)]]), None);
        assert_eq!(streamed(vec![request, vec![span(PHASE, 0, 200)]]), None);
    }
}
