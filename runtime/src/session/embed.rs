//! Embeddings: one vector for a text; and scores of its labels, or of a pair of texts.

use ollm_kernels::memory;
use ollm_kernels::ops::{Activation, Exec, MatmulOp, Quantized, activate, add, layer_norm, matmul, soft_cap, softmax};

use crate::model::{ClassifierRule, Linear, Model, Pooling};
use crate::tokenizer::TextPair;

use super::error::SessionError;
use super::state::Session;

type Result<T, E = SessionError> = std::result::Result<T, E>;

/// Tokens of a text that are read in one pass at most, where attention is causal: enough to be
/// bound by arithmetic, and few enough that others wait for little.
const PASS: usize = 128;

impl Session {
    /// The embedding of a text: the hidden states of its tokens, after the final norm, pooled as
    /// `pooling` says, or else the model's file ([`Config::pooling`](crate::model::Config)), then
    /// through the dense layers that the model may have:
    /// `[`[`embedding_width`](crate::model::Config::embedding_width)`]`. If it is `normalized`, its
    /// Euclidean norm is 1. The session forgets what it held, and holds these tokens afterwards;
    /// none, where attention is bidirectional: then the text is read in one pass, whose buffers
    /// grow with its length.
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
        let pooled = self.pooled(tokens, pooling, between)?;
        let mut embedding = self.through_dense_layers(pooled)?;
        if normalized {
            let norm = embedding.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
            let norm = norm.max(f64::MIN_POSITIVE);
            for x in &mut embedding {
                *x = (f64::from(*x) / norm) as f32;
            }
        }
        Ok(embedding)
    }

    /// The logits that the model's head for classification gives the labels of a pair of texts, or
    /// of a text that is all of the first segment: `[labels]`. The session holds afterwards what it
    /// holds after [`Session::embed`].
    ///
    /// # Errors
    /// [`SessionError::NoClassifier`], or as [`Session::embed`].
    pub fn classify(&mut self, pair: &TextPair) -> Result<Vec<f32>> {
        self.classify_watched(pair, &mut || {})
    }

    fn classify_watched(&mut self, pair: &TextPair, between: &mut dyn FnMut()) -> Result<Vec<f32>> {
        let model = self.model().clone();
        let weights = model.weights().classifier.as_ref().ok_or(SessionError::NoClassifier)?;
        self.sequence.second = pair.second;
        // Only a head that is trained on either is told by the file what it reads.
        let rule = model.config().family.classifier;
        let pooling = (rule != ClassifierRule::Mean).then_some(rule.pooling());
        let pooled = self.pooled(&pair.tokens, pooling, between);
        self.sequence.second = usize::MAX;
        let (mut x, config) = (pooled?, model.config());
        let exec = &mut self.sequence.machine.exec;
        if let Some(dense) = &weights.dense {
            x = through(exec, &model, dense, &x)?;
            match config.family.classifier {
                ClassifierRule::Mean => activate(exec.isa, Activation::GeluErf, &mut x),
                // The hyperbolic tangent is a soft-cap of 1.
                ClassifierRule::First | ClassifierRule::Last => soft_cap(exec.isa, &mut x, 1.0),
            }
        }
        if let Some(norm) = &weights.norm {
            layer_norm(exec.isa, &mut x, &norm.weight, norm.bias.as_deref(), config.norm_epsilon);
        }
        through(exec, &model, &weights.output, &x)
    }

    /// How relevant the document of a pair is to its query: the logit of a model with one label, as
    /// it was trained; of one with several the probability of the label `yes`, or of the first.
    ///
    /// # Errors
    /// As [`Session::classify`].
    pub fn rank(&mut self, pair: &TextPair) -> Result<f32> {
        self.rank_watched(pair, &mut || {})
    }

    /// As [`Session::rank`]; `between` is called behind each batch of tokens, so that others go on
    /// while a long text is read.
    ///
    /// # Errors
    /// As [`Session::classify`].
    pub fn rank_watched(&mut self, pair: &TextPair, between: &mut dyn FnMut()) -> Result<f32> {
        let mut logits = self.classify_watched(pair, between)?;
        if logits.len() > 1 {
            softmax(self.sequence.machine.exec.isa, &mut logits);
        }
        let relevant = self.sequence.config().classifier.as_ref().map_or(0, |classifier| classifier.relevant);
        Ok(logits[relevant])
    }

    /// The hidden states of a text, pooled: `[hidden]`.
    fn pooled(&mut self, tokens: &[u32], pooling: Option<Pooling>, between: &mut dyn FnMut()) -> Result<Vec<f32>> {
        if tokens.is_empty() {
            return Err(SessionError::Empty);
        }
        self.sequence.check_at(0, tokens)?;
        self.reset();
        let (config, mut states) = (self.sequence.config(), Vec::new());
        let (width, batch) = (config.hidden, config.pass_tokens(tokens.len()));
        let batch = if config.causal { batch.min(PASS) } else { batch };
        let pooling = pooling.unwrap_or(config.pooling);
        // Batch by batch: a long text's states are not held at once.
        let (mut pooled, count) = (vec![0.0_f64; width], tokens.len() as f64);
        for (i, batch) in tokens.chunks(batch).enumerate() {
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
        let divisor = if pooling == Pooling::Mean { count } else { 1.0 };
        Ok(pooled.into_iter().map(|x| (x / divisor) as f32).collect())
    }

    /// What the dense layers of the model give of a vector; itself, if there are none.
    fn through_dense_layers(&mut self, mut x: Vec<f32>) -> Result<Vec<f32>> {
        let model = self.model().clone();
        let exec = &mut self.sequence.machine.exec;
        for layer in &model.weights().dense {
            x = through(exec, &model, layer, &x)?;
        }
        Ok(x)
    }
}

/// What a layer gives of one vector.
fn through(exec: &mut Exec, model: &Model, layer: &Linear, x: &[f32]) -> Result<Vec<f32>> {
    let matrix = model.matrix(&layer.weight);
    let (mut scratch, mut out) = (Quantized::default(), memory::filled(0.0, matrix.rows())?);
    scratch.reserve(1, matrix.cols())?;
    matmul(exec, x, matrix.cols(), &mut scratch, &mut [MatmulOp { matrix, out: &mut out }]);
    if let Some(bias) = &layer.bias {
        add(&mut out, bias);
    }
    Ok(out)
}
