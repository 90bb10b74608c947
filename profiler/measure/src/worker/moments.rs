//! Memory over a request, thin enough to be kept.

use traces::Nanos;

use meter::MemoryPoint;
use record::MemoryMoment;

/// Moments that are kept of a request.
const MOST: usize = 200;

/// At most so many moments, counted from the start of the request: of neighbours that share a place the one where most is
/// resident, so that no peak is lost; the first and the last one stay.
pub(super) fn moments(points: &[MemoryPoint], start: Nanos) -> Vec<MemoryMoment> {
    let moment = |point: &MemoryPoint| {
        let (late, early) =
            (point.at.saturating_sub(start).as_secs_f64(), start.saturating_sub(point.at).as_secs_f64());
        MemoryMoment { at_s: late - early, anonymous_bytes: point.anonymous, file_backed_bytes: point.file }
    };
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    if points.len() <= MOST {
        return points.iter().map(moment).collect();
    }
    let inner = &points[1..points.len() - 1];
    let peaks = inner.chunks(inner.len().div_ceil(MOST - 2)).filter_map(|near| near.iter().max_by_key(|p| p.resident));
    std::iter::once(first).chain(peaks).chain([last]).map(moment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: u64, resident: u64) -> MemoryPoint {
        MemoryPoint { at: Nanos(at), resident, anonymous: resident, file: 0 }
    }

    #[test]
    fn few_are_kept_as_they_are_and_count_from_the_start() {
        let kept = moments(&[point(500_000_000, 1), point(3_000_000_000, 2)], Nanos(1_000_000_000));
        assert_eq!(kept.iter().map(|moment| moment.at_s).collect::<Vec<_>>(), [-0.5, 2.0]);
        assert!(moments(&[], Nanos(0)).is_empty());
    }

    #[test]
    fn of_many_the_ends_and_the_peak_stay() {
        let points: Vec<_> = (0..5000).map(|at| point(at, if at == 1234 { 99 } else { 7 })).collect();
        let kept = moments(&points, Nanos(0));
        assert!(kept.len() <= MOST && kept.len() > MOST / 2, "{}", kept.len());
        assert_eq!(kept.iter().map(|moment| moment.anonymous_bytes).max(), Some(99));
        assert!(kept[0].at_s.abs() < 1e-12 && (kept[kept.len() - 1].at_s - 4999e-9).abs() < 1e-12);
        assert!(kept.windows(2).all(|pair| pair[0].at_s < pair[1].at_s));
    }
}
