//! Weights that were quantized for other programs: `quantization_config` of `config.json`, and the
//! tensors beside a weight that say what its numbers mean. They are decoded, but for `MXFP4`.
//!
//! | `quant_method` | weight | beside it |
//! |---|---|---|
//! | `fp8` (`DeepSeek`), `fbgemm_fp8` | e4m3 | `weight_scale_inv` or `weight_scale` |
//! | `modelopt` with `quant_algo` `FP8` | e4m3 | `weight_scale` |
//! | `compressed-tensors`, `float-quantized` | e4m3 | `weight_scale` |
//! | `compressed-tensors`, `int-quantized` | i8 | `weight_scale`, `weight_zero_point` |
//! | `mxfp4` | `_blocks`: 32 floats of 4 bits each, which stay as they are | `_scales` |
//! | `compressed-tensors`, `pack-quantized` | `weight_packed`: 1 to 8 bits in words of 32 | `weight_scale`, `weight_zero_point` (packed), `weight_shape`, `weight_g_idx` |

use std::borrow::Cow;

use ollm_runtime::quant::mxfp4;
use safetensors::Dtype;

use super::document::Document;
use crate::Result;
use crate::quantize::{Grid, Numbers, ScaleType, Scaled, Zeros};

/// What the configuration says of quantized weights.
#[derive(Default)]
pub(super) struct Quantization {
    /// The folder has such weights.
    is_there: bool,
    /// Blocks, in rows and columns, that some weights have.
    blocks: Vec<[usize; 2]>,
    /// How many bits the numbers of some weights have.
    bits: Vec<usize>,
}

/// What the names of weights in `MXFP4` end with, and those of their exponents.
pub(super) const MXFP4: &str = "_blocks";
pub(super) const MXFP4_SCALES: &str = "_scales";

/// Part of a tensor's name after the module's, and whether the weight needs it.
pub(super) const PACKED: &str = "weight_packed";
const BESIDE: [&str; 14] = [
    "weight_scale_inv",
    "weight_scale",
    "weight_zero_point",
    "weight_shape",
    "weight_g_idx",
    "input_scale",
    "input_scale_ub",
    "input_zero_point",
    "activation_scale",
    "output_scale",
    "output_zero_point",
    "k_scale",
    "v_scale",
    "kv_scale",
];

/// What the names of tensors end with that only quantized weights have: some of those above, and
/// those of `GPTQ`, `AWQ` and `bitsandbytes`, which are not read.
const OF_QUANTIZED: [&str; 9] = [
    ".qweight",
    ".qzeros",
    ".g_idx",
    ".absmax",
    ".SCB",
    ".weight_scale",
    ".weight_scale_inv",
    ".weight_packed",
    ".input_scale",
];

/// A tensor of a checkpoint.
#[derive(Clone)]
pub(super) struct View<'a> {
    pub(super) dtype: Dtype,
    pub(super) shape: &'a [usize],
    pub(super) bytes: &'a [u8],
}

impl Quantization {
    pub(super) fn read(json: &Document) -> Result<Self> {
        const KEY: &str = "quantization_config";
        // Text models of multimodal ones have it outside.
        let Some(json) = json.part(KEY)? else { return Ok(Self::default()) };
        let supported = "fp8, fbgemm_fp8, mxfp4, compressed-tensors, modelopt with FP8; else save the weights as \
                         BF16 first";
        match json.opt_str("quant_method")? {
            Some("modelopt") if json.opt_str("quant_algo")? == Some("FP8") => (),
            Some("fp8" | "fbgemm_fp8" | "mxfp4" | "compressed-tensors" | "compressed_tensors") => (),
            _ => return Err(json.unsupported("quant_method", supported).into()),
        }
        // Weights that were turned or cut are others than the architecture's.
        for key in ["transform_config", "sparsity_config"] {
            let part = json.part(key)?;
            let is_dense = part.as_ref().is_none_or(|part| {
                part.is_empty()
                    || part.get("format").is_some_and(|format| format == "dense")
                    || part
                        .get("config_groups")
                        .is_some_and(|groups| groups.as_object().is_some_and(serde_json::Map::is_empty))
            });
            if !is_dense {
                return Err(json.unsupported(key, "none").into());
            }
        }
        let pair = |value: &serde_json::Value| Some([value[0].as_u64()? as usize, value[1].as_u64()? as usize]);
        let mut blocks: Vec<[usize; 2]> = json.get("weight_block_size").and_then(pair).into_iter().collect();
        let groups = json.part("config_groups")?;
        let groups = groups.iter().filter_map(|groups| groups.value.as_object()).flat_map(serde_json::Map::values);
        let mut bits = Vec::new();
        for weights in groups.map(|group| &group["weights"]) {
            bits.extend(weights["num_bits"].as_u64().map(|bits| bits as usize));
            blocks.extend(pair(&weights["block_structure"]));
            blocks.extend(weights["group_size"].as_u64().map(|columns| [1, columns as usize]));
        }
        blocks.retain(|block| block.iter().all(|&n| n > 0));
        Ok(Self { is_there: true, blocks, bits })
    }

    /// What is wrong with a tensor of this name that only quantized weights have, where the
    /// configuration has none.
    pub(super) fn undeclared(&self, name: &str) -> Option<String> {
        let is_undeclared = !self.is_there && OF_QUANTIZED.iter().any(|end| name.ends_with(end));
        is_undeclared.then(|| {
            "is of weights that were quantized (GPTQ, AWQ, bitsandbytes, FP8), and config.json has no \
             quantization_config that says how: save them as BF16 first"
                .to_owned()
        })
    }

    /// Whether a tensor of this name says something of another one, of whose module `is_module`
    /// tells whether it was read.
    pub(super) fn is_beside(&self, name: &str, is_module: impl Fn(&str) -> bool) -> bool {
        let module = BESIDE.iter().find_map(|beside| name.strip_suffix(beside)?.strip_suffix('.'));
        let module = module.or_else(|| name.strip_suffix(MXFP4_SCALES)?.rsplit_once('.').map(|(module, _)| module));
        self.is_there && module.is_some_and(|module| is_module(module) || name.ends_with("_scale"))
    }

    /// How the numbers of `weight`, a matrix of `shape`, are decoded; `beside` finds what is beside
    /// it.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn decoder<'a>(
        &self,
        weight: &View<'a>,
        shape: &[usize],
        beside: impl Fn(&str) -> Option<View<'a>>,
    ) -> std::result::Result<Scaled<'a>, String> {
        let &[rows, cols] = shape else { return Err("is quantized, but no matrix".to_owned()) };
        let numbers = match weight.dtype {
            Dtype::F8_E4M3 => Numbers::E4m3,
            Dtype::F8_E5M2 => Numbers::E5m2,
            Dtype::I8 => Numbers::I8,
            Dtype::I32 => self.packed(weight.shape, rows, cols)?,
            other => return Err(format!("is {other:?}; supported: F32, F16, BF16, F8_E4M3, I8, packed I32")),
        };
        if let Some(own) = beside("weight_shape") {
            let numbers = whole(&own).ok_or("has a weight_shape of another type")?;
            if numbers != [rows as i64, cols as i64] {
                return Err(format!("has weight_shape {numbers:?}, but config.json asks for {shape:?}"));
            }
        }
        if numbers_are_plain(numbers) && weight.shape != shape {
            return Err(format!("has shape {:?}, but config.json asks for {shape:?}", weight.shape));
        }
        let scales = beside("weight_scale_inv").or_else(|| beside("weight_scale"));
        let scales = scales.ok_or("has no scales: weight_scale or weight_scale_inv")?;
        let (grid_rows, grid_cols) = match *scales.shape {
            [] | [1] => (1, 1),
            [n] => (n, 1),
            [n, m] => (n, m),
            _ => return Err(format!("has scales of shape {:?}", scales.shape)),
        };
        let kind = match scales.dtype {
            Dtype::F32 => ScaleType::F32,
            Dtype::F16 => ScaleType::F16,
            Dtype::BF16 => ScaleType::Bf16,
            other => return Err(format!("has scales of type {other:?}; supported: F32, F16, BF16")),
        };
        let block = [self.block(0, rows, grid_rows)?, self.block(1, cols, grid_cols)?];
        let groups = match beside("weight_g_idx") {
            Some(index) => {
                let index = whole(&index).filter(|index| index.len() == cols).ok_or("has a bad weight_g_idx")?;
                // Where nobody set it, the columns are in order.
                let in_order = index.iter().all(|&group| group < 0);
                let groups: Option<Vec<usize>> = index.iter().map(|&group| usize::try_from(group).ok()).collect();
                match groups {
                    _ if in_order => None,
                    Some(groups) if groups.iter().all(|&group| group < grid_cols) => Some(groups),
                    _ => return Err("has a weight_g_idx that names no group".to_owned()),
                }
            }
            None => None,
        };
        let zeros = match beside("weight_zero_point") {
            Some(zeros) => Some(zero_points(numbers, &zeros, grid_rows, grid_cols)?),
            None => None,
        };
        Ok(Scaled {
            numbers,
            scales: Grid { kind, bytes: Cow::Borrowed(scales.bytes), cols: grid_cols, block },
            zeros,
            groups,
        })
    }

    /// How many bits the numbers of a packed matrix have: of those that the configuration names, if
    /// it does, those that its shape fits.
    fn packed(&self, found: &[usize], rows: usize, cols: usize) -> std::result::Result<Numbers, String> {
        let is_named = |bits: &usize| self.bits.is_empty() || self.bits.contains(bits);
        let fits = |bits: &usize| found == [rows, (cols * bits).div_ceil(32)];
        // Short rows may fit several widths: the usual ones first.
        let bits = [4, 8, 1, 2, 3, 5, 6, 7].into_iter().find(|bits| is_named(bits) && fits(bits));
        bits.map(Numbers::Packed).ok_or_else(|| {
            let named = if self.bits.is_empty() { String::new() } else { format!(" numbers of {:?} bits", self.bits) };
            format!("has packed shape {found:?}, which is none of {rows} by {cols}{named}")
        })
    }

    /// The rows (`axis` 0) or columns of a block, if so many blocks cover `size`.
    fn block(&self, axis: usize, size: usize, blocks: usize) -> std::result::Result<usize, String> {
        let named = self.blocks.iter().map(|block| block[axis]).find(|&block| size.div_ceil(block) == blocks);
        let even = (blocks > 0 && size.is_multiple_of(blocks)).then(|| size / blocks);
        named.or(even).ok_or_else(|| {
            format!("has {blocks} scales for {size} {}, which is no whole block", ["rows", "columns"][axis])
        })
    }
}

/// The exponents of the blocks of `MXFP4` that are a tensor of shape `whole`.
///
/// # Errors
/// What is wrong.
pub(super) fn mxfp4_scales<'a>(
    blocks: &View<'_>,
    scales: Option<View<'a>>,
    whole: &[usize],
) -> std::result::Result<&'a [u8], String> {
    let scales = scales.ok_or_else(|| format!("has no scales: {MXFP4_SCALES}"))?;
    let (&cols, rows) = whole.split_last().ok_or("is no matrix")?;
    let length = mxfp4::LEN;
    let shape = |more: &[usize]| [rows, &[cols / length], more].concat();
    for (what, found, expected) in [("blocks", blocks, shape(&[length / 2])), ("scales", &scales, shape(&[]))] {
        if found.dtype != Dtype::U8 || found.shape != expected || !cols.is_multiple_of(length) {
            let (dtype, found) = (found.dtype, found.shape);
            return Err(format!("has {what} of type {dtype:?} and shape {found:?}, not U8 and {expected:?}"));
        }
    }
    Ok(scales.bytes)
}

fn numbers_are_plain(numbers: Numbers) -> bool {
    !matches!(numbers, Numbers::Packed(_))
}

fn zero_points<'a>(
    numbers: Numbers,
    zeros: &View<'a>,
    rows: usize,
    cols: usize,
) -> std::result::Result<Zeros<'a>, String> {
    let bad = || format!("has zero points of type {:?} and shape {:?}", zeros.dtype, zeros.shape);
    let count: usize = zeros.shape.iter().product();
    let (numbers, words) = match (numbers, zeros.dtype) {
        (Numbers::Packed(bits), Dtype::I32) => (Numbers::Packed(bits), (rows * bits).div_ceil(32)),
        (Numbers::Packed(_) | Numbers::I8, Dtype::I8) => (Numbers::I8, rows),
        (Numbers::E4m3 | Numbers::E5m2, Dtype::F8_E4M3) => (Numbers::E4m3, rows),
        _ => return Err(bad()),
    };
    if count != words * cols {
        return Err(bad());
    }
    Ok(Zeros { numbers, bytes: Cow::Borrowed(zeros.bytes), cols })
}

/// The numbers of a tensor of whole ones.
fn whole(view: &View<'_>) -> Option<Vec<i64>> {
    match view.dtype {
        Dtype::I64 => Some(view.bytes.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect()),
        Dtype::I32 => Some(view.bytes.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes).into()).collect()),
        _ => None,
    }
}
