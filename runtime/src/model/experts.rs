//! Mixtures of experts (Shazeer et al. 2017, arXiv 1701.06538): their shape, read from metadata,
//! and the router's choice.
//!
//! A router gives each token a score for each expert. The token passes through the few experts of
//! the highest scores, whose outputs are added, each times its weight.

use ollm_kernels::memory::{self, OutOfMemory};
use ollm_kernels::ops::{Exec, for_each_row, sigmoid, softmax};

use super::error::ModelError;
use super::family::{Family, SharedRule};
use super::keys::FamilyKeys;

/// The shape of a layer's mixture of experts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpertsConfig {
    /// Experts that there are.
    pub count: usize,
    /// Experts that a token passes through.
    pub used: usize,
    /// Width of each.
    pub ffn: usize,
    /// The expert that all tokens pass through beside those.
    pub shared: Option<SharedConfig>,
    /// How scores become weights.
    pub gating: Gating,
    /// Whether the weights of a token are divided by their sum.
    pub normalized: bool,
    /// What the weights are multiplied by in the end.
    pub scale: f32,
}

/// The shape of a shared expert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedConfig {
    /// Its width.
    pub ffn: usize,
    /// Whether its output is multiplied by the sigmoid of a product with the input.
    pub gated: bool,
}

/// How the scores of a router become weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gating {
    /// Softmax over all experts.
    Softmax,
    /// The sigmoid of each.
    Sigmoid,
}

impl ExpertsConfig {
    /// The widest input of a matrix of the experts, except the hidden state.
    pub(super) fn widest(&self) -> usize {
        self.ffn.max(self.shared.map_or(0, |shared| shared.ffn))
    }

    /// The weights of all experts of the tokens, in place of their `scores`: `[n][count]`.
    fn gate(&self, exec: &Exec, scores: &mut [f32]) {
        let isa = exec.isa;
        for_each_row(&exec.pool, scores, self.count, |_, scores| match self.gating {
            Gating::Softmax => softmax(isa, scores),
            Gating::Sigmoid => sigmoid(isa, scores),
        });
    }

    /// Fills `chosen` with the experts of the highest `weights`, each with its `bias` added to it,
    /// in the order of their numbers; of equal ones the first.
    fn choose(&self, weights: &[f32], bias: Option<&[f32]>, chosen: &mut [Choice]) {
        let rank = |expert: usize| weights[expert] + bias.map_or(0.0, |bias| bias[expert]);
        let mut found = 0;
        for (expert, &weight) in weights.iter().enumerate() {
            let is_below = |other: &Choice| is_above(rank(expert), rank(other.expert as usize));
            let higher = chosen[..found].iter().position(is_below);
            let place = higher.unwrap_or(found);
            if place < chosen.len() {
                found = chosen.len().min(found + 1);
                chosen[place..found].rotate_right(1);
                chosen[place] = Choice { expert: expert as u32, weight };
            }
        }
        chosen.sort_unstable_by_key(|choice| choice.expert);
        let total: f32 = if self.normalized { chosen.iter().map(|choice| choice.weight).sum() } else { 1.0 };
        for choice in chosen {
            choice.weight = choice.weight / total * self.scale;
        }
    }
}

/// Whether `x > y`, where what is no number is above all: its sign is the processor's.
fn is_above(x: f32, y: f32) -> bool {
    !y.is_nan() && (x.is_nan() || x.total_cmp(&y).is_gt())
}

/// An expert of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Choice {
    expert: u32,
    weight: f32,
}

/// The experts of the tokens of a pass: what the router chose, grouped by expert.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// The router's scores, then weights: `[n][experts]`
    pub(super) scores: Vec<f32>,
    /// `[n][used]`
    chosen: Vec<Choice>,
    /// The tokens of each expert, one expert after the other: `[n * used]`
    tokens: Vec<u32>,
    /// The weights of those: `[n * used]`
    weights: Vec<f32>,
    /// Where the tokens of each expert end: `[experts]`
    ends: Vec<usize>,
}

impl Routes {
    /// Bytes of `n` tokens.
    pub(super) fn bytes_for(config: &ExpertsConfig, n: usize) -> usize {
        let token = config.count * size_of::<f32>() + config.used * (size_of::<Choice>() + 2 * size_of::<f32>());
        n.saturating_mul(token).saturating_add(config.count * size_of::<usize>())
    }

    /// Makes room for `n` tokens.
    pub(super) fn reserve(&mut self, config: &ExpertsConfig, n: usize) -> Result<(), OutOfMemory> {
        memory::reserve(&mut self.scores, n * config.count)?;
        memory::reserve(&mut self.chosen, n * config.used)?;
        memory::reserve(&mut self.tokens, n * config.used)?;
        memory::reserve(&mut self.weights, n * config.used)?;
        memory::reserve(&mut self.ends, config.count)
    }

    /// Chooses the experts of each token by the scores, and groups the tokens by expert. `bias` is
    /// added to the weights for the choice alone.
    pub(super) fn choose(&mut self, exec: &Exec, config: &ExpertsConfig, bias: Option<&[f32]>) {
        config.gate(exec, &mut self.scores);
        let (n, scores) = (self.scores.len() / config.count, &self.scores);
        self.chosen.resize(n * config.used, Choice::default());
        for_each_row(&exec.pool, &mut self.chosen, config.used, |i, chosen| {
            config.choose(&scores[i * config.count..][..config.count], bias, chosen);
        });
        self.group(config);
    }

    /// A counting sort: the tokens of an expert stay in their order.
    fn group(&mut self, config: &ExpertsConfig) {
        let Self { chosen, tokens, weights, ends, .. } = self;
        tokens.resize(chosen.len(), 0);
        weights.resize(chosen.len(), 0.0);
        ends.clear();
        ends.resize(config.count, 0);
        for choice in chosen.iter() {
            ends[choice.expert as usize] += 1;
        }
        let mut start = 0;
        for end in ends.iter_mut() {
            (*end, start) = (start, start + *end);
        }
        for (i, choice) in chosen.iter().enumerate() {
            let place = &mut ends[choice.expert as usize];
            tokens[*place] = (i / config.used) as u32;
            weights[*place] = choice.weight;
            *place += 1;
        }
    }

    /// The tokens of an expert, ascending, and their weights.
    pub(super) fn of(&self, expert: usize) -> (&[u32], &[f32]) {
        let start = if expert == 0 { 0 } else { self.ends[expert - 1] };
        let range = start..self.ends[expert];
        (&self.tokens[range.clone()], &self.weights[range])
    }
}

impl FamilyKeys<'_> {
    /// The experts of each layer; `None` where its feed-forward network is dense, of width `ffn`.
    pub(super) fn experts(
        &self,
        family: Family,
        layers: usize,
        ffn: usize,
    ) -> Result<Vec<Option<ExpertsConfig>>, ModelError> {
        const COUNT: &str = "expert_count";
        const DENSE: &str = "leading_dense_block_count";
        let found = self.opt_u32(COUNT)?.unwrap_or(0);
        // Some converters wrote that a dense network is one expert.
        if found == 0 || found == 1 && family.experts.is_none() {
            return Ok(vec![None; layers]);
        }
        let count = self.size(COUNT)?;
        let unsupported = || ModelError::Unsupported { key: self.key(COUNT), value: count.to_string() };
        let rules = family.experts.ok_or_else(unsupported)?;
        let used = self.size("expert_used_count")?;
        self.require("expert_used_count", used, used <= count, "at most expert_count")?;
        let shared = self.opt_u32("expert_shared_feed_forward_length")?.filter(|&size| size > 0);
        let shared = shared.map(|_| self.size("expert_shared_feed_forward_length")).transpose()?;
        let scale = self.opt_float("expert_weights_scale")?.filter(|scale| scale.total_cmp(&0.0).is_ne());
        let (gating, normalized) = self.gating(rules.normalized)?;
        let missing_ffn = if rules.shares_ffn { (ffn / used).max(1) } else { ffn };
        let experts = ExpertsConfig {
            count,
            used,
            ffn: self.opt_size("expert_feed_forward_length")?.unwrap_or(missing_ffn),
            shared: match rules.shared {
                SharedRule::None => None,
                SharedRule::IfSized => shared.map(|ffn| SharedConfig { ffn, gated: false }),
                SharedRule::Gated => Some(SharedConfig { ffn: shared.unwrap_or(ffn), gated: true }),
            },
            gating,
            normalized,
            scale: scale.unwrap_or(1.0),
        };
        let dense = self.opt_u32(DENSE)?.unwrap_or(0) as usize;
        self.require(DENSE, dense, dense <= layers, "at most block_count")?;
        let every = self.opt_size("interleave_moe_layer_step")?.unwrap_or(1);
        let of_layer = |layer: usize| (layer >= dense && (layer + 1).is_multiple_of(every)).then_some(experts);
        Ok((0..layers).map(of_layer).collect())
    }

    /// How scores become weights, and whether those are divided by their sum.
    fn gating(&self, normalized: bool) -> Result<(Gating, bool), ModelError> {
        const KIND: &str = "expert_gating_func";
        let normalized = self.opt_bool("expert_weights_norm")?.unwrap_or(normalized);
        // As llama.cpp numbers them; 3 is the softmax of the chosen experts alone, which is that of
        // all of them, normalized.
        match self.opt_u32(KIND)? {
            None | Some(0 | 1) => Ok((Gating::Softmax, normalized)),
            Some(2) => Ok((Gating::Sigmoid, normalized)),
            Some(3) => Ok((Gating::Softmax, true)),
            Some(kind) => Err(ModelError::Unsupported { key: self.key(KIND), value: kind.to_string() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ollm_kernels::cpu::{Isa, Pool};

    fn config(count: usize, used: usize, gating: Gating, normalized: bool) -> ExpertsConfig {
        ExpertsConfig { count, used, ffn: 8, shared: None, gating, normalized, scale: 1.0 }
    }

    fn chosen(config: &ExpertsConfig, weights: &[f32]) -> Vec<(u32, f32)> {
        let mut chosen = vec![Choice::default(); config.used];
        config.choose(weights, None, &mut chosen);
        chosen.iter().map(|choice| (choice.expert, choice.weight)).collect()
    }

    #[test]
    fn the_highest_weights_are_chosen_and_of_equal_ones_the_first() {
        let plain = config(5, 2, Gating::Softmax, false);
        assert_eq!(chosen(&plain, &[0.1, 0.4, 0.0, 0.2, 0.3]), [(1, 0.4), (4, 0.3)]);
        assert_eq!(chosen(&plain, &[0.2; 5]), [(0, 0.2), (1, 0.2)]);
        assert_eq!(chosen(&plain, &[0.1, 0.3, 0.3, 0.3, 0.0]), [(1, 0.3), (2, 0.3)]);
        let all = config(3, 3, Gating::Softmax, false);
        assert_eq!(chosen(&all, &[0.5, 0.2, 0.3]), [(0, 0.5), (1, 0.2), (2, 0.3)]);
    }

    #[test]
    fn weights_are_normalized_and_scaled_and_nan_stays() {
        let scaled = ExpertsConfig { scale: 2.0, ..config(4, 2, Gating::Softmax, true) };
        assert_eq!(chosen(&scaled, &[0.25, 0.0, 0.75, 0.0]), [(0, 0.5), (2, 1.5)]);
        assert!(chosen(&scaled, &[f32::NAN; 4]).iter().all(|(_, weight)| weight.is_nan()));
    }

    /// Weights are what they are without it.
    #[test]
    fn a_bias_counts_for_the_choice_alone() {
        let mut chosen = [Choice::default(); 2];
        let config = config(4, 2, Gating::Sigmoid, true);
        config.choose(&[0.5, 0.25, 0.75, 0.625], Some(&[0.0, 0.625, 0.0, -0.25]), &mut chosen);
        assert_eq!(chosen, [Choice { expert: 1, weight: 0.25 }, Choice { expert: 2, weight: 0.75 }]);
    }

    /// Whatever its sign, which is the processor's, no number is above all.
    #[test]
    fn what_is_no_number_is_chosen_first_on_every_processor() {
        for nan in [f32::NAN, -f32::NAN] {
            let mut chosen = [Choice::default(); 2];
            config(4, 2, Gating::Sigmoid, false).choose(&[0.5, nan, 0.9, -nan], None, &mut chosen);
            assert_eq!(chosen.map(|choice| choice.expert), [1, 3]);
            assert!(is_above(nan, 1.0) && !is_above(1.0, nan) && !is_above(nan, -nan) && is_above(0.5, 0.2));
        }
    }

    #[test]
    fn tokens_are_grouped_by_expert_in_their_order() {
        let scores = [[3.0, 1.0, 2.0, 0.0], [0.0, 1.0, 2.0, 3.0], [9.0, 8.0, 0.0, 0.0]];
        for isa in Isa::available() {
            for gating in [Gating::Softmax, Gating::Sigmoid] {
                let (config, mut routes) = (config(4, 2, gating, false), Routes::default());
                for _ in 0..2 {
                    routes.scores.clear();
                    routes.scores.extend_from_slice(scores.as_flattened());
                    routes.choose(&Exec { isa, pool: Pool::new(2).unwrap() }, &config, None);
                    let tokens = [0, 1, 2, 3].map(|expert| routes.of(expert).0.to_vec());
                    assert_eq!(tokens, [vec![0, 2], vec![2], vec![0, 1], vec![1]], "{isa:?}");
                }
                let weight = |x: f64, row: [f64; 4]| match gating {
                    Gating::Softmax => x.exp() / row.iter().map(|x| x.exp()).sum::<f64>(),
                    Gating::Sigmoid => 1.0 / (1.0 + (-x).exp()),
                };
                let want = [weight(3.0, [3.0, 1.0, 2.0, 0.0]), weight(9.0, [9.0, 8.0, 0.0, 0.0])];
                let got = routes.of(0).1;
                assert!(
                    want.iter().zip(got).all(|(want, &got)| (want - f64::from(got)).abs() < 1e-6),
                    "{isa:?} {got:?}"
                );
            }
        }
    }
}
