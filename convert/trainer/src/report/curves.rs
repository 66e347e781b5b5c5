//! Runs of `rl` beside each other: what held-out answers earn, over the answers that were drawn to
//! learn from.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::report::history;
use crate::report::plot::{Axes, Series, lines};

/// Runs that are one curve: several of the same kind, say, with more and more problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurveRuns {
    /// The name of the curve.
    pub name: String,
    /// The folders or logs of the runs.
    pub logs: Vec<PathBuf>,
}

/// Draws a field of the evaluations of runs' logs, over the rollouts of the steps before.
///
/// A run that learns from the same answers at every step (held latents) is one point: its best
/// evaluation, which is what it kept, at the number of these answers. What it was at first is a
/// point at 0.
///
/// # Errors
/// [`Error::Line`] if a line is not a JSON object, [`Error::Setting`] if no evaluation has the
/// field.
pub fn draw(picture: &Path, field: &str, curves: &[CurveRuns]) -> Result<()> {
    let series = |runs: &CurveRuns| {
        let mut points = Vec::new();
        for log in &runs.logs {
            points.extend(evaluations(log, field)?);
        }
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup();
        Ok(Series { name: runs.name.clone(), points })
    };
    let series: Vec<Series> = curves.iter().map(series).collect::<Result<_>>()?;
    if let Some(Series { name, .. }) = series.iter().find(|series| series.points.is_empty()) {
        let reason = format!("no evaluation of {name:?} has a number named {field:?}");
        return Err(Error::Setting { name: "--field", reason });
    }
    lines(picture, &Axes { x: "rollouts".into(), y: format!("{field}, held-out problems") }, &series)
}

/// The log of a run, which is that or its folder.
pub fn log_of(run: &Path) -> PathBuf {
    if run.is_dir() { run.join("log.jsonl") } else { run.to_owned() }
}

/// The evaluations of a log: rollouts before, and the field.
fn evaluations(log: &Path, field: &str) -> Result<Vec<(f64, f64)>> {
    let log = &log_of(log);
    let (mut rollouts, mut steps, mut points) = (0.0, Vec::new(), Vec::new());
    // What each point earned, by which the run chose among them.
    let mut earned = Vec::new();
    for entry in history::read(log)? {
        let number = |name: &str| entry.get(name).and_then(Value::as_f64);
        match entry.get("split").and_then(Value::as_str) {
            Some("train") => {
                rollouts = number("rollouts").unwrap_or(rollouts);
                steps.push(rollouts);
            }
            Some("valid") => {
                if let Some(value) = number(field) {
                    points.push((rollouts, value));
                    earned.push((number("reward"), number("expected_reward")));
                }
            }
            _ => {}
        }
    }
    let same = steps.len() > 1 && steps.iter().all(|step| step.to_bits() == steps[0].to_bits());
    if !same {
        return Ok(points);
    }
    // The first of equal ones is kept, as early stopping does. What it was at first has no answers,
    // and where that is what was kept, all of them have led to it.
    let mut best = 0;
    for at in 1..points.len() {
        if earned[at] > earned[best] {
            best = at;
        }
    }
    let kept = points.get(best).map(|(_, value)| (rollouts, *value));
    Ok(points.first().copied().into_iter().chain(kept).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn log(name: &str, lines: &[String]) -> testing::TestPath {
        let path = testing::folder(name);
        std::fs::write(&path, lines.concat()).unwrap();
        path
    }

    fn train(rollouts: u32) -> String {
        format!("{{\"split\":\"train\",\"reward\":9,\"rollouts\":{rollouts}}}\n")
    }

    fn valid(reward: f64) -> String {
        format!("{{\"split\":\"valid\",\"reward\":{reward}}}\n")
    }

    #[test]
    fn steps_with_new_answers_are_a_curve_and_those_with_the_same_a_point() {
        let drawn = log("curves-drawn", &[valid(0.2), train(8), train(16), valid(0.3), train(24), valid(0.25)]);
        assert_eq!(evaluations(&drawn, "reward").unwrap(), [(0.0, 0.2), (16.0, 0.3), (24.0, 0.25)]);
        let held = log("curves-held", &[valid(0.2), train(30), train(30), valid(0.5), train(30), valid(0.4)]);
        assert_eq!(evaluations(&held, "reward").unwrap(), [(0.0, 0.2), (30.0, 0.5)]);
        let picture = testing::folder("curves.svg");
        let runs = |name: &str, path: &Path| CurveRuns { name: name.into(), logs: vec![path.into()] };
        let curves = [runs("drawn <", &drawn), runs("held", &held)];
        draw(&picture, "reward", &curves).unwrap();
        let svg = std::fs::read_to_string(&picture).unwrap();
        for text in ["drawn &lt;", "held", "rollouts", "reward, held-out problems"] {
            assert!(svg.contains(text), "{text}");
        }
        let refused = draw(&picture, "kl", &curves).err().unwrap().to_string();
        assert!(refused.contains("kl") && refused.contains("drawn"), "{refused}");
        let broken = log("curves-broken", &[valid(0.2), "so".into()]);
        let refused = draw(&picture, "reward", &[runs("r", &broken)]);
        assert!(matches!(refused, Err(Error::Line { line: 2, .. })));
        assert_eq!(std::fs::read_to_string(&picture).unwrap(), svg);
    }
}
