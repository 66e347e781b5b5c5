//! Recurrent layers as `config.json` says them: which they are, and their shapes.

use ollm_runtime::gguf::Value;
use ollm_runtime::model::{DeltaNetConfig, Mamba2Config, Role};

use super::architecture::{ATTENTION, MAMBA, RecurrentKeys};
use super::document::Document;
use super::part::Part;
use crate::Result;
use crate::quantize::{HeadGroups, Order, Strides};

/// The recurrent layers of a model.
pub(super) enum HfRecurrent {
    /// Short convolutions, and which layers are such.
    ShortConvolutions { taps: usize, layers: Vec<bool> },
    /// Gated delta nets, which layers are such, and the interval of the others, where nothing else
    /// is said of them.
    DeltaNets { shape: DeltaNetConfig, layers: Vec<bool>, interval: usize },
    /// Mamba 2, and which layers are such: all, in parallel with attention, where nothing is said.
    /// Whether its convolution has a bias, and it a norm behind the gate.
    Mamba2 { shape: Mamba2Config, layers: Option<Vec<bool>>, has_bias: bool, has_norm: bool },
}

const KINDS: &str = "layer_types";

impl HfRecurrent {
    /// `hidden` is the size of the hidden state.
    pub(super) fn read(json: &Document, keys: RecurrentKeys, layers: usize, hidden: usize) -> Result<Option<Self>> {
        match keys {
            RecurrentKeys::None => Ok(None),
            RecurrentKeys::ShortConvolutions { .. } => Self::short_convolutions(json, layers).map(Some),
            RecurrentKeys::DeltaNets => Self::delta_nets(json, layers).map(Some),
            RecurrentKeys::Mamba2 => Self::mamba2(json, layers, hidden).map(Some),
            RecurrentKeys::AttentionMamba2 => Self::attention_mamba2(json, hidden).map(Some),
        }
    }

    /// Those of `layer_types`, else those that are not in `full_attn_idxs`; none without either.
    fn short_convolutions(json: &Document, layers: usize) -> Result<Self> {
        const INDICES: &str = "full_attn_idxs";
        let taps = json.opt_size("conv_L_cache")?.unwrap_or(3);
        let layers = if let Some(layers) = by_type(json, layers, &["conv"], "conv, full_attention")? {
            layers
        } else if let Some(indices) = json.opt_list(INDICES)? {
            let index = |value: &serde_json::Value| {
                let index =
                    value.as_u64().and_then(|index| usize::try_from(index).ok()).filter(|&index| index < layers);
                index.ok_or_else(|| json.bad(INDICES, "a list of numbers below num_hidden_layers"))
            };
            let attention = indices.iter().map(index).collect::<std::result::Result<Vec<_>, _>>()?;
            (0..layers).map(|layer| !attention.contains(&layer)).collect()
        } else {
            vec![false; layers]
        };
        Ok(Self::ShortConvolutions { taps, layers })
    }

    /// Those of `layer_types`, else all but each so-many-th.
    fn delta_nets(json: &Document, layers: usize) -> Result<Self> {
        const VALUE_HEADS: &str = "linear_num_value_heads";
        const VALUE_HEAD: &str = "linear_value_head_dim";
        let size = |key, missing| json.opt_size(key).map(|size| size.unwrap_or(missing));
        let shape = DeltaNetConfig {
            key_heads: size("linear_num_key_heads", 16)?,
            value_heads: size(VALUE_HEADS, 32)?,
            head_dim: size("linear_key_head_dim", 128)?,
            taps: size("linear_conv_kernel_dim", 4)?,
        };
        if !shape.value_heads.is_multiple_of(shape.key_heads) {
            return Err(json.bad(VALUE_HEADS, "a multiple of linear_num_key_heads").into());
        }
        if size(VALUE_HEAD, 128)? != shape.head_dim {
            return Err(json.unsupported(VALUE_HEAD, "linear_key_head_dim").into());
        }
        let interval = size("full_attention_interval", 4)?;
        let by_type = by_type(json, layers, &["linear_attention"], "linear_attention, full_attention")?;
        let layers = by_type.unwrap_or_else(|| (0..layers).map(|layer| layer % interval != interval - 1).collect());
        Ok(Self::DeltaNets { shape, layers, interval })
    }

    /// Those of `layer_types`, which has to be there.
    fn mamba2(json: &Document, layers: usize, hidden: usize) -> Result<Self> {
        let layers = by_type(json, layers, &MAMBA, "mamba, attention")?.ok_or_else(|| json.missing(KINDS))?;
        let shape = mamba2_shape(json, size(json, "mamba_expand", 2)? * hidden)?;
        Ok(Self::Mamba2 { shape, layers: Some(layers), has_bias: has_conv_bias(json)?, has_norm: true })
    }

    /// In all layers.
    fn attention_mamba2(json: &Document, hidden: usize) -> Result<Self> {
        const INNER: &str = "mamba_d_ssm";
        const FIRST: &str = "mamba_norm_before_gate";
        let expanded = size(json, "mamba_expand", 2)? * hidden;
        let inner = if json.is_null(INNER) { expanded } else { size(json, INNER, 1024)? };
        let has_norm = json.opt_bool("mamba_rms_norm")?.unwrap_or(false);
        if has_norm && json.opt_bool(FIRST)?.unwrap_or(true) {
            return Err(json.unsupported(FIRST, "false, where mamba_rms_norm is true").into());
        }
        let shape = mamba2_shape(json, inner)?;
        Ok(Self::Mamba2 { shape, layers: None, has_bias: has_conv_bias(json)?, has_norm })
    }

    /// Their keys in GGUF.
    pub(super) fn keys(&self) -> Vec<(&'static str, Value)> {
        let number = |key, value: usize| (key, Value::U32(value as u32));
        match self {
            Self::ShortConvolutions { taps, .. } => vec![number("shortconv.l_cache", *taps)],
            Self::DeltaNets { shape, layers, interval } => vec![
                number("ssm.conv_kernel", shape.taps),
                number("ssm.state_size", shape.head_dim),
                number("ssm.group_count", shape.key_heads),
                number("ssm.time_step_rank", shape.value_heads),
                number("ssm.inner_size", shape.value_width()),
                ("attention.recurrent_layers", layers.clone().into()),
                number("full_attention_interval", *interval),
            ],
            Self::Mamba2 { shape, .. } => vec![
                number("ssm.conv_kernel", shape.taps),
                number("ssm.state_size", shape.state_size),
                number("ssm.group_count", shape.groups),
                number("ssm.time_step_rank", shape.heads),
                number("ssm.inner_size", shape.inner_width()),
            ],
        }
    }

    /// What a tensor is of that of transformers, where it is not made of its rows: the norm of
    /// Mamba 2 is a vector there, and a row for each group in GGUF.
    pub(super) fn part(&self, role: Role) -> Option<Part> {
        match (self, role) {
            (Self::Mamba2 { shape, .. }, Role::SsmNorm) => {
                let inner = shape.inner_width();
                let strides = Strides { first: 0, matrix: 0, row: inner / shape.groups, column: 1 };
                Some(Part::Elements { strides, shape: [1, 1, inner] })
            }
            _ => None,
        }
    }

    /// The order of a tensor in GGUF.
    pub(super) fn order(&self, role: Role) -> Order {
        match self {
            Self::ShortConvolutions { .. } | Self::Mamba2 { .. } => Order::Stored,
            Self::DeltaNets { shape, .. } => delta_order(*shape, role),
        }
    }
}

/// The order of a tensor of a gated delta net in GGUF: heads of values that share a key lie apart
/// there.
pub(super) fn delta_order(shape: DeltaNetConfig, role: Role) -> Order {
    let heads = |first, size| HeadGroups { first, groups: shape.key_heads, heads: shape.value_heads, size };
    match role {
        Role::FusedQueryKeyValue | Role::SsmKernel => Order::Rows(heads(2 * shape.key_width(), shape.head_dim)),
        Role::DeltaGate => Order::Rows(heads(0, shape.head_dim)),
        Role::DeltaDecay | Role::DeltaRate => Order::Rows(heads(0, 1)),
        Role::SsmStep | Role::SsmScale => Order::Columns(heads(0, 1)),
        Role::SsmOutput => Order::Columns(heads(0, shape.head_dim)),
        _ => Order::Stored,
    }
}

fn size(json: &Document, key: &str, missing: usize) -> Result<usize> {
    Ok(json.opt_size(key)?.unwrap_or(missing))
}

/// Whether the convolution of Mamba 2 has a bias.
fn has_conv_bias(json: &Document) -> Result<bool> {
    Ok(json.opt_bool("mamba_conv_bias")?.unwrap_or(true))
}

/// The shape of Mamba 2, all of whose heads have so many elements.
fn mamba2_shape(json: &Document, inner: usize) -> Result<Mamba2Config> {
    const HEADS: &str = "mamba_n_heads";
    const HEAD: &str = "mamba_d_head";
    const LIMIT: &str = "time_step_limit";
    let (heads, groups) = (size(json, HEADS, 128)?, size(json, "mamba_n_groups", 1)?);
    if !heads.is_multiple_of(groups) || !inner.is_multiple_of(heads) {
        let rule = "a multiple of mamba_n_groups that divides mamba_d_ssm, or mamba_expand * hidden_size";
        return Err(json.bad(HEADS, rule).into());
    }
    let head_dim = inner / heads;
    let is_auto = json.get(HEAD).is_some_and(|size| size == "auto");
    if !is_auto && json.opt_size(HEAD)?.is_some_and(|size| size != head_dim) {
        return Err(json.bad(HEAD, "auto, or that by mamba_n_heads").into());
    }
    let is_infinite = |limit: &serde_json::Value| limit == "Infinity" || limit["__float__"] == "Infinity";
    if let Some(limits) = json.opt_list(LIMIT)? {
        match &limits[..] {
            [least, most] if least.as_f64() == Some(0.0) && is_infinite(most) => {}
            _ => return Err(json.unsupported(LIMIT, "[0, Infinity]").into()),
        }
    }
    let (state_size, taps) = (size(json, "mamba_d_state", 256)?, size(json, "mamba_d_conv", 4)?);
    Ok(Mamba2Config { heads, head_dim, groups, state_size, taps })
}

/// Whether each layer is of this kind, by its names, not attention, as `layer_types` says, if it is
/// there.
fn by_type(json: &Document, layers: usize, names: &[&str], kinds: &'static str) -> Result<Option<Vec<bool>>> {
    let Some(list) = json.opt_list(KINDS)? else { return Ok(None) };
    if list.len() != layers {
        return Err(json.bad(KINDS, "a list of num_hidden_layers").into());
    }
    let is_recurrent = |found: &serde_json::Value| match found.as_str() {
        Some(found) if names.contains(&found) => Ok(true),
        Some(found) if ATTENTION.contains(&found) => Ok(false),
        _ => Err(json.unsupported(KINDS, kinds).into()),
    };
    list.iter().map(is_recurrent).collect::<Result<_>>().map(Some)
}

/// The width of LFM2's feed-forward network: two thirds of what the file says, times a factor,
/// rounded up to a multiple, unless the file says that it is as it stands there.
pub(super) fn adjusted_ffn(json: &Document, missing: usize) -> Result<usize> {
    const MULTIPLE: &str = "block_multiple_of";
    let width = json.opt_size("block_ff_dim")?.or(json.opt_size("intermediate_size")?).unwrap_or(missing);
    if !json.opt_bool("block_auto_adjust_ff_dim")?.unwrap_or(true) {
        return Ok(width);
    }
    let factor = json.opt_positive("block_ffn_dim_multiplier")?.unwrap_or(1.0);
    let scaled = (factor * (2 * width / 3) as f64) as usize;
    let multiple = json.opt_size(MULTIPLE)?.unwrap_or(256);
    let adjusted = scaled.checked_next_multiple_of(multiple).filter(|width| (1..=1 << 20).contains(width));
    adjusted.ok_or_else(|| json.bad(MULTIPLE, "such that feed-forward networks have a width of 1 to 2^20").into())
}
