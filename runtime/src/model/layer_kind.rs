//! How layers mix tokens: which layers of a file are recurrent, and their shapes.

use ollm_kernels::ops::{DeltaRule, SelectiveScan};

use super::error::ModelError;
use super::family::{Family, RecurrentKind};
use super::keys::FamilyKeys;

/// How a layer mixes tokens. A new kind has a variant here, its tensors in `schema.rs`, its weights
/// in `weights.rs`, its state in `state.rs` and its pass in a file of its own, as `attention.rs`:
/// the compiler names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// Attention over a KV cache.
    Attention,
    /// A gated causal convolution over a few tokens (LFM2, arXiv 2511.23404): recurrent.
    ShortConvolution {
        /// The tokens that it sees, its own included.
        taps: usize,
    },
    /// Linear attention by the gated delta rule (Yang et al. 2024, arXiv 2412.06464): recurrent.
    GatedDeltaNet(DeltaNetConfig),
    /// A selective state-space model (Mamba 2: Dao & Gu 2024, arXiv 2405.21060): recurrent.
    Mamba2(Mamba2Config),
    /// Attention and Mamba 2 side by side: they have the same input, and both are added (Falcon H1:
    /// arXiv 2507.22448).
    AttentionMamba2(Mamba2Config),
}

impl LayerKind {
    /// Whether there is attention in it.
    pub fn has_attention(self) -> bool {
        matches!(self, Self::Attention | Self::AttentionMamba2(_))
    }
}

/// The shape of a gated delta net. Value head `i` has the queries and keys of key head `i` modulo
/// their number, as GGUF orders them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaNetConfig {
    /// Heads of queries and keys.
    pub key_heads: usize,
    /// Heads of values: a multiple of those.
    pub value_heads: usize,
    /// Elements of a head, of queries, keys and values.
    pub head_dim: usize,
    /// The tokens that its convolution sees, their own included.
    pub taps: usize,
}

impl DeltaNetConfig {
    /// Elements of all queries of a token, and of all keys.
    pub fn key_width(&self) -> usize {
        self.key_heads * self.head_dim
    }

    /// Elements of all values of a token.
    pub fn value_width(&self) -> usize {
        self.value_heads * self.head_dim
    }

    /// Channels of the convolution: queries, keys and values, one after the other.
    pub fn channels(&self) -> usize {
        2 * self.key_width() + self.value_width()
    }

    /// Floats that the convolution keeps of the tokens before: `[taps - 1][channels]`.
    pub fn tail_width(&self) -> usize {
        (self.taps - 1) * self.channels()
    }

    /// Floats of the state of the delta rule: see [`DeltaRule::state_width`].
    pub fn state_width(&self) -> usize {
        DeltaRule::state_width(self.value_heads, self.head_dim)
    }
}

/// The shape of Mamba 2. Heads that share B and C are a group, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mamba2Config {
    /// Heads of inputs: a multiple of the groups.
    pub heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Groups of heads.
    pub groups: usize,
    /// Elements of B and C of a group: the state of a head is a matrix of so many rows.
    pub state_size: usize,
    /// The tokens that its convolution sees, their own included.
    pub taps: usize,
}

impl Mamba2Config {
    /// Elements of all heads of a token.
    pub fn inner_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Channels of the convolution: inputs, B and C, one after the other.
    pub fn channels(&self) -> usize {
        self.inner_width() + 2 * self.groups * self.state_size
    }

    /// Rows of the matrix of its inputs: the gate, the channels and the time steps.
    pub fn projected_width(&self) -> usize {
        self.inner_width() + self.channels() + self.heads
    }

    /// Floats that the convolution keeps of the tokens before: `[taps - 1][channels]`.
    pub fn tail_width(&self) -> usize {
        (self.taps - 1) * self.channels()
    }

    /// Floats of the state: see [`SelectiveScan::state_width`].
    pub fn state_width(&self) -> usize {
        SelectiveScan::state_width(self.heads, self.head_dim, self.state_size)
    }
}

/// The key of the layers that are recurrent.
const RECURRENT_LAYERS: &str = "attention.recurrent_layers";

impl FamilyKeys<'_> {
    /// How each layer mixes tokens; the file has so many blocks, those for multi-token prediction
    /// included, and layers with so many key heads.
    pub(super) fn kinds(
        &self,
        family: Family,
        blocks: usize,
        kv_heads: &[usize],
    ) -> Result<Vec<LayerKind>, ModelError> {
        let without_keys = || kv_heads.iter().map(|&heads| heads == 0).collect();
        let (kind, recurrent): (_, Vec<bool>) = match family.recurrent {
            None => return Ok(vec![LayerKind::Attention; kv_heads.len()]),
            Some(RecurrentKind::ShortConvolution) => (self.short_convolution()?, without_keys()),
            Some(RecurrentKind::AttentionMamba2) => {
                (LayerKind::AttentionMamba2(self.mamba2()?), vec![true; kv_heads.len()])
            }
            Some(RecurrentKind::Mamba2) => (LayerKind::Mamba2(self.mamba2()?), without_keys()),
            Some(RecurrentKind::GatedDeltaNet) => {
                (LayerKind::GatedDeltaNet(self.delta_net()?), self.recurrent_layers(blocks, kv_heads.len())?)
            }
        };
        // Where keys tell, a list may tell it once more.
        let listed = self.layer_switches(RECURRENT_LAYERS, blocks)?;
        let agrees = listed.is_none_or(|listed| listed.starts_with(&recurrent));
        self.require(RECURRENT_LAYERS, "another list", agrees, "the layers without keys")?;
        Ok(recurrent.into_iter().map(|is| if is { kind } else { LayerKind::Attention }).collect())
    }

    /// Blocks after the layers, for multi-token prediction.
    pub(super) fn prediction_layers(&self, blocks: usize) -> Result<usize, ModelError> {
        const NAME: &str = "nextn_predict_layers";
        let count = self.opt_u32(NAME)?.unwrap_or(0) as usize;
        self.require(NAME, count, count < blocks, "less than block_count")?;
        Ok(count)
    }

    fn short_convolution(&self) -> Result<LayerKind, ModelError> {
        Ok(LayerKind::ShortConvolution { taps: self.taps("shortconv.l_cache")? })
    }

    fn taps(&self, name: &str) -> Result<usize, ModelError> {
        let taps = self.size(name)?;
        self.require(name, taps, (2..=64).contains(&taps), "2 to 64")?;
        Ok(taps)
    }

    fn delta_net(&self) -> Result<DeltaNetConfig, ModelError> {
        const HEAD: &str = "ssm.state_size";
        const VALUE_HEADS: &str = "ssm.time_step_rank";
        const VALUES: &str = "ssm.inner_size";
        let shape = DeltaNetConfig {
            key_heads: self.size("ssm.group_count")?,
            value_heads: self.size(VALUE_HEADS)?,
            head_dim: self.size(HEAD)?,
            taps: self.taps("ssm.conv_kernel")?,
        };
        self.require(HEAD, shape.head_dim, shape.head_dim <= 1024, "1 to 1024")?;
        let (heads, values) = (shape.value_heads, self.size(VALUES)?);
        self.require(VALUE_HEADS, heads, heads.is_multiple_of(shape.key_heads), "a multiple of ssm.group_count")?;
        self.require(VALUES, values, values == shape.value_width(), "ssm.time_step_rank times ssm.state_size")?;
        Ok(shape)
    }

    fn mamba2(&self) -> Result<Mamba2Config, ModelError> {
        const STATE: &str = "ssm.state_size";
        const HEADS: &str = "ssm.time_step_rank";
        const INNER: &str = "ssm.inner_size";
        let (heads, groups, inner) = (self.size(HEADS)?, self.size("ssm.group_count")?, self.size(INNER)?);
        self.require(HEADS, heads, heads.is_multiple_of(groups), "a multiple of ssm.group_count")?;
        self.require(INNER, inner, inner.is_multiple_of(heads), "a multiple of ssm.time_step_rank")?;
        let state_size = self.size(STATE)?;
        self.require(STATE, state_size, state_size <= 1024, "1 to 1024")?;
        let (head_dim, taps) = (inner / heads, self.taps("ssm.conv_kernel")?);
        Ok(Mamba2Config { heads, head_dim, groups, state_size, taps })
    }

    /// Which layers are recurrent: those of a list with one for each block, or all but each
    /// so-many-th.
    fn recurrent_layers(&self, blocks: usize, layers: usize) -> Result<Vec<bool>, ModelError> {
        const INTERVAL: &str = "full_attention_interval";
        let every = self.opt_size(INTERVAL)?.unwrap_or(4);
        let listed = self.layer_switches(RECURRENT_LAYERS, blocks)?;
        let listed = listed.unwrap_or_else(|| (0..blocks).map(|layer| layer % every != every - 1).collect());
        Ok(listed[..layers].to_vec())
    }
}
