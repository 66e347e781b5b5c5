//! `LoRA` (Hu et al. 2021, arXiv 2106.09685): `W' = W + alpha / r · B A`, of which A and B are
//! trained.
//!
//! W' is made once a step, for the cost of a few tokens, so that the network's products are as many
//! as without adapters. With the inputs x and the gradient g of the outputs, the gradient of W' is
//! `gᵀ x`; those of A and B are made without it.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use clap::ValueEnum;
use ollm_convert::adapter::{Adapter, Factors, factor_names};
use ollm_runtime::model::TensorName;
use serde::{Deserialize, Serialize};

use crate::data::tensor_file::FileMetadata;
use crate::data::tensor_file::Tensors;
use crate::error::Result;
use crate::features::backbone::BackboneDescription;
use crate::limits::{require, require_counts, require_positive};
use crate::lora::network::{MATRICES, Network};
use crate::plugin::nets::PARAMETER_SHARE;
use crate::plugin::params::{Params, normal};
use crate::ranks::tree::add_to;

/// A matrix of each block that gets an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names of the matrices")]
pub enum LoraTarget {
    Q,
    K,
    V,
    O,
    Gate,
    Up,
    Down,
}

impl LoraTarget {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// Whether it is this matrix.
    fn is(self, name: &str) -> bool {
        TensorName::parse(name).is_some_and(|name| name.role == MATRICES[self as usize])
    }
}

/// Which matrices get adapters, and how large they are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoraShape {
    /// The matrices that get adapters.
    pub targets: Vec<LoraTarget>,
    /// Rank r; none: so that there are as many trained parameters as in a plugin.
    pub rank: Option<usize>,
    /// alpha; none: 2 r.
    pub alpha: Option<f64>,
}

impl LoraShape {
    /// Refuses shapes that nobody means.
    pub fn check(&self) -> Result<()> {
        require(!self.targets.is_empty(), "--targets", "at least one matrix must be trained")?;
        require_counts(&[("--rank", self.rank.unwrap_or(1))])?;
        self.alpha.map_or(Ok(()), |alpha| require_positive("--alpha", alpha))
    }
}

/// The settings of `lora`. Two runs with equal settings on the same device give the same adapters.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoraSettings {
    /// The adapters.
    #[serde(flatten)]
    pub shape: LoraShape,
    /// Passes over the data.
    pub epochs: usize,
    /// Problems a step.
    pub batch: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// Steps between evaluations on the held-out problems; the best evaluation is kept.
    #[serde(rename = "survey_every")]
    pub eval_every: u64,
    /// Stop after this many evaluations in a row that found nothing better.
    pub patience: Option<u64>,
    /// Seed of every random choice.
    pub seed: u64,
}

impl LoraSettings {
    /// Refuses settings that cannot be trained.
    pub fn check(&self) -> Result<()> {
        self.shape.check()?;
        require_counts(&[("--batch", self.batch), ("--epochs", self.epochs)])?;
        require(self.eval_every > 0, "--eval-every", "must be at least 1")?;
        require(self.patience != Some(0), "--patience", "must be at least 1")?;
        require_positive("--lr", self.lr)
    }

    /// What a checkpoint must agree with.
    pub fn identity(&self, about: &BackboneDescription, data: &str) -> FileMetadata {
        let settings = crate::data::tensor_file::sorted_json(self);
        [("settings", settings), ("backbone", about.identity()), ("data", data.to_owned())]
            .map(|(key, value)| (key.to_owned(), value))
            .into()
    }
}

/// Which matrices have adapters, and of which shape.
#[derive(Clone, Debug)]
pub struct Lora {
    /// Rank r.
    pub rank: usize,
    /// alpha.
    pub alpha: f64,
    /// Names and shapes `[out, in]` of the matrices.
    matrices: Vec<(String, [usize; 2])>,
}

impl Lora {
    /// Adapters of that shape on this network, of a backbone of so many parameters.
    pub fn new(shape: &LoraShape, network: &Network, parameters: u64) -> Result<Self> {
        let wanted = network.matrices().filter(|(name, _)| shape.targets.iter().any(|target| target.is(name)));
        let matrices = wanted.map(|(name, weight)| Ok((name.to_owned(), weight.dims2()?.into())));
        let matrices: Vec<(String, [usize; 2])> = matrices.collect::<Result<_>>()?;
        let each: usize = matrices.iter().map(|(_, [out, input])| out + input).sum();
        let fitting = || (parameters as f64 * PARAMETER_SHARE / each as f64).round().max(1.0) as usize;
        let rank = shape.rank.unwrap_or_else(fitting);
        Ok(Self { rank, alpha: shape.alpha.unwrap_or(2.0 * rank as f64), matrices })
    }

    /// Names and shapes `[out, in]` of the matrices that have adapters.
    pub fn matrices(&self) -> &[(String, [usize; 2])] {
        &self.matrices
    }

    /// Number of trained parameters.
    pub fn parameters(&self) -> usize {
        self.matrices.iter().map(|(_, [out, input])| self.rank * (out + input)).sum()
    }

    /// `alpha / r`.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    /// What a file of adapters says of them.
    pub fn metadata(&self, about: &BackboneDescription) -> FileMetadata {
        let Self { rank, alpha, .. } = self;
        let fields = [
            ("lora.rank", rank.to_string()),
            ("lora.alpha", alpha.to_string()),
            ("lora.architecture", about.backbone.architecture.clone()),
            ("lora.backbone", about.identity()),
        ];
        fields.map(|(key, value)| (key.to_owned(), value)).into()
    }

    /// The adapters with these values as a file has them.
    pub fn to_file(&self, tensors: &Tensors) -> Result<Adapter> {
        let values = |name: &str| -> Result<Vec<f32>> {
            let found = tensors.get(name).ok_or(candle_core::Error::CannotFindTensor { path: name.into() })?;
            Ok(found.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
        };
        let pair = |(matrix, _): &(String, [usize; 2])| {
            let [a, b] = factor_names(matrix);
            Ok((matrix.clone(), Factors { rank: self.rank, a: values(&a)?, b: values(&b)? }))
        };
        Ok(Adapter::new(self.alpha, self.matrices.iter().map(pair).collect::<Result<_>>()?))
    }

    /// Fresh adapters: A random, B zero, so that W' is W.
    pub fn params(&self, seed: u64, device: &Device) -> Result<Params> {
        let mut tensors = Tensors::new();
        for (matrix, [out, input]) in &self.matrices {
            let [a, b] = factor_names(matrix);
            let random = normal(&a, self.rank * input, (*input as f32).sqrt().recip(), seed);
            tensors.insert(a, Tensor::from_vec(random, (self.rank, *input), device)?);
            tensors.insert(b, Tensor::zeros((*out, self.rank), DType::F32, device)?);
        }
        Params::all(&tensors)
    }

    /// The adapters with these values, which must all be there and have their shapes.
    pub fn adapters(&self, tensors: &Tensors, dtype: DType) -> Result<Adapters> {
        let get = |name: &str, shape: [usize; 2]| -> Result<Tensor> {
            let found = tensors.get(name).ok_or(candle_core::Error::CannotFindTensor { path: name.into() })?;
            found
                .dims2()
                .and_then(|dims| if <[usize; 2]>::from(dims) == shape { Ok(()) } else { mismatch(found, shape) })?;
            Ok(found.to_dtype(dtype)?)
        };
        let pair = |(matrix, [out, input]): &(String, [usize; 2])| {
            let [a, b] = factor_names(matrix);
            Ok((matrix.clone(), [get(&a, [self.rank, *input])?, get(&b, [*out, self.rank])?]))
        };
        Ok(Adapters { scale: self.scale(), pairs: self.matrices.iter().map(pair).collect::<Result<_>>()? })
    }
}

fn mismatch(found: &Tensor, shape: [usize; 2]) -> candle_core::Result<()> {
    candle_core::bail!("an adapter of shape {:?} where {shape:?} is needed", found.dims())
}

/// A (`[r, in]`) and B (`[out, r]`) of each matrix.
pub struct Adapters {
    scale: f64,
    pairs: BTreeMap<String, [Tensor; 2]>,
}

impl Adapters {
    /// The network with W' in place of W.
    pub fn apply(&self, network: &Network) -> Result<Network> {
        network.with(|name, weight| match self.delta(name)? {
            Some(delta) => Ok((weight + delta)?),
            None => Ok(weight.clone()),
        })
    }

    /// `W' - W`, if the matrix has an adapter.
    pub fn delta(&self, matrix: &str) -> Result<Option<Tensor>> {
        let delta = |[a, b]: &[Tensor; 2]| Ok((b * self.scale)?.matmul(a)?);
        self.pairs.get(matrix).map(delta).transpose()
    }

    /// Adds the gradients of A and B to `sums`, from a matrix's inputs `[n, in]` and the gradient
    /// of its outputs `[n, out]`.
    pub fn add_gradients(&self, matrix: &str, x: &Tensor, gradient: &Tensor, sums: &mut Tensors) -> Result<()> {
        let Some([a, b]) = self.pairs.get(matrix) else { return Ok(()) };
        let [name_a, name_b] = factor_names(matrix);
        let (low, back) = ((x.matmul(&a.t()?)? * self.scale)?, (gradient.matmul(b)? * self.scale)?);
        add_to(sums, name_a, &back.t()?.matmul(x)?)?;
        add_to(sums, name_b, &gradient.t()?.matmul(&low)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, normal};

    #[test]
    fn the_default_rank_gives_the_share_of_a_plugin() {
        let network = testing::network(&testing::model("qwen3"), DType::F32);
        let parameters = 1_000_000;
        let lora =
            Lora::new(&testing::lora_settings(LoraTarget::ALL.to_vec(), None).shape, &network, parameters).unwrap();
        let each = lora.parameters() / lora.rank;
        assert!(lora.parameters().abs_diff((parameters as f64 * PARAMETER_SHARE) as usize) <= each / 2);
        assert_eq!(lora.alpha.to_bits(), (2.0 * lora.rank as f64).to_bits());
    }

    #[test]
    fn targets_name_their_matrices_in_every_block() {
        let network = testing::network(&testing::model("qwen2"), DType::F32);
        let blocks = network.matrices().count() / MATRICES.len();
        let lora =
            Lora::new(&testing::lora_settings(vec![LoraTarget::V, LoraTarget::Down], Some(3)).shape, &network, 1)
                .unwrap();
        let names: Vec<_> = lora.matrices().iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.len(), 2 * blocks);
        assert_eq!(names[..2], ["blk.0.attn_v.weight", "blk.0.ffn_down.weight"]);
    }

    #[test]
    fn fresh_adapters_change_nothing() {
        let network = testing::network(&testing::model("qwen3"), DType::F32);
        let lora = Lora::new(&testing::lora_settings(LoraTarget::ALL.to_vec(), Some(2)).shape, &network, 1).unwrap();
        let params = lora.params(0, &Device::Cpu).unwrap();
        let adapted = lora.adapters(&params.tensors(), DType::F32).unwrap().apply(&network).unwrap();
        for ((_, before), (_, after)) in network.matrices().zip(adapted.matrices()) {
            assert_eq!(before.to_vec2::<f32>().unwrap(), after.to_vec2::<f32>().unwrap());
        }
    }

    /// With the gradient G of W', that of B is `s G Aᵀ` and that of A is `s Bᵀ G`.
    #[test]
    fn gradients_are_the_chain_rule() {
        let name = "blk.0.attn_q.weight";
        let (a, b) = (normal("a", &[2, 5], 1.0), normal("b", &[3, 2], 1.0));
        let adapters = Adapters { scale: 0.7, pairs: [(name.to_owned(), [a.clone(), b.clone()])].into() };
        let (x, g) = (normal("x", &[4, 5], 1.0), normal("g", &[4, 3], 1.0));
        let mut sums = Tensors::new();
        for _ in 0..2 {
            adapters.add_gradients(name, &x, &g, &mut sums).unwrap();
        }
        adapters.add_gradients("blk.0.attn_k.weight", &x, &g, &mut sums).unwrap();
        assert_eq!(sums.len(), 2);
        let full = (g.t().unwrap().matmul(&x).unwrap() * 1.4).unwrap();
        let close = |got: &Tensor, want: Tensor| {
            let want: Vec<f32> = want.flatten_all().unwrap().to_vec1().unwrap();
            assert!(testing::difference(got, &want) < 1e-5);
        };
        close(&sums[&format!("{name}.lora_a")], b.t().unwrap().matmul(&full).unwrap());
        close(&sums[&format!("{name}.lora_b")], full.matmul(&a.t().unwrap()).unwrap());
    }
}
