//! How the spans of one thread lie in one another, and what each keeps of its time: [`walk`] for all of them at once,
//! [`Folder`] for a stream of them.

use std::cmp::Reverse;

use crate::lanes::{Span, Text, Texts};
use crate::record::Category;

/// The categories that mean something here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kinds {
    /// Spans inside such a one belong to the phase of its name.
    pub(crate) phase: Text,
    /// The operations of a model.
    pub(crate) op: Text,
    /// A thread's part of shared work: it tells of the op around it and takes no time from it.
    pub(crate) work: Text,
}

impl Kinds {
    /// Their numbers among these texts.
    pub(crate) fn of(texts: &mut Texts) -> Self {
        let mut number = |category: Category| texts.number(category.name());
        Self { phase: number(Category::Phase), op: number(Category::Op), work: number(Category::Work) }
    }
}

/// What spans lie in, by the nearest one around them that says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Within {
    /// The phase.
    pub(crate) phase: Option<Text>,
    /// The pass of the request.
    pub(crate) pass: Option<Text>,
}

/// A span in its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    pub(crate) span: Span,
    /// How many spans enclose it.
    pub(crate) depth: usize,
    /// The one that encloses it directly.
    pub(crate) parent: Option<Span>,
    /// By how many nanoseconds it ends after its parent; 0 where it lies inside.
    pub(crate) excess: i64,
    /// Its time less that of its direct children, in nanoseconds.
    pub(crate) own: i64,
    /// What is around it.
    pub(crate) within: Within,
    /// The pass that it belongs to, its own word included.
    pub(crate) pass: Option<Text>,
}

/// Goes through one thread's spans; each is handed over when it ends, children before parents.
///
/// ```text
///   request  |--------------------------------------------|     own = whole - prefill - decode
///   prefill   |-------------------|                             own = whole - q_proj - k_proj
///   q_proj     |------|
///   k_proj             |-------|
///   decode                          |----------------|          excess > 0 where it would end behind `request`
///            ----------------------------------------------> time
/// ```
///
/// In order of their starts, the longer first, every span finds those around it on a stack: whatever ended before it began
/// is taken off. One that begins inside another and ends behind it is counted inside as far as it is, and reported by
/// `excess`. Of spans with equal times a phase is the outer one, then the one written first.
pub(crate) fn walk(spans: &mut [Span], kinds: Kinds, visit: impl FnMut(Placed)) {
    spans.sort_unstable_by_key(|span| order(span, kinds));
    nest(spans.iter().map(|&span| Kept { span, inner: 0, folded: None }), kinds, None, visit);
}

fn order(span: &Span, kinds: Kinds) -> (i64, Reverse<i64>, bool, u64) {
    (span.start, Reverse(span.duration), span.category != kinds.phase, span.line)
}

/// The spans of one thread as they come, in memory for those that are not over: the ones that lie in others are handed over
/// and forgotten as soon as a later one begins behind them, as long as the file has them roughly in order.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    kept: Vec<Kept>,
}

/// A span that may yet get more children.
#[derive(Debug, Clone, Copy)]
struct Kept {
    span: Span,
    /// Time of children that were handed over.
    inner: i64,
    folded: Option<Folded>,
}

/// Children that were handed over: until where, and what they were told to lie in.
#[derive(Debug, Clone, Copy)]
struct Folded {
    until: i64,
    within: Within,
}

impl Folder {
    /// Takes further spans. With `more` to come it keeps what nothing encloses and what is still open at the last start.
    /// `false` where a span lies among those that were forgotten: then what was handed over is worth nothing.
    pub(crate) fn fold(&mut self, spans: &mut Vec<Span>, kinds: Kinds, more: bool, visit: impl FnMut(Placed)) -> bool {
        let mut all = std::mem::take(&mut self.kept);
        all.extend(spans.drain(..).map(|span| Kept { span, inner: 0, folded: None }));
        all.sort_unstable_by_key(|kept| order(&kept.span, kinds));
        nest(all.into_iter(), kinds, more.then_some(&mut self.kept), visit)
    }

    /// Spans that it keeps.
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }
}

struct Frame {
    kept: Kept,
    depth: usize,
    parent: Option<Span>,
    excess: i64,
    end: i64,
    within: Within,
    /// What its children lie in.
    inside: Within,
}

/// The walk over spans in order. What is not over goes to `keep`, if that is given; `false` as [`Folder::fold`] says.
fn nest(
    spans: impl Iterator<Item = Kept>,
    kinds: Kinds,
    mut keep: Option<&mut Vec<Kept>>,
    mut visit: impl FnMut(Placed),
) -> bool {
    let mut stack: Vec<Frame> = Vec::new();
    let mut in_time = true;
    for kept in spans {
        let span = kept.span;
        while let Some(frame) = stack.pop_if(|frame| frame.end <= span.start) {
            match (&mut keep, stack.last_mut()) {
                (Some(keep), None) => keep.push(frame.kept),
                (_, parent) => settle(&frame, parent, kinds, &mut visit),
            }
        }
        let depth = stack.len();
        let (mut parent, mut excess, mut within) = (None, 0, Within::default());
        if let Some(around) = stack.last() {
            parent = Some(around.kept.span);
            excess = span.end().saturating_sub(around.end).max(0);
            within = around.inside;
            in_time &= around.kept.folded.is_none_or(|folded| folded.until <= span.start);
        }
        let inside = Within {
            phase: if span.category == kinds.phase { Some(span.name) } else { within.phase },
            pass: span.pass.or(within.pass),
        };
        in_time &= kept.folded.is_none_or(|folded| folded.within == inside);
        stack.push(Frame { kept, depth, parent, excess, end: span.end(), within, inside });
    }
    while let Some(frame) = stack.pop() {
        match &mut keep {
            Some(keep) => keep.push(frame.kept),
            None => settle(&frame, stack.last_mut(), kinds, &mut visit),
        }
    }
    in_time
}

/// Hands over a span that is over; its parent loses the time that they share.
fn settle(frame: &Frame, parent: Option<&mut Frame>, kinds: Kinds, visit: &mut impl FnMut(Placed)) {
    let &Frame { kept: Kept { span, inner, .. }, depth, excess, within, inside, .. } = frame;
    if let Some(parent) = parent {
        if span.category != kinds.work {
            parent.kept.inner += span.duration - excess.min(span.duration);
        }
        let until = parent.kept.folded.map_or(i64::MIN, |folded| folded.until).max(span.end());
        parent.kept.folded = Some(Folded { until, within: parent.inside });
    }
    let own = span.duration - inner;
    visit(Placed { span, depth, parent: frame.parent, excess, own, within, pass: inside.pass });
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASE: u32 = 1;

    fn text(number: u32) -> Text {
        Text::new(number + 1).unwrap()
    }

    fn kinds() -> Kinds {
        Kinds { phase: text(PHASE), op: text(98), work: text(99) }
    }

    fn span(name: u32, start: i64, duration: i64) -> Span {
        let category = text(if name == 1 { PHASE } else { 0 });
        Span { start, duration, line: u64::from(name), name: text(name), category, pass: None }
    }

    /// (name, depth, own, excess, within) in order of names.
    fn placed(mut spans: Vec<Span>) -> Vec<(u32, usize, i64, i64, Option<u32>)> {
        let mut all = Vec::new();
        let number = |text: Text| text.get() - 1;
        walk(&mut spans, kinds(), |p| {
            all.push((number(p.span.name), p.depth, p.own, p.excess, p.within.phase.map(number)));
        });
        all.sort_unstable();
        all
    }

    #[test]
    fn own_time_is_what_children_leave() {
        let spans = vec![span(3, 10, 5), span(0, 0, 100), span(2, 15, 20), span(1, 5, 40), span(4, 50, 50)];
        assert_eq!(
            placed(spans),
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
        assert_eq!(placed(vec![span(2, 0, 10), span(3, 6, 10)]), [(2, 0, 6, 0, None), (3, 1, 10, 6, None)]);
    }

    #[test]
    fn neighbours_that_touch_are_neighbours() {
        let spans = vec![span(2, 0, 10), span(3, 10, 0), span(4, 10, 5)];
        assert_eq!(placed(spans), [(2, 0, 10, 0, None), (3, 1, 0, 0, None), (4, 0, 5, 0, None)]);
    }

    #[test]
    fn of_equal_spans_the_phase_is_the_outer_one() {
        assert_eq!(placed(vec![span(0, 0, 9), span(1, 0, 9)]), [(0, 1, 9, 0, Some(1)), (1, 0, 0, 0, None)]);
    }

    /// Own times by name and phase, of spans that come in parts; `None` where a part came too late.
    fn folded(parts: Vec<Vec<Span>>) -> Option<Vec<(u32, i64, Option<u32>)>> {
        let (mut folder, mut all) = (Folder::default(), Vec::new());
        let number = |text: Text| text.get() - 1;
        let last = parts.len() - 1;
        for (place, mut part) in parts.into_iter().enumerate() {
            let more = place < last;
            let fits = folder.fold(&mut part, kinds(), more, |p| {
                all.push((number(p.span.name), p.own, p.within.phase.map(number)));
            });
            if !fits {
                return None;
            }
            assert!(!more || folder.kept.len() < 4, "{} kept", folder.kept.len());
        }
        all.sort_unstable();
        Some(all)
    }

    #[test]
    fn parts_give_the_same_as_the_whole() {
        // A request around two phases with ops, the request told last; the second phase is cut by the parts.
        let (first, second) = (span(PHASE, 10, 40), span(PHASE, 60, 30));
        let ops = [span(2, 12, 10), span(3, 30, 10), span(2, 60, 10), span(3, 75, 10)];
        let request = span(0, 10, 90);
        let [a, b, c, d] = ops;
        let whole = folded(vec![vec![first, second, a, b, c, d, request]]).unwrap();
        let parts = folded(vec![vec![first, a, b, second, c], vec![d], vec![request]]);
        assert_eq!(parts.unwrap(), whole);
    }

    #[test]
    fn what_comes_too_late_is_noticed() {
        let phase = span(PHASE, 0, 100);
        let early = vec![phase, span(2, 10, 10), span(2, 30, 10), span(2, 50, 10)];
        // Between ops that are summed already; a phase between a span and its summed children.
        assert_eq!(folded(vec![early, vec![span(4, 20, 5)]]), None);
        let request = vec![span(0, 0, 100), span(2, 10, 10), span(2, 30, 10)];
        assert_eq!(folded(vec![request.clone(), vec![span(PHASE, 5, 40)]]), None);
        assert_eq!(folded(vec![request, vec![span(PHASE, 0, 200)]]), None);
    }
}
