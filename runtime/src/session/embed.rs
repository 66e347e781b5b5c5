//! Embeddings: one vector for a text.

use crate::model::{BATCH, Pooling};

use super::error::SessionError;
use super::state::Session;

type Result<T, E = SessionError> = std::result::Result<T, E>;

impl Session {
    /// The embedding of a text: the hidden states of its tokens, after the final norm, pooled as
    /// `pooling` says, or else the model's file ([`Config::pooling`](crate::model::Config)):
    /// `[hidden]`. If it is `normalized`, its Euclidean norm is 1. The session forgets what it held,
    /// and holds these tokens afterwards.
    ///
    /// # Errors
    /// [`SessionError::Empty`] without tokens, or as [`Session::feed`].
    pub fn embed(&mut self, tokens: &[u32], pooling: Option<Pooling>, normalized: bool) -> Result<Vec<f32>> {
        self.embed_watched(tokens, pooling, normalized, &mut || {})
    }

    /// As [`Session::embed`]; `between` is called behind each batch of tokens, so that others go on
    /// while a long text is read.
    ///
    /// # Errors
    /// As [`Session::embed`].
    pub fn embed_watched(
        &mut self,
        tokens: &[u32],
        pooling: Option<Pooling>,
        normalized: bool,
        between: &mut dyn FnMut(),
    ) -> Result<Vec<f32>> {
        if tokens.is_empty() {
            return Err(SessionError::Empty);
        }
        self.sequence.check_at(0, tokens)?;
        self.reset();
        let (width, mut states) = (self.sequence.config().hidden, Vec::new());
        let pooling = pooling.unwrap_or(self.sequence.config().pooling);
        // Batch by batch: a long text's states are not held at once.
        let (mut pooled, count) = (vec![0.0_f64; width], tokens.len() as f64);
        for (i, batch) in tokens.chunks(BATCH).enumerate() {
            states.clear();
            self.hidden_states(batch, &mut states)?;
            let add = |pooled: &mut [f64], state: &[f32]| {
                pooled.iter_mut().zip(state).for_each(|(sum, x)| *sum += f64::from(*x));
            };
            match pooling {
                Pooling::Mean => states.chunks_exact(width).for_each(|state| add(&mut pooled, state)),
                Pooling::Cls if i == 0 => add(&mut pooled, &states[..width]),
                Pooling::Cls => {}
                Pooling::Last => {
                    pooled.fill(0.0);
                    add(&mut pooled, &states[states.len() - width..]);
                }
            }
            between();
        }
        let norm = pooled.iter().map(|x| x * x).sum::<f64>().sqrt();
        let divisor = match (normalized, pooling) {
            (true, _) => norm.max(f64::MIN_POSITIVE),
            (false, Pooling::Mean) => count,
            (false, _) => 1.0,
        };
        Ok(pooled.into_iter().map(|x| (x / divisor) as f32).collect())
    }
}
