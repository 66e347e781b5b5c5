//! The sliding window of attention, as transformers says it and as GGUF says it.

use ollm_runtime::gguf::Value;
use ollm_runtime::model::Family;

use super::architecture::{Architecture, WindowRule};
use super::document::Document;
use crate::{ConvertError, Result};

pub(super) const WINDOW_KEY: &str = "attention.sliding_window";
const PATTERN_KEY: &str = "attention.sliding_window_pattern";

/// The sliding window, and which layers have it.
pub(super) struct Window {
    positions: usize,
    pub(super) sliding: Vec<bool>,
}

impl Window {
    pub(super) fn read(
        json: &Document,
        architecture: &Architecture,
        layers: usize,
        ropes: Option<&[bool]>,
    ) -> Result<Option<Self>> {
        let asks = || Ok::<_, ConvertError>(json.opt_bool("use_sliding_window")?.unwrap_or(false));
        let has_window = match architecture.window {
            WindowRule::Never => false,
            WindowRule::Optional { .. } => asks()?,
            WindowRule::WithoutRope => json.get("layer_types").is_some() || asks()?,
            WindowRule::Always | WindowRule::Interleaved { .. } | WindowRule::AfterFirst { .. } => true,
        };
        if !has_window {
            return Ok(None);
        }
        let listed = if architecture.window == WindowRule::Always { None } else { json.opt_list("layer_types")? };
        let mut sliding = match listed {
            Some(kinds) => by_type(json, kinds, layers)?,
            None => by_rule(json, architecture.window, layers, ropes)?,
        };
        let ends_full = architecture.layer_shapes.is_some_and(|keys| keys.own_heads);
        if let Some(last) = sliding.last_mut().filter(|_| ends_full) {
            // As its configuration has it, whatever it says.
            *last = false;
        }
        let missing = architecture.defaults.window.filter(|_| !json.is_null("sliding_window"));
        let positions = json.opt_positions("sliding_window")?.or(missing);
        Ok(positions.filter(|_| sliding.contains(&true)).map(|positions| Self { positions, sliding }))
    }

    /// With each layer in a list.
    pub(super) fn list(&self) -> Vec<(&'static str, Value)> {
        vec![(WINDOW_KEY, Value::U32(self.positions as u32)), (PATTERN_KEY, self.sliding.clone().into())]
    }

    /// What the family does not say.
    pub(super) fn keys(&self, family: &Family) -> Vec<(&'static str, Value)> {
        let repeats = |every: usize| (0..self.sliding.len()).all(|i| self.sliding[i] == family.slides(i, every));
        let mut keys = vec![(WINDOW_KEY, Value::U32(self.positions as u32))];
        if !repeats(family.full_attention_interval) {
            let period = (1..=self.sliding.len()).find(|&every| repeats(every));
            let pattern = period.map_or_else(|| self.sliding.clone().into(), |every| Value::U32(every as u32));
            keys.push((PATTERN_KEY, pattern));
        }
        keys
    }
}

/// Which layers have the window where the file has no list of them.
fn by_rule(json: &Document, rule: WindowRule, layers: usize, ropes: Option<&[bool]>) -> Result<Vec<bool>> {
    let slides: Box<dyn Fn(usize) -> bool> = match rule {
        WindowRule::Never => Box::new(|_| false),
        WindowRule::Always => Box::new(|_| true),
        WindowRule::WithoutRope => Box::new(|layer| ropes.is_some_and(|ropes| !ropes[layer])),
        WindowRule::Optional { first } => {
            let first = json.opt_count("max_window_layers")?.unwrap_or(first);
            Box::new(move |layer| layer >= first)
        }
        WindowRule::Interleaved { every, read } => {
            let every = json.opt_size_if(read, "sliding_window_pattern")?.unwrap_or(every);
            Box::new(move |layer| but_each(layer, every))
        }
        WindowRule::AfterFirst { every } => {
            let every = json.opt_size("global_attn_every_n_layers")?.unwrap_or(every);
            Box::new(move |layer| layer % every != 0)
        }
    };
    Ok((0..layers).map(slides).collect())
}

/// Whether a layer is not a so-many-th; 0: none is.
pub(super) fn but_each(layer: usize, every: usize) -> bool {
    every == 0 || layer % every != every - 1
}

fn by_type(json: &Document, kinds: &[serde_json::Value], layers: usize) -> Result<Vec<bool>> {
    const KEY: &str = "layer_types";
    if kinds.len() != layers {
        return Err(json.bad(KEY, "a list of num_hidden_layers").into());
    }
    let local = |kind: &serde_json::Value| match kind.as_str() {
        Some("sliding_attention") => Ok(true),
        Some("full_attention") => Ok(false),
        _ => Err(json.unsupported(KEY, "sliding_attention, full_attention").into()),
    };
    kinds.iter().map(local).collect()
}
