//! How tokens are chosen, and when generation ends: the fields that chats and completions share.

use ollm_runtime::sampler::SamplerOptions;
use serde_json::Value;

use crate::serve::error::ApiError;
use crate::serve::service::Service;

use super::fields::Fields;

type Result<T> = std::result::Result<T, ApiError>;

/// Choices of a request at most.
const MAX_CHOICES: u64 = 64;

/// Stop strings at most, and bytes of each.
const MAX_STOPS: usize = 16;
const LONGEST_STOP: usize = 1024;

/// Biases at most.
const MAX_BIASES: usize = 1024;

/// A bias of -100 bans a token.
const BAN: f64 = -100.0;

/// The fields that chats and completions share.
pub(crate) struct Sampling {
    /// Of the first choice; each further one has the next seed.
    pub(crate) options: SamplerOptions,
    pub(crate) count: usize,
    /// Tokens of each at most; none: as many as the context has room for.
    pub(crate) limit: Option<usize>,
    pub(crate) stops: Vec<String>,
}

impl Sampling {
    /// Reads them; how many alternatives of each token are told is told in another field by each.
    ///
    /// A completion may have no tokens at all, as a chat may not: `fewest`.
    pub(crate) fn read(fields: &Fields<'_>, service: &Service, logprobs: usize, fewest: u64) -> Result<Self> {
        let seed = match fields.get("seed") {
            None => service.next_seed(),
            Some(seed) => seed
                .as_u64()
                .or_else(|| seed.as_i64().map(i64::cast_unsigned))
                .ok_or_else(|| fields.invalid("seed", "it must be an integer"))?,
        };
        let options = SamplerOptions {
            temperature: fields.number("temperature", 0.0..=2.0)?.unwrap_or(1.0),
            top_p: fields.number("top_p", 0.0..=1.0)?.unwrap_or(1.0).max(f32::MIN_POSITIVE),
            top_k: fields.integer("top_k", 0..=u64::MAX)?.unwrap_or(0),
            min_p: fields.number("min_p", 0.0..=1.0)?.unwrap_or(0.0),
            presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0),
            frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0),
            logit_bias: biases(fields, service.tokenizer.vocab_size())?,
            logprobs,
            seed,
            ..SamplerOptions::default()
        };
        let limit = |name: &str| fields.integer(name, fewest..=u64::MAX);
        let (limit, old_limit) = (limit("max_completion_tokens")?, limit("max_tokens")?);
        Ok(Self {
            options,
            count: fields.integer("n", 1..=MAX_CHOICES)?.unwrap_or(1),
            limit: limit.or(old_limit),
            stops: stops(fields)?,
        })
    }
}

fn stops(fields: &Fields<'_>) -> Result<Vec<String>> {
    let expected = || {
        fields.invalid(
            "stop",
            format!(
                "it must be a string, or a list of at most {MAX_STOPS} strings, of at most {LONGEST_STOP} bytes each"
            ),
        )
    };
    let text = |value: &Value| value.as_str().filter(|text| text.len() <= LONGEST_STOP).map(str::to_owned);
    match fields.get("stop") {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() <= MAX_STOPS => {
            list.iter().map(|stop| text(stop).ok_or_else(expected)).collect()
        }
        Some(stop) => text(stop).map(|stop| vec![stop]).ok_or_else(expected),
    }
}

fn biases(fields: &Fields<'_>, vocabulary: usize) -> Result<Vec<(u32, f32)>> {
    let Some(biases) = fields.object("logit_bias")? else { return Ok(Vec::new()) };
    if biases.entries().count() > MAX_BIASES {
        return Err(fields.invalid("logit_bias", format!("there are more than {MAX_BIASES} tokens")));
    }
    let read = |(token, bias): (&String, &Value)| {
        let known = token.parse::<u32>().ok().filter(|&token| (token as usize) < vocabulary);
        let known = known.ok_or_else(|| biases.invalid(token, format!("there are tokens 0 to {}", vocabulary - 1)))?;
        let bias = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias));
        let bias = bias.ok_or_else(|| biases.invalid(token, "a bias must be a number from -100 to 100"))?;
        Ok((known, if bias <= BAN { f32::NEG_INFINITY } else { bias as f32 }))
    };
    biases.entries().map(read).collect()
}
