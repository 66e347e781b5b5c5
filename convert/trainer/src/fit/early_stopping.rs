//! Early stopping: the best evaluation on held-out text, and how many evaluations went by without a
//! better one.

use crate::data::tensor_file::Tensors;
use crate::error::Result;
use crate::plugin::params::Params;

/// What an evaluation is compared by: the lower, the better.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct HeldOutLoss {
    /// The loss.
    pub loss: f64,
    /// Decides between equal losses.
    pub then: f64,
}

impl From<f64> for HeldOutLoss {
    fn from(loss: f64) -> Self {
        Self { loss, then: 0.0 }
    }
}

/// The best evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// Steps taken before it.
    pub step: u64,
    /// Its loss.
    pub loss: f64,
}

/// Keeps the tensors that had the lowest held-out loss of a stage. Without patience it keeps
/// nothing and never ends a stage.
pub struct EarlyStopping {
    patience: Option<u64>,
    /// The lowest loss so far; infinite before the first evaluation.
    pub loss: HeldOutLoss,
    /// The steps that were taken before it.
    pub step: u64,
    /// Evaluations since then.
    pub evaluations: u64,
    best: Tensors,
}

impl EarlyStopping {
    /// Gives up after `patience` evaluations without a lower loss.
    pub fn new(patience: Option<u64>) -> Self {
        Self { patience, loss: f64::INFINITY.into(), step: 0, evaluations: 0, best: Tensors::new() }
    }

    /// Takes notice of an evaluation after `step` steps.
    pub fn record(&mut self, loss: HeldOutLoss, step: u64, params: &Params) -> Result<()> {
        if self.patience.is_none() {
            return Ok(());
        }
        if loss < self.loss {
            // A variable is written in place: a detached tensor would change with it.
            let copy = params.trained().map(|(name, var)| Ok((name.clone(), var.as_detached_tensor().copy()?)));
            (self.loss, self.step, self.evaluations, self.best) = (loss, step, 0, copy.collect::<Result<_>>()?);
        } else {
            self.evaluations += 1;
        }
        Ok(())
    }

    /// Whether patience is at its end.
    pub fn is_over(&self) -> bool {
        self.patience.is_some_and(|patience| self.evaluations >= patience)
    }

    /// Whether there was an evaluation worth going back to.
    pub fn has_best(&self) -> bool {
        !self.best.is_empty()
    }

    /// Goes back to the best tensors.
    pub fn keep_best(&self, params: &Params) -> Result<()> {
        if self.has_best() { params.restore(&self.best) } else { Ok(()) }
    }

    /// The best tensors, under `best.NAME`.
    pub fn tensors(&self) -> impl Iterator<Item = (String, candle_core::Tensor)> + '_ {
        self.best.iter().map(|(name, tensor)| (format!("best.{name}"), tensor.clone()))
    }

    /// Takes up the tensors that [`Self::tensors`] gave.
    pub fn restore(&mut self, tensors: &Tensors) {
        let best = tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix("best.")?, tensor)));
        self.best = best.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use ollm_runtime::plugin::schema::DecoderKind;

    #[test]
    fn the_best_tensors_are_kept_until_patience_ends() {
        let params = testing::random_params(&testing::spec(4, DecoderKind::LowRank { width: 8, rank: 2 }));
        let name = params.trained().next().unwrap().0.clone();
        let read = || params.tensor(&name).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let scale = |factor: f64| {
            for (_, var) in params.trained() {
                var.set(&(var.as_tensor() * factor).unwrap()).unwrap();
            }
        };
        let mut watch = EarlyStopping::new(Some(2));
        let mut kept = Vec::new();
        for (step, loss) in [3.0, 2.0, 2.5, 2.0].into_iter().enumerate() {
            assert!(!watch.is_over());
            scale(2.0);
            watch.record(loss.into(), step as u64, &params).unwrap();
            if step == 1 {
                kept = read();
            }
        }
        assert!(watch.is_over());
        assert_eq!((watch.step, watch.loss), (1, 2.0.into()));
        let equal = HeldOutLoss { loss: 2.0, then: -0.1 };
        assert!(equal < 2.0.into() && HeldOutLoss::from(1.9) < equal);
        assert_ne!(read(), kept);
        watch.keep_best(&params).unwrap();
        assert_eq!(read(), kept);
        let mut other = EarlyStopping::new(None);
        (0..9).for_each(|step| other.record(9.0.into(), step, &params).unwrap());
        assert!(!other.is_over() && !other.has_best());
    }
}
