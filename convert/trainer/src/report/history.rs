//! A run's log as a picture: what each stage minimises and reports, over its steps.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::report::plot::{self, Panel, PlotCurve};

/// A field of the log, its name in the picture, and what is drawn of it.
type Quantity = (&'static str, &'static str, fn(f64) -> f64);

/// What is drawn. The exponential of an entropy is a number of latents.
const QUANTITIES: [Quantity; 16] = [
    ("objective", "objective", same),
    ("loss", "loss", same),
    ("cross_entropy", "cross-entropy, nats", same),
    ("candidate_cross_entropy", "cross-entropy over candidates, nats", same),
    ("kl", "KL, nats", same),
    ("usage_entropy", "latents in use", f64::exp),
    ("policy_entropy", "latents the policy hesitates between", f64::exp),
    ("token_entropy", "entropy of tokens, nats", same),
    ("top1", "likeliest token right", same),
    ("accuracy", "drawn latent's first token right", same),
    ("reward", "reward", same),
    ("expected_reward", "expected reward", same),
    ("right", "right answers", same),
    ("tokens", "tokens of an answer", same),
    ("degenerate", "degenerate answers", same),
    ("no_signal", "groups without signal", same),
];

fn same(value: f64) -> f64 {
    value
}

/// The objects of a log.
///
/// # Errors
/// [`Error::Line`] if a line is not a JSON object.
pub fn read(log: &Path) -> Result<Vec<Map<String, Value>>> {
    let text = std::fs::read_to_string(log).map_err(Error::io(log))?;
    let entry = |(line, text): (usize, &str)| {
        serde_json::from_str(text).map_err(|error| Error::Line {
            path: log.into(),
            line: line + 1,
            reason: error.to_string(),
        })
    };
    text.lines().enumerate().map(entry).collect()
}

/// Draws the log: a row of panels for each stage, training steps pale and evaluations at held-out
/// text dark. Nothing is drawn of a log without steps.
///
/// # Errors
/// [`Error::Line`] if a line is not a JSON object.
pub fn draw(log: &Path, picture: &Path) -> Result<()> {
    let rows = rows(&read(log)?);
    if rows.is_empty() { Ok(()) } else { plot::panels(picture, &rows) }
}

/// The panels of each stage, in the order of the log. What never changes is no curve.
fn rows(entries: &[Map<String, Value>]) -> Vec<Vec<Panel>> {
    let mut stages: Vec<&str> = entries.iter().filter_map(|entry| entry.get("stage")?.as_str()).collect();
    stages.dedup();
    let panel = |stage: &str, (field, name, shown): Quantity| {
        let curve = |split: &str| PlotCurve {
            points: entries
                .iter()
                .filter(|entry| is(entry, "stage", stage) && is(entry, "split", split))
                .filter_map(|entry| Some((entry.get("step")?.as_f64()?, shown(entry.get(field)?.as_f64()?))))
                .collect(),
        };
        Panel { title: format!("{stage}: {name}"), train: curve("train"), valid: curve("valid") }
    };
    let rows = stages.into_iter().map(|stage| {
        let panels = QUANTITIES.into_iter().map(|quantity| panel(stage, quantity)).filter(Panel::says_something);
        let mut row: Vec<Panel> = panels.collect();
        // Where the loss is the cross-entropy, one of them will do.
        row.dedup_by(|later, earlier| later.train == earlier.train && later.valid == earlier.valid);
        row
    });
    rows.filter(|row| !row.is_empty()).collect()
}

fn is(entry: &Map<String, Value>, key: &str, value: &str) -> bool {
    entry.get(key).and_then(Value::as_str) == Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn drawn(name: &str, log: &str) -> (Result<()>, Option<String>) {
        let folder = testing::folder(name);
        std::fs::create_dir_all(&folder).unwrap();
        let (path, picture) = (folder.join("log.jsonl"), folder.join("log.svg"));
        std::fs::write(&path, log).unwrap();
        let result = draw(&path, &picture);
        (result, std::fs::read_to_string(picture).ok())
    }

    #[test]
    fn a_stage_has_a_panel_for_each_quantity_that_moves() {
        let line = |stage, split, step, loss, kl| {
            format!(
                "{{\"stage\":\"{stage}\",\"split\":\"{split}\",\"step\":{step},\"loss\":{loss},\"kl\":{kl},\"lr\":{step}}}\n"
            )
        };
        let log = [
            line("control", "train", 0, 2.0, 0.0),
            line("control", "train", 1, 1.5, 0.0),
            line("control", "valid", 1, 1.7, 0.0),
            line("options", "train", 0, 1.4, 0.1),
            line("options", "train", 1, 1.3, 0.2),
            "{\"stage\":\"options\",\"split\":\"kept\",\"step\":1,\"loss\":1.2}\n".into(),
        ];
        let (result, svg) = drawn("history", &log.concat());
        result.unwrap();
        let svg = svg.unwrap();
        for (title, there) in [
            ("control: loss", true),
            ("control: KL", false),
            ("options: loss", true),
            ("options: KL, nats", true),
            ("lr", false),
        ] {
            assert_eq!(svg.contains(title), there, "{title}");
        }
    }

    #[test]
    fn a_log_without_steps_has_no_picture_and_a_broken_one_is_an_error_with_its_line() {
        assert!(matches!(drawn("history-empty", ""), (Ok(()), None)));
        let (result, svg) = drawn("history-broken", "{\"stage\":\"rl\"}\n{\"stage\":\n");
        assert!(matches!(result, Err(Error::Line { line: 2, .. })) && svg.is_none());
    }
}
