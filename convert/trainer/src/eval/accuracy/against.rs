//! A row compared with another one, problem by problem.

use std::fmt;

use serde::Serialize;

use crate::report::statistics::PairedDifference;

/// What a row earns with each problem.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowRewards {
    /// The mean reward of its answers to each.
    rewards: Vec<f64>,
    /// Whether it is 1 or 0: there is one answer to each, and no price.
    binary: bool,
}

impl RowRewards {
    /// The mean reward of the answers to each problem; `binary` if it is 1 or 0.
    pub fn new(rewards: Vec<f64>, binary: bool) -> Self {
        Self { rewards, binary }
    }

    /// The mean over problems.
    pub fn mean(&self) -> f64 {
        self.rewards.iter().sum::<f64>() / self.rewards.len() as f64
    }
}

/// How a row differs from another one on the same problems.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairedComparison {
    /// The name of the other row.
    pub row: String,
    /// The difference of accuracies, or of rewards where tokens have a price. Of one answer a
    /// problem p is that of `McNemar`'s exact test, of several, or with a price, that of a paired
    /// bootstrap.
    #[serde(flatten)]
    pub paired: PairedDifference,
}

impl PairedComparison {
    /// `row` against `reference`, whose name is `name`; none if they are not of the same problems.
    pub fn new(row: &RowRewards, name: &str, reference: &RowRewards, seed: u64) -> Option<Self> {
        if row.rewards.len() != reference.rewards.len() || row.rewards.is_empty() {
            return None;
        }
        let differences: Vec<f64> = row.rewards.iter().zip(&reference.rewards).map(|(ours, its)| ours - its).collect();
        let paired = if row.binary && reference.binary {
            PairedDifference::mcnemar(&differences, seed)
        } else {
            PairedDifference::bootstrap(&differences, seed)
        };
        Some(Self { row: name.to_owned(), paired })
    }
}

/// `+.072 (33/11) p=.001`: the difference, wins and losses, p.
impl fmt::Display for PairedComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PairedDifference { difference, wins, losses, p, .. } = self.paired;
        // What is rounded to 0 has no sign.
        let sign = match (difference * 1e3).round() {
            0.0 => "",
            rounded if rounded < 0.0 => "-",
            _ => "+",
        };
        let p = if p < 5e-4 { "p<.001".to_owned() } else { format!("p={}", short(p)) };
        f.pad(&format!("{sign}{} ({wins}/{losses}) {p}", short(difference.abs())))
    }
}

/// Three decimals, without the 0 before the point.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.strip_prefix('0').map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(shares: &[f64]) -> RowRewards {
        RowRewards::new(shares.to_vec(), shares.iter().all(|share| share.fract().abs() < 1e-12))
    }

    #[test]
    fn it_reads_as_people_write_it() {
        let text = |difference, p| {
            let paired = PairedDifference { difference, low: 0.0, high: 0.0, wins: 33, losses: 11, p };
            PairedComparison { row: String::new(), paired }.to_string()
        };
        assert_eq!(text(0.0723, 0.0012), "+.072 (33/11) p=.001");
        assert_eq!(text(-0.5, 0.0004), "-.500 (33/11) p<.001");
        assert_eq!(text(-0.0001, 1.0), ".000 (33/11) p=1.000");
        assert_eq!(text(1.0, 0.9996), "+1.000 (33/11) p=1.000");
    }

    #[test]
    fn rows_of_the_same_problems_are_compared_by_the_test_that_fits() {
        let (one, other) = (right(&[1.0, 1.0, 0.0, 1.0, 1.0]), right(&[0.0, 0.0, 0.0, 0.0, 1.0]));
        let exact = PairedComparison::new(&one, "other", &other, 0).unwrap();
        assert_eq!((exact.row.as_str(), exact.paired.wins, exact.paired.losses), ("other", 3, 0));
        assert!((exact.paired.difference - 0.6).abs() < 1e-12 && (exact.paired.p - 0.25).abs() < 1e-12);
        let several = PairedComparison::new(&right(&[0.5, 0.5, 0.0, 0.0, 0.5]), "other", &other, 0).unwrap();
        assert_eq!((several.paired.wins, several.paired.losses), (2, 1));
        assert_eq!(PairedComparison::new(&one, "short", &right(&[1.0]), 0), None);
        assert_eq!(PairedComparison::new(&right(&[]), "none", &right(&[]), 0), None);
        let json = serde_json::to_value(&exact).unwrap();
        // The order of serde_json depends on what else was built with it.
        let keys: std::collections::BTreeSet<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["difference", "high", "losses", "low", "p", "row", "wins"]);
    }
}
