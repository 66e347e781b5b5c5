//! The backbone: configuration, checked weights, state, and one forward pass for every family.

mod adapter;
mod altup;
mod attention;
mod bind;
mod checkpoints;
mod config;
mod config_keys;
mod delta_net;
mod error;
mod experts;
mod family;
mod feed_forward;
pub mod fingerprint;
mod forward;
mod keys;
mod laurel;
mod layer_kind;
mod load;
mod mamba2;
mod name;
mod pass;
mod per_layer;
mod pooling;
mod rope;
mod saved;
pub mod schema;
mod short_convolution;
mod state;
mod tensor;
mod weights;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use ollm_kernels::ops::Matrix;

use crate::gguf::Gguf;
use crate::storage::Storage;

pub use adapter::{Adapted, Adapter};
pub use config::{BATCH, Config, LayerConfig, QueryTemperature};
pub use error::ModelError;
pub use experts::{ExpertsConfig, Gating, SharedConfig};
pub use family::{
    ClassifierRule, DefaultScales, ExpertRules, FAMILIES, Family, NormKind, NormPlacement, QkNorm, RecurrentKind,
    RopeLayers, SharedRule,
};
pub use fingerprint::{FINETUNE_KEY, fingerprint, weights_fingerprint};
pub use forward::{forward, head};
pub use layer_kind::{DeltaNetConfig, LayerKind, Mamba2Config};
pub use load::{LoadOptions, LoadProgress};
pub use name::{PLUGIN_PREFIX, Role, TensorName, split_layer};
pub use pass::{Part, Stage, Watch};
pub use pooling::{ClassifierConfig, DenseConfig, Pooling};
pub use rope::Rope;
pub use schema::TensorSpec;
pub use state::{Scratch, State};
pub use tensor::{Tensor, vector};
pub use weights::{
    AltUp, AltUpLayer, Attention, Classifier, DeltaNet, Dense, Experts, FeedForward, KeysValues, Laurel, Layer, Linear,
    Mamba2, Mixer, Network, Norm, PerLayerEmbedding, PerLayerInput, SharedExpert, ShortConvolution, Stack, Weights,
};

/// A backbone, immutable: share it between sessions with [`Arc`].
#[derive(Debug)]
pub struct Model {
    storage: Arc<Storage>,
    gguf: Gguf,
    config: Config,
    weights: Weights,
    /// Computed when it is first asked for.
    weights_fingerprint: OnceLock<u64>,
}

impl Model {
    /// Maps the GGUF file at `path` and binds its weights. The file must stay as it is: see
    /// [`Storage::open`].
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        Self::from_storage(Storage::open(path)?)
    }

    /// Binds and packs the weights of the GGUF file in `storage`.
    pub fn from_storage(storage: Storage) -> Result<Self, ModelError> {
        Self::load(storage, LoadOptions::default())
    }

    /// Binds and packs the weights of the GGUF file in `storage`, as `options` say.
    ///
    /// # Errors
    /// [`ModelError`] if the file is not a backbone that can be run; [`ModelError::MemoryLimit`],
    /// [`ModelError::NoMemoryForWeights`] or [`ModelError::Cancelled`].
    pub fn load(storage: Storage, options: LoadOptions<'_>) -> Result<Self, ModelError> {
        let gguf = Gguf::of(&storage).map_err(ModelError::Gguf)?;
        let config = Config::from_gguf(&gguf, &storage)?;
        let mut weights = Weights::bind(&gguf, &storage, &config)?;
        weights.pack(&storage, options)?;
        Ok(Self { storage: Arc::new(storage), gguf, config, weights, weights_fingerprint: OnceLock::new() })
    }

    /// The parsed file: metadata and tensor descriptions.
    pub fn gguf(&self) -> &Gguf {
        &self.gguf
    }

    /// The bytes of the file.
    pub fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    /// The shape of the network.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The bound weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The weights of a bound tensor.
    pub fn matrix<'a>(&'a self, tensor: &'a Tensor) -> Matrix<'a> {
        tensor.matrix(&self.storage)
    }

    /// Identifies the backbone, whatever the types of its tensors: see [`fingerprint()`].
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.gguf, &self.storage)
    }

    /// Identifies the weights, to the bit, as far as samples can: see [`weights_fingerprint()`].
    pub fn weights_fingerprint(&self) -> u64 {
        *self.weights_fingerprint.get_or_init(|| weights_fingerprint(&self.gguf, &self.storage))
    }

    /// The token embeddings as floats: `[vocab][hidden]`.
    pub fn embedding_weights(&self) -> Vec<f32> {
        self.dequantize(&self.weights.embedding)
    }

    /// The head (the embeddings again, if they are tied) as floats: `[vocab][hidden]`; nothing, if
    /// the model has none.
    pub fn head_weights(&self) -> Vec<f32> {
        self.weights.head.as_ref().map_or_else(Vec::new, |head| self.dequantize(head))
    }

    fn dequantize(&self, tensor: &Tensor) -> Vec<f32> {
        let matrix = self.matrix(tensor);
        let mut out = vec![0.0; matrix.rows() * matrix.cols()];
        matrix.decode(&mut out);
        out
    }

    /// Writes the embedding of `token` to `out` (`hidden` floats). The token is in the vocabulary.
    pub(crate) fn embed(&self, token: u32, out: &mut [f32]) {
        self.decode_row(&self.weights.embedding, token, out);
    }

    /// Writes the row of `token`, which is in the vocabulary, of a table of embeddings to `out`.
    pub(crate) fn decode_row(&self, table: &Tensor, token: u32, out: &mut [f32]) {
        self.matrix(table).slice(token as usize..token as usize + 1).decode(out);
    }
}
