//! Recurrent layers as `config.json` says them: which they are, and their shapes.

use ollm_runtime::gguf::Value;
use ollm_runtime::model::{DeltaNetConfig, Role};

use super::architecture::RecurrentKeys;
use super::document::Document;
use crate::Result;
use crate::quantize::{HeadGroups, Order};

/// The recurrent layers of a model.
pub(super) enum HfRecurrent {
    /// Short convolutions, and which layers are such.
    ShortConvolutions { taps: usize, layers: Vec<bool> },
    /// Gated delta nets, which layers are such, and the interval of the others, where nothing else
    /// is said of them.
    DeltaNets { shape: DeltaNetConfig, layers: Vec<bool>, interval: usize },
}

const KINDS: &str = "layer_types";

impl HfRecurrent {
    pub(super) fn read(json: &Document, keys: RecurrentKeys, layers: usize) -> Result<Option<Self>> {
        match keys {
            RecurrentKeys::None => Ok(None),
            RecurrentKeys::ShortConvolutions { .. } => Self::short_convolutions(json, layers).map(Some),
            RecurrentKeys::DeltaNets => Self::delta_nets(json, layers).map(Some),
        }
    }

    /// Those of `layer_types`, else those that are not in `full_attn_idxs`; none without either.
    fn short_convolutions(json: &Document, layers: usize) -> Result<Self> {
        const ATTENTION: &str = "full_attn_idxs";
        let taps = json.opt_size("conv_L_cache")?.unwrap_or(3);
        let layers = if let Some(layers) = by_type(json, layers, "conv", "conv, full_attention")? {
            layers
        } else if let Some(indices) = json.opt_list(ATTENTION)? {
            let index = |value: &serde_json::Value| {
                let index =
                    value.as_u64().and_then(|index| usize::try_from(index).ok()).filter(|&index| index < layers);
                index.ok_or_else(|| json.bad(ATTENTION, "a list of numbers below num_hidden_layers"))
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
        let by_type = by_type(json, layers, "linear_attention", "linear_attention, full_attention")?;
        let layers = by_type.unwrap_or_else(|| (0..layers).map(|layer| layer % interval != interval - 1).collect());
        Ok(Self::DeltaNets { shape, layers, interval })
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
        }
    }

    /// The order of a tensor in GGUF.
    pub(super) fn order(&self, role: Role) -> Order {
        match self {
            Self::ShortConvolutions { .. } => Order::Stored,
            Self::DeltaNets { shape, .. } => delta_order(*shape, role),
        }
    }
}

/// The order of a tensor of a gated delta net in GGUF: heads of values that share a key lie apart
/// there.
pub(super) fn delta_order(shape: DeltaNetConfig, role: Role) -> Order {
    let heads = |first, size| HeadGroups { first, groups: shape.key_heads, heads: shape.value_heads, size };
    match role {
        Role::FusedQueryKeyValue | Role::DeltaKernel => Order::Rows(heads(2 * shape.key_width(), shape.head_dim)),
        Role::DeltaGate => Order::Rows(heads(0, shape.head_dim)),
        Role::DeltaDecay | Role::DeltaRate => Order::Rows(heads(0, 1)),
        Role::DeltaStep | Role::DeltaScale => Order::Columns(heads(0, 1)),
        Role::DeltaOutput => Order::Columns(heads(0, shape.head_dim)),
        _ => Order::Stored,
    }
}

/// Whether each layer is of this kind, not full attention, as `layer_types` says, if it is there.
fn by_type(json: &Document, layers: usize, kind: &str, kinds: &'static str) -> Result<Option<Vec<bool>>> {
    let Some(list) = json.opt_list(KINDS)? else { return Ok(None) };
    if list.len() != layers {
        return Err(json.bad(KINDS, "a list of num_hidden_layers").into());
    }
    let is_recurrent = |found: &serde_json::Value| match found.as_str() {
        Some("full_attention") => Ok(false),
        Some(found) if found == kind => Ok(true),
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
