//! The macro `reason!`.

/// A [`record::Reason`] from a format string.
macro_rules! reason {
    ($($format:tt)*) => {
        ::record::Reason::new(format!($($format)*))
    };
}
