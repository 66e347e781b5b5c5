//! The flags of the sampler. Their names are llama.cpp's.

use std::str::FromStr;

use clap::Args;
use ollm_runtime::sampler::{Dry, DynamicTemperature, Filter, Mirostat, Sampler, SamplerOptions, Xtc};
use ollm_runtime::tokenizer::Tokenizer;

use crate::failure::{Failure, Result};

/// Which token.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SampleArgs {
    /// Sampling temperature: flattens (above 1) or sharpens (below 1) the distribution; 0 is greedy
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
    temperature: f32,
    /// Top-k sampling: keeps the N most probable tokens; 0 keeps all
    #[arg(long, value_name = "N", default_value_t = 0)]
    top_k: usize,
    /// Top-p (nucleus) sampling: keeps the most probable tokens that sum up to P; 1 keeps all
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true)]
    top_p: f32,
    /// Min-p sampling: keeps tokens at least P times as probable as the best; 0 keeps all
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    min_p: f32,
    /// Locally typical sampling: keeps the tokens whose surprise is nearest to the entropy and that
    /// sum up to P; 1 keeps all
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true)]
    typical: f32,
    /// Top-n-sigma: keeps tokens whose logits are at most N standard deviations below the best; 0
    /// keeps all
    #[arg(long, value_name = "N", default_value_t = 0.0, allow_negative_numbers = true)]
    top_nsigma: f32,
    /// XTC: how often the most probable tokens are left out, but for the least probable of them; 0
    /// never
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    xtc_probability: f32,
    /// How probable a token has to be for XTC
    #[arg(long, value_name = "P", default_value_t = 0.1, allow_negative_numbers = true)]
    xtc_threshold: f32,
    /// Dynamic temperature: how far it goes below and above the temperature as the model is surer
    /// or less sure; 0 is fixed
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
    dynatemp_range: f32,
    /// The power of the entropy that the dynamic temperature follows
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    dynatemp_exp: f32,
    /// Mirostat 2: steers the surprise of tokens towards this many bits; needs a temperature
    #[arg(long, value_name = "BITS", allow_negative_numbers = true)]
    mirostat: Option<f32>,
    /// How fast mirostat steers
    #[arg(long, value_name = "X", default_value_t = 0.1, allow_negative_numbers = true, requires = "mirostat")]
    mirostat_lr: f32,
    /// Repetition penalty: divides the positive logits of recent tokens, multiplies the negative
    /// ones; 1 changes nothing
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    repeat_penalty: f32,
    /// Presence penalty: is taken from the logits of recent tokens
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    presence_penalty: f32,
    /// Frequency penalty: is taken from the logits of recent tokens, for each time that they occur
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    frequency_penalty: f32,
    /// The number of recent tokens that these penalties apply to
    #[arg(long, value_name = "N", default_value_t = 64)]
    repeat_last_n: usize,
    /// DRY: what a token loses that makes a repetition one token longer than is allowed; 0 is off
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    dry_multiplier: f32,
    /// How the loss grows with each further token
    #[arg(long, value_name = "X", default_value_t = 1.75, allow_negative_numbers = true)]
    dry_base: f32,
    /// The shortest repetition that loses something
    #[arg(long, value_name = "N", default_value_t = 2)]
    dry_allowed_length: usize,
    /// The number of recent tokens that DRY searches [default: all]
    #[arg(long, value_name = "N")]
    dry_penalty_last_n: Option<usize>,
    /// A text that ends a repetition for DRY, as part of a token; may be given several times
    /// [default: a line feed, `:`, `"` and `*`]
    #[arg(long, value_name = "TEXT")]
    dry_sequence_breaker: Vec<String>,
    /// Is added to the logit of a token, given by its number or by text that is one token; `-inf`
    /// bans it; may be given several times
    #[arg(long, value_name = "TOKEN=X", allow_hyphen_values = true)]
    logit_bias: Vec<Bias>,
    /// The order of the filters, as a list of their names [default:
    /// penalties,dry,top-n-sigma,top-k,typical,top-p,min-p,xtc,temperature]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = filter)]
    samplers: Vec<Filter>,
    /// With --json: with each token its N most probable alternatives
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) logprobs: usize,
    /// The seed of all random choices: the same seed gives the same text
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}

fn filter(name: &str) -> std::result::Result<Filter, String> {
    let names = || Filter::ALL.map(Filter::name).join(", ");
    Filter::named(name).ok_or_else(|| format!("no filter has this name: there are {}", names()))
}

/// A bias as it is written.
#[derive(Clone, Debug)]
struct Bias {
    token: String,
    bias: f32,
}

impl FromStr for Bias {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        const FORM: &str = "a bias is TOKEN=X: the number or the text of a token, and a number or -inf";
        let (token, bias) = text.rsplit_once('=').ok_or(FORM)?;
        let bias = bias.parse().map_err(|_| FORM)?;
        if token.is_empty() { Err(FORM) } else { Ok(Self { token: token.to_owned(), bias }) }
    }
}

impl SampleArgs {
    /// That a sampler can be made, as far as that can be seen without a tokenizer.
    pub(crate) fn check(&self) -> Result<()> {
        self.made(Vec::new(), &[]).map(drop)
    }

    pub(crate) fn sampler(&self, tokenizer: &Tokenizer) -> Result<Sampler> {
        let biases = self.logit_bias.iter().map(|bias| Ok((token(tokenizer, &bias.token)?, bias.bias)));
        let mut breakers: Vec<&str> = self.dry_sequence_breaker.iter().map(String::as_str).collect();
        if breakers.is_empty() {
            breakers = Dry::BREAKERS.to_vec();
        }
        let breakers = if self.dry_multiplier == 0.0 { Vec::new() } else { tokenizer.tokens_with(&breakers) };
        self.made(biases.collect::<Result<_>>()?, &breakers)
    }

    fn made(&self, logit_bias: Vec<(u32, f32)>, breakers: &[u32]) -> Result<Sampler> {
        let dry = Dry {
            multiplier: self.dry_multiplier,
            base: self.dry_base,
            allowed_length: self.dry_allowed_length,
            last_n: self.dry_penalty_last_n.unwrap_or(usize::MAX),
            breakers: breakers.into(),
        };
        let xtc = Xtc { probability: self.xtc_probability, threshold: self.xtc_threshold };
        let dynamic = DynamicTemperature { range: self.dynatemp_range, exponent: self.dynatemp_exp };
        let options = SamplerOptions {
            temperature: self.temperature,
            dynamic_temperature: is_on(dynamic.range).then_some(dynamic),
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            typical_p: self.typical,
            top_n_sigma: self.top_nsigma,
            xtc: is_on(xtc.probability).then_some(xtc),
            repeat_penalty: self.repeat_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            repeat_last_n: self.repeat_last_n,
            dry: is_on(dry.multiplier).then_some(dry),
            mirostat: self.mirostat.map(|tau| Mirostat { tau, eta: self.mirostat_lr }),
            logit_bias,
            edit: None,
            order: if self.samplers.is_empty() { Filter::ALL.to_vec() } else { self.samplers.clone() },
            logprobs: self.logprobs,
            seed: self.seed,
        };
        Sampler::new(options).map_err(|error| Failure::Usage(error.to_string()))
    }
}

fn is_on(switch: f32) -> bool {
    switch.to_bits() != 0
}

/// The token of a number or a text.
fn token(tokenizer: &Tokenizer, text: &str) -> Result<u32> {
    let vocabulary = tokenizer.vocab_size();
    if let Ok(token) = text.parse::<u32>() {
        let outside =
            || Failure::Usage(format!("--logit-bias: token {token} is not in the vocabulary of {vocabulary}"));
        return if (token as usize) < vocabulary { Ok(token) } else { Err(outside()) };
    }
    let tokens = tokenizer.encode(text, true).map_err(ollm_runtime::Error::from)?;
    match tokens[..] {
        [token] => Ok(token),
        _ => Err(Failure::Usage(format!("--logit-bias: {text:?} is {} tokens ({tokens:?}), not one", tokens.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_is_a_token_and_a_number() {
        let read = |text: &str| text.parse::<Bias>().map(|bias| (bias.token, bias.bias));
        assert_eq!(read("17=-2.5"), Ok(("17".into(), -2.5)));
        assert_eq!(read(" the=-inf"), Ok((" the".into(), f32::NEG_INFINITY)));
        assert_eq!(read("===3"), Ok(("==".into(), 3.0)));
        for wrong in ["", "17", "17=", "=3", "17=x"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
