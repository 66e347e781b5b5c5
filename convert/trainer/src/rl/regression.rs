//! Latents held for the whole answer: rewards are regressed on states, and where a policy chooses
//! what is expected to earn most, it needs no step (the direct method of contextual bandits, Dudík
//! et al. 2011, arXiv 1103.4601).
//!
//! `f_z(h)`, what latent z is expected to earn in state h, is linear in the normed state (ridge
//! regression): with hundreds of problems and as many dimensions, a gradient finds which latent is
//! best, and hardly when. How much is shrunk is chosen by cross-validation of what the chosen
//! latents earn; shrunk to nothing, the latent that earns most is chosen everywhere.

use candle_core::{Device, Tensor};
use nalgebra::{Cholesky, DMatrix, RowDVector};

use crate::error::{Error, Result};
use crate::eval::accuracy::{LatentTable, Reward};
use crate::plugin::deploy::with;
use crate::plugin::file::Loaded;
use crate::plugin::nets::names;

/// What is tried as the ridge, for each problem; and a choice that no state changes.
const RIDGES: [f64; 8] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];
/// Parts of the problems, each of which is foretold from the others.
const FOLDS: usize = 5;
/// The least that a nat counts: of no entropy, a policy would have infinite logits.
const LEAST_ENTROPY: f64 = 1e-2;

/// The plugin with the policy `pi(z|h) ∝ exp(f_z(h) / entropy)`: that of the most expected reward
/// and `entropy` times its own entropy. `f` is learned from the answers of all latents to some
/// problems.
///
/// The policy is an MLP, in which `silu(x) - silu(-x) = x`: two inner units for each latent make it
/// linear.
///
/// # Errors
/// [`Error::Setting`] if the policy has fewer inner units; [`Error::NonFinite`].
pub fn regressed(plugin: &Loaded, table: &LatentTable, reward: Reward, entropy: f64) -> Result<Loaded> {
    let (options, width) = (plugin.spec.options, plugin.spec.policy_width);
    if width < 2 * options {
        let reason = format!("regression takes a policy of {} inner units, and this one has {width}", 2 * options);
        return Err(Error::Setting { name: "--start", reason });
    }
    let epsilon = f64::from(plugin.spec.norm_epsilon);
    let states = normed(&table.states, epsilon);
    let rewards = |i: usize, z: usize| {
        let grade = &table.grades[i][z];
        reward.of(grade.score, grade.tokens)
    };
    let rewards = DMatrix::from_fn(states.nrows(), options, rewards);
    let expected = cross_validated(&states, &rewards)?;
    expected.as_policy_of(plugin, entropy.max(LEAST_ENTROPY))
}

/// Each state by its root mean square, as the policy's norm divides it. `[N, d]`
fn normed(states: &[Vec<f32>], epsilon: f64) -> DMatrix<f64> {
    let columns = states.first().map_or(0, Vec::len);
    let mut all = DMatrix::from_fn(states.len(), columns, |i, j| f64::from(states[i][j]));
    for mut row in all.row_iter_mut() {
        let scale = 1.0 / (row.norm_squared() / columns as f64 + epsilon).sqrt();
        row *= scale;
    }
    all
}

/// What latents are expected to earn, with the ridge under which the latents that it chooses earn
/// most on problems that it was not learned from.
fn cross_validated(states: &DMatrix<f64>, rewards: &DMatrix<f64>) -> Result<ExpectedRewards> {
    let mut earned = [0.0; RIDGES.len()];
    let mut fixed = 0.0;
    for fold in 0..FOLDS {
        let (known, asked): (Vec<usize>, Vec<usize>) = (0..states.nrows()).partition(|i| i % FOLDS != fold);
        if known.is_empty() {
            continue;
        }
        let moments = Moments::new(&states.select_rows(&known), &rewards.select_rows(&known));
        let (states, rewards) = (states.select_rows(&asked), rewards.select_rows(&asked));
        for (earned, ridge) in earned.iter_mut().zip(RIDGES) {
            *earned += moments.expected(Some(ridge))?.earns(&states, &rewards);
        }
        fixed += moments.expected(None)?.earns(&states, &rewards);
    }
    // Of those that earn the same, the one that depends least on the state.
    let mut best = (None, fixed);
    for (ridge, earned) in RIDGES.into_iter().zip(earned).rev() {
        if earned > best.1 {
            best = (Some(ridge), earned);
        }
    }
    Moments::new(states, rewards).expected(best.0)
}

/// What a regression needs of states and rewards.
struct Moments {
    count: f64,
    /// Mean and standard deviation of the states. `[d]`
    mean: RowDVector<f64>,
    deviation: RowDVector<f64>,
    /// The mean of the rewards. `[K]`
    reward: RowDVector<f64>,
    /// Second moments of standardised states: with themselves, `[d, d]`, and with rewards,
    /// `[d, K]`.
    states: DMatrix<f64>,
    cross: DMatrix<f64>,
}

impl Moments {
    fn new(states: &DMatrix<f64>, rewards: &DMatrix<f64>) -> Self {
        let (mean, reward) = (states.row_mean(), rewards.row_mean());
        // A dimension that is the same everywhere says nothing, and stays nothing.
        let deviation = states.row_variance().map(|variance| if variance > 0.0 { variance.sqrt() } else { 1.0 });
        let mut standard = states.clone();
        for mut row in standard.row_iter_mut() {
            row -= &mean;
            row.component_div_assign(&deviation);
        }
        let (of_states, cross) = (standard.tr_mul(&standard), standard.tr_mul(rewards));
        Self { count: states.nrows() as f64, mean, deviation, reward, states: of_states, cross }
    }

    /// With this ridge for each problem; none: the state does not count.
    fn expected(&self, ridge: Option<f64>) -> Result<ExpectedRewards> {
        let Self { count, mean, deviation, reward, states, cross } = self;
        let mut weights = DMatrix::zeros(cross.nrows(), cross.ncols());
        if let Some(ridge) = ridge {
            let mut ridged = states.clone();
            for i in 0..ridged.nrows() {
                ridged[(i, i)] += ridge * count;
            }
            let factors = Cholesky::new(ridged);
            let not_finite = || Error::NonFinite { what: "a regression of rewards".into() };
            weights = factors.ok_or_else(not_finite)?.solve(cross);
        }
        for (mut row, deviation) in weights.row_iter_mut().zip(deviation.iter()) {
            row /= *deviation;
        }
        let offset = reward - mean * &weights;
        Ok(ExpectedRewards { weights, offset })
    }
}

/// `f(h) = n W + b` of the normed state n.
struct ExpectedRewards {
    /// `[d, K]`
    weights: DMatrix<f64>,
    /// `[K]`
    offset: RowDVector<f64>,
}

impl ExpectedRewards {
    /// What each latent is expected to earn. `[N, d]` -> `[N, K]`.
    fn of(&self, states: &DMatrix<f64>) -> DMatrix<f64> {
        let mut all = states * &self.weights;
        for mut row in all.row_iter_mut() {
            row += &self.offset;
        }
        all
    }

    /// What the latents earn, of these `[N, K]`, that are expected to earn most: the sum.
    fn earns(&self, states: &DMatrix<f64>, rewards: &DMatrix<f64>) -> f64 {
        let expected = self.of(states);
        expected
            .row_iter()
            .zip(rewards.row_iter())
            .map(|(expected, rewards)| rewards[expected.transpose().imax()])
            .sum()
    }

    /// The plugin with the policy that prefers latents by this, `entropy` being a nat's worth.
    fn as_policy_of(&self, plugin: &Loaded, entropy: f64) -> Result<Loaded> {
        let (d, options) = self.weights.shape();
        let width = plugin.spec.policy_width;
        // Policies do not change by what all latents have in common: weights stay small without.
        let common = self.weights.column_mean();
        let weight = |unit: usize, j: usize| match (unit / options, unit % options) {
            (0, z) => self.weights[(j, z)] - common[j],
            (1, z) => common[j] - self.weights[(j, z)],
            _ => 0.0,
        };
        let out = |z: usize, unit: usize| match unit.checked_sub(z) {
            Some(0) => 1.0 / entropy,
            Some(between) if between == options => -1.0 / entropy,
            _ => 0.0,
        };
        let tensor = |rows: usize, columns: usize, value: &dyn Fn(usize, usize) -> f64| {
            let values = (0..rows * columns).map(|i| value(i / columns, i % columns) as f32);
            Tensor::from_vec(values.collect::<Vec<f32>>(), (rows, columns), &Device::Cpu)
        };
        let vector = |size, value: &dyn Fn(usize) -> f64| tensor(1, size, &|_, i| value(i))?.squeeze(0);
        let parts = [
            ("norm.weight", vector(d, &|_| 1.0)?),
            ("in.weight", tensor(width, d, &weight)?),
            ("in.bias", vector(width, &|_| 0.0)?),
            ("out.weight", tensor(options, width, &out)?),
            ("out.bias", vector(options, &|z| (self.offset[z] - self.offset.mean()) / entropy)?),
        ];
        let named = parts.map(|(part, tensor)| (format!("{}.{part}", names::POLICY), tensor));
        Ok(with(plugin, named.iter().map(|(name, tensor)| (name.as_str(), tensor.clone()))))
    }
}

#[cfg(test)]
mod tests {
    use ollm_runtime::plugin::schema::{DecoderKind, PluginConfig};

    use super::*;
    use crate::eval::accuracy::argmax;
    use crate::rl::task::tests::table;
    use crate::testing::{self, assert_close};

    fn plugin(policy_width: usize) -> Loaded {
        let spec = testing::spec(4, DecoderKind::LowRank { width: 8, rank: 2 });
        let spec = PluginConfig { policy_width, ..spec };
        Loaded { tensors: testing::random_params(&spec).tensors(), spec }
    }

    #[test]
    fn each_state_gets_the_latent_that_pays_there() {
        let plugin = plugin(7);
        // Five times the same eight problems, so that each fold knows both kinds.
        let mut table = table(plugin.spec.options);
        for _ in 0..4 {
            let (grades, states) = (table.grades[..8].to_vec(), table.states[..8].to_vec());
            table.grades.extend(grades);
            table.states.extend(states);
        }
        let policy = regressed(&plugin, &table, Reward::default(), 0.1).unwrap();
        for (grades, policy) in table.grades.iter().zip(table.policy(&policy).unwrap()) {
            assert!(grades[argmax(&policy)].is_right(), "{policy:?}");
        }
    }

    #[test]
    fn where_states_say_nothing_the_latent_that_earns_most_is_chosen_everywhere() {
        let plugin = plugin(6);
        let mut table = table(plugin.spec.options);
        let grades = table.grades[0].clone();
        let best = grades.iter().position(crate::eval::accuracy::Grade::is_right).unwrap();
        table.grades.fill(grades);
        let policy = regressed(&plugin, &table, Reward::default(), 0.5).unwrap();
        let rows = table.policy(&policy).unwrap();
        // Softmax of 1 / .5 beside zeros.
        let want = 2.0_f64.exp() / (2.0_f64.exp() + 2.0);
        assert!(rows.iter().all(|row| argmax(row) == best && (row[best] - want).abs() < 1e-6), "{rows:?}");
    }

    #[test]
    fn the_policy_is_the_regression_by_hand() {
        let plugin = plugin(8);
        // One dimension: y = 1 + 2 x for latent 0, nothing for the others.
        let states = DMatrix::from_fn(4, 4, |i, j| if j == 0 { i as f64 - 1.5 } else { 0.0 });
        let rewards = DMatrix::from_fn(4, 3, |i, z| if z == 0 { 1.0 + 2.0 * (i as f64 - 1.5) } else { 0.0 });
        let expected = Moments::new(&states, &rewards).expected(Some(0.25)).unwrap();
        // Standardised states have squares of 4 in all, so a ridge of .25 * 4 leaves 4 / 5.
        assert_close(expected.weights[(0, 0)] as f32, 1.6, 1e-6);
        assert_close(expected.offset[0] as f32, 1.0, 1e-6);
        let with_policy = expected.as_policy_of(&plugin, 0.5).unwrap();
        let state = vec![1.0, -1.0, 1.0, 1.0];
        let table = LatentTable { grades: Vec::new(), states: vec![state.clone()], samples: Vec::new() };
        let [policy] = table.policy(&with_policy).unwrap().try_into().unwrap();
        // The state's root mean square is 1: f is 1 + 1.6 and nothing.
        assert_close((policy[0] / policy[1]).ln() as f32, 2.6 / 0.5, 1e-3);
        assert_close(policy[1] as f32, policy[2] as f32, 1e-6);
    }

    #[test]
    fn a_policy_without_room_is_refused() {
        let plugin = plugin(5);
        let outcome = regressed(&plugin, &table(plugin.spec.options), Reward::default(), 0.1);
        assert!(matches!(outcome, Err(Error::Setting { name: "--start", .. })));
    }
}
