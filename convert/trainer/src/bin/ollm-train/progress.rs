//! What a long stage says of its progress.

use indicatif::ProgressBar;
use ollm_console::progress;
use ollm_train::eval::accuracy::Progress;

use crate::world;

const ON_TERMINAL: &str = "{bar:30} {human_pos}/{human_len} {prefix} [{elapsed}{time_left}] {wide_msg}";
const PLAIN: &str = "{msg}: {human_pos}/{human_len} {prefix}, {per_sec}{time_left}";

/// A bar of a stage that counts something, with its rate; hidden in all of the run's processes but
/// one.
pub(crate) fn bar(stage: &str, length: u64, unit: &'static str) -> ProgressBar {
    if !world::ranks().is_root() {
        return ProgressBar::hidden();
    }
    let bar = progress::bar(ON_TERMINAL, PLAIN);
    bar.set_length(length);
    bar.set_prefix(unit);
    bar.set_message(stage.to_owned());
    bar
}

/// A bar that names the row.
pub(crate) struct BarProgress<'a>(pub(crate) &'a ProgressBar);

impl Progress for BarProgress<'_> {
    fn row(&self, name: &str, problems: usize) {
        self.0.set_prefix("problems");
        self.0.set_message(name.to_owned());
        self.0.set_length(problems as u64);
        self.0.set_position(0);
        self.0.reset_eta();
    }

    fn problem(&self) {
        self.0.inc(1);
    }
}
