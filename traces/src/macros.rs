//! The macros that record spans: [`op!`](crate::op) and [`span!`](crate::span).

/// Marks one operation of a model until the guard drops: `op!("q_proj", layer, [m, k, n])`.
///
/// The name is a literal. The layer is a `u32` or `usize`, or [`NO_LAYER`](crate::record::NO_LAYER) for an operation outside
/// of all layers; the shape has up to three `usize`. Both are optional. While the recorder is off, the macro costs one
/// relaxed load and evaluates neither layer nor shape.
///
/// ```
/// # let (layer, m, k, n) = (3_usize, 1_usize, 576_usize, 576_usize);
/// let _op = traces::op!("q_proj", layer, [m, k, n]);
/// ```
#[macro_export]
macro_rules! op {
    ($name:literal) => {
        $crate::op!($name, $crate::record::NO_LAYER, [])
    };
    ($name:literal, $layer:expr) => {
        $crate::op!($name, $layer, [])
    };
    ($name:literal, $layer:expr, [$($size:expr),* $(,)?]) => {{
        static NAME: $crate::record::Name = $crate::record::Name::new($name);
        if $crate::record::is_on() {
            $crate::record::OpGuard::begin(&NAME, $layer, [$($size),*])
        } else {
            $crate::record::OpGuard::off()
        }
    }};
}

/// Marks a phase, a request or another part of the work until the guard drops.
///
/// `span!("prefill")`; with up to three numbers `span!("prefill", "tokens" = n)`; with another
/// [`Category`](crate::record::Category) than a phase `span!(category: Request, "request", "case" = 3)`. While the recorder
/// is off, the macro costs one relaxed load and evaluates no number.
///
/// ```
/// # let tokens = 64_usize;
/// let _request = traces::span!(category: Request, "request", "case" = 3);
/// let _prefill = traces::span!("prefill", "tokens" = tokens);
/// ```
#[macro_export]
macro_rules! span {
    (category: $category:ident, $name:literal $(, $key:literal = $value:expr)* $(,)?) => {{
        static NAME: $crate::record::Name = $crate::record::Name::new($name);
        if $crate::record::is_on() {
            $crate::record::SpanGuard::begin(
                &NAME,
                $crate::record::Category::$category,
                [$((
                    {
                        static KEY: $crate::record::Name = $crate::record::Name::new($key);
                        &KEY
                    },
                    $crate::record::Value::from($value),
                )),*],
            )
        } else {
            $crate::record::SpanGuard::off()
        }
    }};
    ($name:literal $(, $key:literal = $value:expr)* $(,)?) => {
        $crate::span!(category: Phase, $name $(, $key = $value)*)
    };
}
