//! Timestamps as text.

use std::time::Duration;

/// RFC 3339 in UTC with milliseconds, such as `2026-11-21T22:40:05.123Z`.
pub fn rfc3339(since_epoch: Duration) -> String {
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(since_epoch.subsec_nanos()).unwrap_or(0);
    jiff::Timestamp::new(seconds, nanos).map_or_else(
        |_| "outside of the calendar".to_owned(),
        |time| time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_in_rfc_3339() {
        assert_eq!(rfc3339(Duration::from_millis(1_767_225_600_123)), "2026-01-01T00:00:00.123Z");
        assert_eq!(rfc3339(Duration::ZERO), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(Duration::MAX), "outside of the calendar");
    }
}
