//! The schema of a backbone: every tensor with its name, its role and its shape. Binding, import,
//! quantization, the importance matrix, synthetic models and the trainer all read it.
//!
//! The shapes of a family follow from its [`Config`]: what the family adds or leaves out is a row
//! here.

use super::config::{Config, LayerConfig};
use super::experts::{ExpertsConfig, SharedConfig};
use super::family::{NormPlacement, QkNorm, RecurrentKind};
use super::layer_kind::{DeltaNetConfig, LayerKind, Mamba2Config};
use super::name::{Role, TensorName};
use super::pooling::ClassifierConfig;

/// A tensor of a backbone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name, which tells its role.
    pub name: TensorName,
    /// Its row-major shape: outermost dimension first. A vector has one dimension.
    pub shape: Vec<usize>,
    /// Whether a file may leave it out.
    pub optional: bool,
}

impl TensorSpec {
    fn new(role: Role, shape: &[usize]) -> Self {
        Self { name: TensorName::new(role), shape: shape.to_vec(), optional: false }
    }

    /// Whether it is a matrix of a matmul, or the embedding: those are quantized and packed. The
    /// kernels of convolutions are small, and stay as they are, and so do the biases of experts.
    pub fn is_matrix(&self) -> bool {
        self.shape.len() > 1
            && !self.name.is_bias
            && !self.is_table()
            && !matches!(self.name.role, Role::ConvolutionKernel | Role::SsmKernel)
    }

    /// Whether it is a small table whose values stay as they are, and no matrix of a matmul:
    /// vectors that are added to embeddings, norms of single heads or of groups, coefficients of
    /// AltUp, or vectors of Mamba 2.
    pub(super) fn is_table(&self) -> bool {
        matches!(
            self.name.role,
            Role::TokenTypes
                | Role::PositionEmbedding
                | Role::QueryNorm
                | Role::KeyNorm
                | Role::AltUpPrediction
                | Role::AltUpCorrection
                | Role::SsmScale
                | Role::SsmSkip
                | Role::SsmNorm
        )
    }

    fn optional(role: Role, shape: &[usize]) -> Self {
        Self { optional: true, ..Self::new(role, shape) }
    }
}

/// Every tensor that the backbone of this configuration has or may have, from the embedding to the
/// head.
pub fn tensors(config: &Config) -> Vec<TensorSpec> {
    let &Config { hidden, vocab, .. } = config;
    let mut all = vec![TensorSpec::new(Role::Embedding, &[vocab, hidden])];
    if let Some(per_layer) = config.per_layer {
        let width = config.per_layer_width();
        all.push(TensorSpec::new(Role::PerLayerEmbedding, &[vocab, width]));
        all.push(TensorSpec::new(Role::PerLayerProjection, &[width, hidden]));
        all.push(TensorSpec::new(Role::PerLayerProjectionNorm, &[per_layer]));
    }
    if let Some(streams) = config.streams {
        for role in [Role::AltUpProjections, Role::AltUpUnembeddings] {
            all.push(TensorSpec::new(role, &[streams - 1, hidden, hidden]));
        }
    }
    all.extend(config.token_types.map(|types| TensorSpec::new(Role::TokenTypes, &[types, hidden])));
    if config.family.learned_positions {
        all.push(TensorSpec::new(Role::PositionEmbedding, &[config.context_length, hidden]));
    }
    if config.family.embedding_norm {
        all.extend(norm(config, Role::EmbeddingNorm));
    }
    let factors = [Role::RopeFactors, Role::RopeFactorsLong, Role::RopeFactorsShort];
    all.extend(factors.map(|role| TensorSpec::optional(role, &[config.rope.pairs()])));
    for (index, layer) in config.layers.iter().enumerate() {
        let mixer = match layer.kind {
            LayerKind::Attention => attention(config, layer),
            LayerKind::ShortConvolution { taps } => short_convolution(config, taps),
            LayerKind::GatedDeltaNet(shape) => delta_net(config, shape),
            LayerKind::Mamba2(shape) => norm(config, Role::AttentionNorm).chain(mamba2(config, shape)).collect(),
            LayerKind::AttentionMamba2(shape) => [attention(config, layer), mamba2(config, shape)].concat(),
        };
        let parts = [mixer, feed_forward(config, layer), residuals(config), layer_end(config)];
        let is_bare = config.family.bare_first_attention && index == 0;
        let parts = parts.into_iter().flatten().filter(|spec| !is_bare || spec.name.role != Role::AttentionNorm);
        all.extend(parts.map(|mut spec| {
            spec.name.layer = Some(index);
            spec
        }));
    }
    all.extend(config.family.output_norm.into_iter().flat_map(|role| norm(config, role)));
    all.extend(config.dense.iter().flat_map(|dense| linear(dense.role, [dense.outputs, dense.inputs], false)));
    all.extend(config.classifier.iter().flat_map(|it| classifier(config, it)));
    all.push(TensorSpec::optional(Role::Head, &[vocab, hidden]));
    all
}

/// A head for classification.
fn classifier(config: &Config, classifier: &ClassifierConfig) -> Vec<TensorSpec> {
    let hidden = config.hidden;
    let dense = linear(Role::Classifier, [hidden, hidden], false).map(|spec| TensorSpec { optional: true, ..spec });
    let mut all = dense.to_vec();
    all.push(TensorSpec::optional(Role::ClassifierNorm, &[hidden]));
    all.extend(linear(Role::ClassifierOutput, [classifier.labels, hidden], false));
    all
}

/// The weight of a norm of hidden states, and its bias, if the family has biases.
fn norm(config: &Config, role: Role) -> impl Iterator<Item = TensorSpec> {
    let weight = TensorSpec::new(role, &[config.hidden]);
    let bias = config.family.norm_bias.then(|| TensorSpec { name: weight.name.bias(), ..weight.clone() });
    [weight].into_iter().chain(bias)
}

/// A matrix of so many outputs and inputs, and its bias.
fn linear(role: Role, shape: [usize; 2], has_bias: bool) -> [TensorSpec; 2] {
    let bias = TensorSpec { name: TensorName::new(role).bias(), shape: vec![shape[0]], optional: !has_bias };
    [TensorSpec::new(role, &shape), bias]
}

/// The tensors of [`LayerKind::Attention`].
fn attention(config: &Config, layer: &LayerConfig) -> Vec<TensorSpec> {
    let &Config { hidden, family, norms, .. } = config;
    let (queries, keys, projected) = (layer.query_width(), layer.key_width(), config.projected_queries(layer));
    let mut all = Vec::new();
    if norms.is_before() {
        all.extend(norm(config, Role::AttentionNorm));
    }
    // Keys and values of a layer that has those of another may be there in vain.
    let is_shared = layer.kv_source.is_some();
    let needless = |spec: TensorSpec| TensorSpec { optional: spec.optional || is_shared, ..spec };
    if config.fused_attention && !is_shared {
        all.extend(linear(Role::FusedQueryKeyValue, [projected + 2 * keys, hidden], family.attention_bias));
    } else {
        all.extend(linear(Role::Query, [projected, hidden], family.attention_bias));
        all.extend(linear(Role::Key, [keys, hidden], family.attention_bias).map(needless));
        let [mut value, bias] = linear(Role::Value, [keys, hidden], family.attention_bias).map(needless);
        value.optional |= family.keys_as_values && !layer.is_sliding;
        all.extend([value, bias]);
    }
    all.extend(linear(Role::AttentionOutput, [hidden, queries], false));
    all.extend(family.attention_sinks.then(|| TensorSpec::new(Role::AttentionSinks, &[layer.heads])));
    let widths = match family.qk_norm {
        QkNorm::None => None,
        QkNorm::Heads | QkNorm::RotatedHeads => Some([layer.head_dim; 2]),
        QkNorm::Token => Some([queries, keys]),
        QkNorm::OwnHeads => {
            all.push(TensorSpec::optional(Role::QueryNorm, &[layer.heads, layer.head_dim]));
            all.push(TensorSpec::optional(Role::KeyNorm, &[layer.kv_heads, layer.head_dim]));
            None
        }
    };
    if let Some([query, key]) = widths {
        all.push(TensorSpec::new(Role::QueryNorm, &[query]));
        all.push(needless(TensorSpec::new(Role::KeyNorm, &[key])));
    }
    all.extend(norms.post_norms().into_iter().flat_map(|[post_norm, _]| norm(config, post_norm)));
    all
}

/// The tensors of [`LayerKind::ShortConvolution`].
fn short_convolution(config: &Config, taps: usize) -> Vec<TensorSpec> {
    let hidden = config.hidden;
    let mut all: Vec<_> = norm(config, Role::AttentionNorm).collect();
    all.extend(linear(Role::ConvolutionInput, [3 * hidden, hidden], false));
    all.push(TensorSpec::new(Role::ConvolutionKernel, &[hidden, taps]));
    all.extend(linear(Role::ConvolutionOutput, [hidden, hidden], false));
    all
}

/// The tensors of [`LayerKind::GatedDeltaNet`].
fn delta_net(config: &Config, shape: DeltaNetConfig) -> Vec<TensorSpec> {
    let (hidden, heads, values) = (config.hidden, shape.value_heads, shape.value_width());
    let mut all: Vec<_> = norm(config, Role::AttentionNorm).collect();
    all.extend(linear(Role::FusedQueryKeyValue, [shape.channels(), hidden], false));
    all.extend(linear(Role::DeltaGate, [values, hidden], false));
    all.extend(linear(Role::DeltaDecay, [heads, hidden], false));
    all.extend(linear(Role::DeltaRate, [heads, hidden], false));
    let step = TensorSpec::new(Role::SsmStep, &[heads]);
    all.push(TensorSpec { name: step.name.bias(), ..step });
    all.push(TensorSpec::new(Role::SsmScale, &[heads]));
    all.push(TensorSpec::new(Role::SsmKernel, &[shape.channels(), shape.taps]));
    all.push(TensorSpec::new(Role::SsmNorm, &[shape.head_dim]));
    all.extend(linear(Role::SsmOutput, [hidden, values], false));
    all
}

/// The tensors of Mamba 2 but for the norm of its input, in the shapes that llama.cpp has.
fn mamba2(config: &Config, shape: Mamba2Config) -> Vec<TensorSpec> {
    let (hidden, inner, channels) = (config.hidden, shape.inner_width(), shape.channels());
    let mut all = vec![TensorSpec::new(Role::SsmInput, &[shape.projected_width(), hidden])];
    let step = TensorSpec::new(Role::SsmStep, &[shape.heads]);
    all.push(TensorSpec { name: step.name.bias(), ..step });
    all.extend([Role::SsmScale, Role::SsmSkip].map(|role| TensorSpec::new(role, &[shape.heads, 1])));
    let kernel = TensorSpec::new(Role::SsmKernel, &[channels, shape.taps]);
    all.push(TensorSpec { name: kernel.name.bias(), ..TensorSpec::optional(Role::SsmKernel, &[channels]) });
    all.push(kernel);
    let optional = config.family.recurrent == Some(RecurrentKind::AttentionMamba2);
    all.push(TensorSpec { optional, ..TensorSpec::new(Role::SsmNorm, &[shape.groups, inner / shape.groups]) });
    all.push(TensorSpec::new(Role::SsmOutput, &[hidden, inner]));
    all
}

/// The feed-forward network of a layer, with its norms.
fn feed_forward(config: &Config, layer: &LayerConfig) -> Vec<TensorSpec> {
    let mut all = Vec::new();
    if matches!(config.norms, NormPlacement::Before | NormPlacement::Around) {
        all.extend(norm(config, config.family.ffn_norm));
    }
    all.extend(config.norms.post_norms().into_iter().flat_map(|[_, post_norm]| norm(config, post_norm)));
    match layer.experts {
        Some(layer) => all.extend(experts(config, &layer)),
        None => all.extend(dense(config, layer.ffn)),
    }
    all
}

/// The tensors of LAuReL and AltUp.
fn residuals(config: &Config) -> Vec<TensorSpec> {
    let (hidden, mut all) = (config.hidden, Vec::new());
    if let Some(rank) = config.family.laurel_rank {
        all.push(TensorSpec::new(Role::LaurelLeft, &[rank, hidden]));
        all.push(TensorSpec::new(Role::LaurelRight, &[hidden, rank]));
        all.extend(norm(config, Role::LaurelPostNorm));
    }
    if let Some(streams) = config.streams {
        all.push(TensorSpec::new(Role::AltUpRouter, &[streams, hidden]));
        all.extend(norm(config, Role::AltUpRouterNorm));
        all.push(TensorSpec::new(Role::AltUpPrediction, &[streams * streams, streams]));
        all.push(TensorSpec::new(Role::AltUpCorrection, &[streams, streams]));
        all.push(TensorSpec::new(Role::AltUpCorrectionScale, &[hidden]));
    }
    all
}

/// What comes after the feed-forward network.
fn layer_end(config: &Config) -> Vec<TensorSpec> {
    let (hidden, mut all) = (config.hidden, Vec::new());
    if let Some(per_layer) = config.per_layer {
        all.push(TensorSpec::new(Role::PerLayerGate, &[per_layer, hidden]));
        all.push(TensorSpec::new(Role::PerLayerOutput, &[hidden, per_layer]));
        all.push(TensorSpec::new(Role::PerLayerPostNorm, &[hidden]));
    }
    all.extend(config.family.layer_scale.then(|| TensorSpec::optional(Role::LayerScale, &[1])));
    all
}

/// A feed-forward network of this width.
fn dense(config: &Config, ffn: usize) -> Vec<TensorSpec> {
    let (hidden, family, mut all) = (config.hidden, config.family, Vec::new());
    if family.gated && !family.fused_gate {
        all.extend(linear(Role::FfnGate, [ffn, hidden], false));
    }
    let up = if family.gated && family.fused_gate { 2 * ffn } else { ffn };
    all.extend(linear(Role::FfnUp, [up, hidden], false));
    all.extend(linear(Role::FfnDown, [hidden, ffn], false));
    all
}

/// A mixture of experts: the router, the stacked matrices of all experts, and the shared expert.
fn experts(config: &Config, experts: &ExpertsConfig) -> Vec<TensorSpec> {
    let (hidden, &ExpertsConfig { count, ffn, shared, .. }) = (config.hidden, experts);
    let mut all = vec![
        TensorSpec::new(Role::FfnRouter, &[count, hidden]),
        TensorSpec::new(Role::FfnGateExperts, &[count, ffn, hidden]),
        TensorSpec::new(Role::FfnUpExperts, &[count, ffn, hidden]),
        TensorSpec::new(Role::FfnDownExperts, &[count, hidden, ffn]),
    ];
    if config.family.experts.is_some_and(|rules| rules.biases) {
        // One for each row.
        let bias = |weight: &TensorSpec| {
            let (name, mut shape) = (weight.name.bias(), weight.shape.clone());
            shape.pop();
            TensorSpec { name, shape, optional: false }
        };
        let biases: Vec<_> = all.iter().map(bias).collect();
        all.extend(biases);
    }
    if config.family.experts.is_some_and(|rules| rules.selection_bias) {
        let bias = TensorSpec::optional(Role::FfnSelectionBias, &[count]);
        all.push(TensorSpec { name: bias.name.bias(), ..bias });
    }
    if let Some(SharedConfig { ffn, gated }) = shared {
        all.extend(gated.then(|| TensorSpec::new(Role::FfnSharedRouter, &[hidden])));
        all.push(TensorSpec::new(Role::FfnGateShared, &[ffn, hidden]));
        all.push(TensorSpec::new(Role::FfnUpShared, &[ffn, hidden]));
        all.push(TensorSpec::new(Role::FfnDownShared, &[hidden, ffn]));
    }
    all
}

#[cfg(test)]
mod tests;
