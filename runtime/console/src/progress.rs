//! What long work says of its progress: a bar on a terminal, and a plain line now and then
//! elsewhere. The same bar draws both.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::style::ProgressTracker;
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike};

/// Between two plain lines: the bar is drawn each [`TICK`], so that there are 30 s at most.
const INTERVAL: Duration = Duration::from_secs(29);
const TICK: Duration = Duration::from_millis(500);
/// Columns of a plain line before it would be wrapped.
const COLUMNS: u16 = 400;

/// A bar on standard error, drawn by one of two templates of `indicatif`: on a terminal, and as
/// plain lines elsewhere. Their key `{time_left}` is `, 3m left`, or nothing as long as that is not
/// known.
///
/// # Panics
/// If a template is none.
pub fn bar(on_terminal: &str, plain_line: &str) -> ProgressBar {
    let bar = if io::stderr().is_terminal() {
        styled(ProgressDrawTarget::stderr(), on_terminal)
    } else {
        let write = |line: &str| writeln!(io::stderr(), "{line}");
        plain(PlainLines::new(INTERVAL, Box::new(write)), plain_line)
    };
    bar.enable_steady_tick(TICK);
    bar
}

/// A bar of something that is counted in bytes.
pub fn bytes_bar(stage: &'static str) -> ProgressBar {
    let bar = bar("{msg} {wide_bar} {of_bytes}{time_left}", "{msg}: {of_bytes_rate}{time_left}");
    bar.set_message(stage);
    bar
}

/// How much of all bytes is done, as far as it is known how many there are.
fn of_bytes(state: &ProgressState, rate: bool) -> String {
    let Some(all) = state.len().filter(|&all| all > 0) else { return "preparing".to_owned() };
    let rate = if rate { format!(", {}/s", HumanBytes(state.per_sec() as u64)) } else { String::new() };
    format!("{} of {}{rate}", HumanBytes(state.pos()), HumanBytes(all))
}

/// How long the rest takes at the pace of all that was done so far: a pace of late says years where
/// work stands still for a while.
#[derive(Clone, Debug, Default)]
struct TimeLeft {
    /// When the count began, and where the bar was then.
    begun: Option<(Instant, u64)>,
    /// Where the bar is.
    at: u64,
    left: Option<Duration>,
}

impl ProgressTracker for TimeLeft {
    fn clone_box(&self) -> Box<dyn ProgressTracker> {
        Box::new(self.clone())
    }

    fn tick(&mut self, state: &ProgressState, now: Instant) {
        let at = state.pos();
        let (begun, first) = *self.begun.get_or_insert((now, at));
        let since = now.duration_since(begun);
        if at < self.at || (since < TICK && at > first) {
            // Another stage begins, or one that is resumed is put where it was.
            self.begun = Some((if at < self.at { now } else { begun }, at));
        }
        self.at = at;
        let done = at.saturating_sub(first);
        let rest = state.len().map(|length| length.saturating_sub(at));
        let left = |rest: u64| Duration::try_from_secs_f64(since.as_secs_f64() * rest as f64 / done as f64).ok();
        self.left = rest.filter(|_| done > 0 && since >= TICK).and_then(left);
    }

    fn reset(&mut self, _: &ProgressState, _: Instant) {
        *self = Self::default();
    }

    fn write(&self, _: &ProgressState, line: &mut dyn fmt::Write) {
        if let Some(left) = self.left {
            // Writing to a line cannot fail.
            let _ = write!(line, ", {:#} left", HumanDuration(left));
        }
    }
}

/// A bar of so many steps of something.
pub fn count_bar(stage: &'static str, length: u64, unit: &'static str) -> ProgressBar {
    let bar = bar(
        "{msg} {wide_bar} {human_pos} of {human_len} {prefix}{time_left}",
        "{msg}: {human_pos} of {human_len} {prefix}, {per_sec}{time_left}",
    );
    bar.set_length(length);
    bar.set_prefix(unit);
    bar.set_message(stage);
    bar
}

fn styled(target: ProgressDrawTarget, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("a template of known keys");
    // Writing to a line cannot fail.
    let style = style
        .with_key("time_left", TimeLeft::default())
        .with_key("of_bytes", |state: &ProgressState, line: &mut dyn fmt::Write| {
            let _ = line.write_str(&of_bytes(state, false));
        })
        .with_key("of_bytes_rate", |state: &ProgressState, line: &mut dyn fmt::Write| {
            let _ = line.write_str(&of_bytes(state, true));
        });
    ProgressBar::with_draw_target(None, target).with_style(style)
}

fn plain(lines: PlainLines, template: &str) -> ProgressBar {
    styled(ProgressDrawTarget::term_like_with_hz(Box::new(lines), 20), template)
}

/// Writes a line.
type WriteLine = Box<dyn Fn(&str) -> io::Result<()> + Send + Sync>;

/// Where a bar is drawn that nobody sees move: of all that is drawn, a line each interval.
struct PlainLines {
    interval: Duration,
    write: WriteLine,
    state: Mutex<PlainState>,
}

struct PlainState {
    /// What is being drawn.
    line: String,
    /// When the last line was written.
    last: Instant,
}

impl PlainLines {
    fn new(interval: Duration, write: WriteLine) -> Self {
        Self { interval, write, state: Mutex::new(PlainState { line: String::new(), last: Instant::now() }) }
    }

    fn state(&self) -> MutexGuard<'_, PlainState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PlainLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainLines").field("interval", &self.interval).finish_non_exhaustive()
    }
}

impl TermLike for PlainLines {
    fn width(&self) -> u16 {
        COLUMNS
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.state().line.push_str(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.state();
        let line = std::mem::take(&mut state.line);
        if line.trim().is_empty() || state.last.elapsed() < self.interval {
            return Ok(());
        }
        state.last = Instant::now();
        (self.write)(line.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn lines(interval: Duration, draw: impl Fn(&ProgressBar)) -> Vec<String> {
        let (sender, receiver) = mpsc::channel();
        let write = Box::new(move |line: &str| sender.send(line.to_owned()).map_err(io::Error::other));
        let bar =
            plain(PlainLines::new(interval, write), "{msg}: {human_pos}/{human_len} {prefix}, {per_sec}{time_left}");
        bar.set_length(1200);
        draw(&bar);
        drop(bar);
        receiver.into_iter().collect()
    }

    #[test]
    fn off_a_terminal_a_line_says_stage_step_loss_rate_and_time_left() {
        let found = lines(Duration::ZERO, |bar| {
            bar.set_prefix("steps");
            bar.set_message("options, train: cross-entropy 1.234");
            std::thread::sleep(TICK);
            bar.set_position(300);
            bar.tick();
            bar.finish_and_clear();
        });
        let last = found.last().unwrap();
        assert!(last.starts_with("options, train: cross-entropy 1.234: 300/1,200 steps, "), "{found:?}");
        assert!(last.contains("/s, ") && last.ends_with(" left"), "{found:?}");
        assert!(found.iter().all(|line| !line.contains(['\n', '\r', '\x1b'])), "{found:?}");
    }

    #[test]
    fn what_stands_still_takes_no_years() {
        let found = lines(Duration::ZERO, |bar| {
            // What is resumed begins here.
            bar.set_position(1000);
            bar.tick();
            bar.set_position(1100);
            std::thread::sleep(TICK);
            bar.set_position(1150);
            for _ in 0..20 {
                std::thread::sleep(Duration::from_millis(20));
                bar.tick();
            }
            // Another stage.
            bar.set_position(0);
            bar.tick();
        });
        let left = |line: &String| line.rsplit_once(", ").map(|(_, left)| left.to_owned());
        let seen: Vec<String> = found.iter().filter_map(left).filter(|left| left.ends_with("left")).collect();
        assert!(!seen.is_empty() && seen.iter().all(|left| ["0s left", "1s left"].contains(&&**left)), "{found:?}");
        assert!(!found.last().unwrap().ends_with("left"), "{found:?}");
    }

    #[test]
    fn bytes_are_told_once_it_is_known_how_many_there_are() {
        let (sender, receiver) = mpsc::channel();
        let write = Box::new(move |line: &str| sender.send(line.to_owned()).map_err(io::Error::other));
        let bar = plain(PlainLines::new(Duration::ZERO, write), "{msg}: {of_bytes_rate}{time_left}");
        bar.set_message("import");
        bar.tick();
        bar.set_length(4 << 20);
        bar.set_position(1 << 20);
        std::thread::sleep(Duration::from_millis(60));
        bar.tick();
        drop(bar);
        let found: Vec<String> = receiver.into_iter().collect();
        assert_eq!(found[0], "import: preparing");
        assert!(found.last().unwrap().starts_with("import: 1.00 MiB of 4.00 MiB, "), "{found:?}");
    }

    #[test]
    fn between_two_lines_there_is_an_interval() {
        let draw = |bar: &ProgressBar| {
            for _ in 0..20 {
                bar.inc(1);
                bar.tick();
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        assert!(lines(Duration::from_mins(1), draw).is_empty());
        let some = lines(Duration::from_millis(150), draw).len();
        assert!((1..=3).contains(&some), "{some}");
    }
}
