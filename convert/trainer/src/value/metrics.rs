//! How good predicted probabilities are: of what is right (ranking) and by how much (calibration).

use serde::Serialize;

/// Bins of predicted probabilities.
const BINS: usize = 10;

/// How good predicted probabilities are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// Predictions.
    pub count: usize,
    /// The share that came true.
    pub base_rate: f64,
    /// The probability that one that came true was predicted to be likelier than one that did not
    /// (area under the receiver operating characteristic); none where all are alike.
    pub auc: Option<f64>,
    /// The mean squared error (Brier 1950).
    pub brier: f64,
    /// The expected calibration error: how far predictions and what came true are apart, the mean
    /// over ten bins of equal width, weighted by their predictions.
    pub calibration_error: f64,
    /// Cross-entropy, nats.
    pub cross_entropy: f64,
}

impl Prediction {
    /// Of probabilities, and of what came true. The figures of none are NaN.
    pub fn new(predicted: &[f64], came_true: &[bool]) -> Self {
        let n = predicted.len() as f64;
        let both = || predicted.iter().zip(came_true).map(|(&p, &t)| (p, f64::from(u8::from(t))));
        let likelihood = |(p, t): (f64, f64)| (if t > 0.5 { p } else { 1.0 - p }).max(f64::MIN_POSITIVE).ln();
        Self {
            count: predicted.len(),
            base_rate: both().map(|(_, t)| t).sum::<f64>() / n,
            auc: auc(predicted, came_true),
            brier: both().map(|(p, t)| (p - t).powi(2)).sum::<f64>() / n,
            calibration_error: calibration_error(predicted, came_true),
            cross_entropy: -both().map(likelihood).sum::<f64>() / n,
        }
    }
}

/// By ranks (Mann and Whitney 1947): equal predictions share theirs.
fn auc(predicted: &[f64], came_true: &[bool]) -> Option<f64> {
    let mut order: Vec<usize> = (0..predicted.len()).collect();
    order.sort_by(|&a, &b| predicted[a].total_cmp(&predicted[b]));
    let (mut ranks, mut first) = (0.0, 0);
    while first < order.len() {
        let equal = order[first..].iter().take_while(|&&i| predicted[i].total_cmp(&predicted[order[first]]).is_eq());
        let last = first + equal.count();
        // Ranks count from 1.
        let rank = (first + 1 + last) as f64 / 2.0;
        ranks += rank * order[first..last].iter().filter(|&&i| came_true[i]).count() as f64;
        first = last;
    }
    let positive = came_true.iter().filter(|&&t| t).count() as f64;
    let negative = came_true.len() as f64 - positive;
    let pairs = positive * negative;
    (pairs > 0.0).then(|| (ranks - positive * (positive + 1.0) / 2.0) / pairs)
}

fn calibration_error(predicted: &[f64], came_true: &[bool]) -> f64 {
    let mut bins = [(0.0, 0.0); BINS];
    for (&p, &t) in predicted.iter().zip(came_true) {
        let bin = &mut bins[((p * BINS as f64) as usize).min(BINS - 1)];
        bin.0 += p;
        bin.1 += f64::from(u8::from(t));
    }
    bins.iter().map(|(predicted, came_true)| (predicted - came_true).abs()).sum::<f64>() / predicted.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predictions_by_hand() {
        let prediction = Prediction::new(&[0.9, 0.6, 0.4, 0.1], &[true, false, true, false]);
        assert_eq!((prediction.count, prediction.base_rate, prediction.auc), (4, 0.5, Some(0.75)));
        assert!((prediction.brier - (0.01 + 0.36 + 0.36 + 0.01) / 4.0).abs() < 1e-12);
        assert!((prediction.calibration_error - (0.1 + 0.6 + 0.6 + 0.1) / 4.0).abs() < 1e-12);
        let cross_entropy = -(0.9f64.ln() + 0.4f64.ln() + 0.4f64.ln() + 0.9f64.ln()) / 4.0;
        assert!((prediction.cross_entropy - cross_entropy).abs() < 1e-12);
    }

    #[test]
    fn equal_predictions_rank_equally_and_one_class_has_no_ranking() {
        assert_eq!(auc(&[0.5; 6], &[true, false, true, false, false, true]), Some(0.5));
        assert_eq!(auc(&[0.2, 0.8, 0.8], &[false, true, false]), Some(0.75));
        assert_eq!(auc(&[0.2, 0.8], &[true, true]), None);
        let none = Prediction::new(&[], &[]);
        assert!(none.auc.is_none() && none.brier.is_nan() && none.calibration_error.is_nan());
    }
}
