//! The precision of the differences in a run.

use serde::{Deserialize, Serialize};

use super::recorded::{with_reasons, without_reason};
use super::{Reasons, Recorded};

with_reasons! {
    /// The smallest detectable difference of a run: of one engine from the baseline, or of an engine alone from a known figure.
    pub struct PrecisionReached {
        /// Model name.
        pub model: String,
        /// Engine label.
        pub engine: String,
        /// The engine that it is compared with; `null` without a reason where it is the only one.
        pub baseline: Option<String>,
        /// Threads.
        pub threads: usize,
        /// Tokens in the context before the prompt.
        pub depth: usize,
        /// `prefill_tps` or `decode_tps`.
        pub metric: String,
        /// The measured rounds.
        pub rounds: usize,
        /// The smallest difference, as a share, that is detectable with 90 % power.
        pub detectable: Recorded<f64>,
        /// Whether it is as small as requested.
        pub reached: bool,
        /// The estimated number of further rounds to reach it.
        pub more_rounds: Recorded<usize>,
        /// What ended the rounds.
        pub stopped_by: StoppedBy,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

/// What ended the rounds of a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoppedBy {
    /// The requested precision was reached.
    Precision,
    /// The time budget was used up.
    Budget,
    /// The requested rounds were measured, and more would not help.
    Rounds,
    /// The run was interrupted, or has not ended yet.
    #[default]
    Interrupt,
}

without_reason!(StoppedBy);

impl PrecisionReached {
    /// One sentence without its end. `wanted` is the requested share.
    pub fn text(&self, wanted: f64) -> String {
        let against = self.baseline.as_deref().map(|baseline| format!(" against {baseline}")).unwrap_or_default();
        let what = format!("{} of {}{against}", self.metric, self.engine);
        let wanted = short_percent(wanted);
        let found = match &self.detectable {
            Recorded::Present(detectable) => short_percent(*detectable),
            Recorded::Absent(reason) => {
                return format!("{what}: the detectable difference is unknown ({reason}); {wanted} was requested");
            }
        };
        if self.reached {
            return format!("{what}: differences of {found} or more are detectable; {wanted} was requested");
        }
        let why = match self.stopped_by {
            StoppedBy::Budget => " within the budget",
            StoppedBy::Interrupt => " so far",
            StoppedBy::Precision | StoppedBy::Rounds => "",
        };
        let more = match self.more_rounds.value() {
            Some(1) => "about 1 more round is needed".to_owned(),
            Some(rounds) => format!("about {rounds} more rounds are needed"),
            None => "the number of further rounds is unknown".to_owned(),
        };
        format!("{what}: a difference of {wanted} is not detectable{why}, only differences of {found} or more; {more}")
    }
}

/// Two significant digits: `2 %`, `0.5 %`, `1.8 %`, `12 %`.
pub fn short_percent(share: f64) -> String {
    let percent = share * 100.0;
    let digits = if percent >= 9.95 {
        0
    } else if percent >= 1.0 {
        1
    } else {
        2
    };
    let text = format!("{percent:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_detectable_and_what_is_not() {
        let found = PrecisionReached {
            engine: "b".to_owned(),
            baseline: Some("a".to_owned()),
            metric: "decode_tps".to_owned(),
            detectable: 0.0182.into(),
            reached: true,
            ..PrecisionReached::absent("not computed")
        };
        insta::assert_snapshot!(found.text(0.02), @"decode_tps of b against a: differences of 1.8 % or more are detectable; 2 % was requested");
        let short = PrecisionReached {
            detectable: 0.123.into(),
            reached: false,
            more_rounds: 40.into(),
            stopped_by: StoppedBy::Budget,
            baseline: None,
            ..found.clone()
        };
        insta::assert_snapshot!(short.text(0.005), @"decode_tps of b: a difference of 0.5 % is not detectable within the budget, only differences of 12 % or more; about 40 more rounds are needed");
        let unknown = PrecisionReached { detectable: Recorded::absent("one pair"), reached: false, ..found };
        insta::assert_snapshot!(unknown.text(0.02), @"decode_tps of b against a: the detectable difference is unknown (one pair); 2 % was requested");
        assert_eq!([0.1, 0.0999, 0.07].map(short_percent), ["10 %", "10 %", "7 %"]);
    }
}
