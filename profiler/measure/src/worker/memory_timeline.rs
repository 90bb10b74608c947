//! Reduces the memory readings of a request to a number that the record can store.

use meter::MemoryPoint;
use traces::Nanos;

/// The most points per request.
const MOST: usize = 200;

/// At most [`MOST`] points, with times from the start of the request. The first and the last point are kept; of each group of
/// neighbours between them the one with the most resident memory is kept, so that no peak is lost.
pub(super) fn reduced(points: &[MemoryPoint], start: Nanos) -> Vec<record::MemoryPoint> {
    let recorded = |point: &MemoryPoint| {
        let (late, early) =
            (point.at.saturating_sub(start).as_secs_f64(), start.saturating_sub(point.at).as_secs_f64());
        record::MemoryPoint { at_s: late - early, anonymous_bytes: point.anonymous, file_backed_bytes: point.file }
    };
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    if points.len() <= MOST {
        return points.iter().map(recorded).collect();
    }
    let inner = &points[1..points.len() - 1];
    let peaks = inner.chunks(inner.len().div_ceil(MOST - 2)).filter_map(|near| near.iter().max_by_key(|p| p.resident));
    std::iter::once(first).chain(peaks).chain([last]).map(recorded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: u64, resident: u64) -> MemoryPoint {
        MemoryPoint { at: Nanos(at), resident, anonymous: resident, file: 0 }
    }

    #[test]
    fn few_points_are_unchanged_and_count_from_the_start() {
        let kept = reduced(&[point(500_000_000, 1), point(3_000_000_000, 2)], Nanos(1_000_000_000));
        assert_eq!(kept.iter().map(|point| point.at_s).collect::<Vec<_>>(), [-0.5, 2.0]);
        assert!(reduced(&[], Nanos(0)).is_empty());
    }

    #[test]
    fn of_many_points_the_ends_and_the_peak_are_kept() {
        let points: Vec<_> = (0..5000).map(|at| point(at, if at == 1234 { 99 } else { 7 })).collect();
        let kept = reduced(&points, Nanos(0));
        assert!(kept.len() <= MOST && kept.len() > MOST / 2, "{}", kept.len());
        assert_eq!(kept.iter().map(|point| point.anonymous_bytes).max(), Some(99));
        assert!(kept[0].at_s.abs() < 1e-12 && (kept[kept.len() - 1].at_s - 4999e-9).abs() < 1e-12);
        assert!(kept.windows(2).all(|pair| pair[0].at_s < pair[1].at_s));
    }
}
