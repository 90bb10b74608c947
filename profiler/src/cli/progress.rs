//! Live progress: bars on a terminal, one line per case elsewhere.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::models::Bytes;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use measure::plan::Plan;
use measure::run;
use record::{RunFile, Sample, printable};
use redaction::without_known;

use super::output::complain;

const BYTES: &str = "{msg} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
const BYTES_UNKNOWN: &str = "{msg} {spinner} {bytes}, {bytes_per_sec}";
const REQUESTS: &str = "[{bar:30}] {pos} of {len} requests, {eta} left  {msg}";

/// Progress of a run or of a download, on stderr.
pub(super) struct Live {
    bars: MultiProgress,
    /// Whether the bars are visible.
    shown: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The current download or write.
    work: Option<ProgressBar>,
    /// The requests of the run.
    requests: Option<ProgressBar>,
    /// Cases that were reported already.
    reported: BTreeSet<String>,
}

impl Live {
    /// Bars if both stdout and stderr are terminals, else plain lines on stderr.
    pub(super) fn new() -> Self {
        let shown = io::stdout().is_terminal() && io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), shown, state: Mutex::default() }
    }

    /// Removes all bars.
    pub(super) fn clear(&self) {
        let mut state = self.state();
        for bar in [state.work.take(), state.requests.take()].into_iter().flatten() {
            bar.finish_and_clear();
        }
        // A closed terminal has nothing to clear.
        let _ = self.bars.clear();
    }

    fn print_line(&self, text: &str) {
        let text = &printable(text);
        if self.shown {
            let _ = self.bars.println(without_known(text));
        } else {
            complain(&format!("{text}\n"));
        }
    }

    /// The state; a panic of another thread does not make it invalid.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ::models::fetch::Progress for Live {
    fn started(&self, what: &str, total: Option<Bytes>) {
        let what = &printable(what);
        let bar = match total {
            Some(total) => ProgressBar::new(total.get()).with_style(style(BYTES)),
            None => ProgressBar::new_spinner().with_style(style(BYTES_UNKNOWN)),
        };
        let bar = self.bars.add(bar.with_message(without_known(what).into_owned()));
        bar.enable_steady_tick(Duration::from_millis(200));
        if !self.shown {
            complain(&format!("{what}{}\n", total.map(|total| format!(" ({total})")).unwrap_or_default()));
        }
        self.state().work = Some(bar);
    }

    fn advanced(&self, by: Bytes) {
        if let Some(bar) = &self.state().work {
            bar.inc(by.get());
        }
    }

    fn finished(&self) {
        if let Some(bar) = self.state().work.take() {
            bar.finish_and_clear();
        }
    }

    fn note(&self, text: &str) {
        self.print_line(text);
    }
}

impl run::Progress for Live {
    fn fetching(&self) -> &dyn ::models::fetch::Progress {
        self
    }

    fn started(&self, plan: &Plan, dir: &Path) {
        let _ = plan;
        self.print_line(&format!("results go to {}", dir.display()));
    }

    fn request(&self, case: &str, done: usize, total: usize) {
        let mut state = self.state();
        let shown = printable(case);
        if !self.shown {
            if state.reported.insert(case.to_owned()) {
                complain(&format!("{shown} ({done} of {total} requests done)\n"));
            }
            return;
        }
        let bar = state
            .requests
            .get_or_insert_with(|| self.bars.add(ProgressBar::new(total as u64).with_style(style(REQUESTS))));
        // No ticking thread, because it would run during timed requests. The bar moves between requests.
        bar.set_length(total as u64);
        bar.set_position(done as u64);
        bar.set_message(without_known(&shown).into_owned());
    }

    fn sample(&self, sample: &Sample) {
        let _ = sample;
    }

    fn note(&self, text: &str) {
        self.print_line(text);
    }

    fn finished(&self, file: &RunFile) {
        let _ = file;
        self.clear();
    }
}

/// A bar of a template. The test checks the templates; the default bar is only a fallback.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for template in [BYTES, BYTES_UNKNOWN, REQUESTS] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
