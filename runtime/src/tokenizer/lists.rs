//! A tokenizer from the lists of a GGUF file (`tokenizer.ggml.*`).
//!
//! Special tokens are cut out; what lies between them is normalized, and then merges, or the scores
//! of unigrams, make tokens of it.

use ollm_kernels::memory::{self, OutOfMemory};

use super::bpe::Bpe;
use super::normalizer::Normalizer;
use super::pre::{Alphabet, Pre};
use super::special::{ControlTokens, Part, Specials, TextPart};
use super::spm::Spm;
use super::unigram::Unigram;
use super::vocab::{Spelling, TokenBytes, Vocabulary};
use super::warning::{TokenizerWarning, Warnings};
use super::{TokenizerError, error, ids};
use crate::gguf::Metadata;

/// Special tokens, a normalizer and an algorithm.
#[derive(Debug)]
pub(super) struct Lists {
    specials: Specials,
    normalizer: Normalizer,
    encoder: Encoder,
}

#[derive(Debug)]
enum Encoder {
    Merges(Box<Bpe>),
    Scores(Box<Spm>),
    Unigrams(Box<Unigram>),
}

impl Lists {
    pub(super) fn read(
        metadata: &Metadata,
        model: &str,
        warnings: &mut Warnings,
    ) -> Result<(Self, TokenBytes), TokenizerError> {
        if !error::MODELS.contains(&model) {
            return Err(TokenizerError::UnknownModel { model: model.to_owned() });
        }
        let vocabulary = Vocabulary::read(metadata, warnings)?;
        let specials = Specials::new(vocabulary.specials(takes_spaces_behind(metadata)));
        let unknown = ids::unknown(metadata, vocabulary.len());
        if model == "llama" || model == "t5" {
            let prefix = metadata.opt_bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
            let normalizer = Normalizer::read(metadata, None, Some(prefix))?;
            let encoder = match model {
                "llama" => Encoder::Scores(Box::new(Spm::read(metadata, &vocabulary, unknown)?)),
                _ => Encoder::Unigrams(Box::new(Unigram::read(metadata, &vocabulary, unknown)?)),
            };
            return Ok((Self { specials, normalizer, encoder }, vocabulary.bytes(Spelling::Spaces)?));
        }
        let pre = pre_tokenizer(metadata, model, warnings)?;
        let encoder = Encoder::Merges(Box::new(Bpe::read(metadata, &vocabulary, pre)?));
        let (prefix, spelling) = match pre.alphabet {
            Alphabet::Bytes => (None, Spelling::Letters),
            Alphabet::Characters => (Some(false), Spelling::Spaces),
        };
        let normalizer = Normalizer::read(metadata, pre.form, prefix)?;
        Ok((Self { specials, normalizer, encoder }, vocabulary.bytes(spelling)?))
    }

    /// Whether BOS is wanted where the file does not say.
    pub(super) fn adds_bos(&self) -> bool {
        match &self.encoder {
            Encoder::Merges(bpe) => bpe.adds_bos(),
            Encoder::Scores(_) => true,
            Encoder::Unigrams(_) => false,
        }
    }

    /// Whether BOS is wanted whatever the file says.
    pub(super) fn needs_bos(&self) -> bool {
        matches!(&self.encoder, Encoder::Merges(bpe) if bpe.needs_bos())
    }

    /// The texts of control tokens.
    pub(super) fn control_texts(&self) -> impl Iterator<Item = &str> {
        self.specials.control_texts()
    }

    pub(super) fn encode(&self, text: &str, control: ControlTokens<'_>) -> Result<Vec<u32>, OutOfMemory> {
        let cut = self.specials.partition(text, control)?;
        let mut parts = Vec::new();
        memory::reserve(&mut parts, cut.len())?;
        for part in cut {
            parts.push(match part {
                TextPart::Token(id) => Part::Token(id),
                TextPart::Text(text) => Part::Text(self.normalizer.apply(text)?),
            });
        }
        match &self.encoder {
            Encoder::Merges(bpe) => bpe.encode(&parts),
            Encoder::Scores(spm) => spm.encode(&parts),
            Encoder::Unigrams(unigram) => unigram.encode(&parts),
        }
    }
}

/// Which tokens take the white space behind them. The lists cannot say it: as llama.cpp has it,
/// those of Phi 3, by the name of the model, but for these.
fn takes_spaces_behind(metadata: &Metadata) -> impl Fn(&str) -> bool + use<> {
    const NONE: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];
    let name = metadata.opt_str("general.name").ok().flatten().unwrap_or_default().to_lowercase();
    let is_phi = name.contains("phi-3") || name.contains("phi3");
    move |token| is_phi && !NONE.contains(&token)
}

/// The one that the file names; where it names none, llama.cpp's default, which is a guess.
fn pre_tokenizer(metadata: &Metadata, model: &str, warnings: &mut Warnings) -> Result<&'static Pre, TokenizerError> {
    let named = if model == "gemma4" { Some(model) } else { metadata.opt_str("tokenizer.ggml.pre")? };
    let name = named.filter(|name| !name.is_empty()).unwrap_or("default");
    if name == "default" {
        warnings.push(TokenizerWarning::DefaultPre);
    }
    Pre::named(name).ok_or_else(|| TokenizerError::UnknownPre { pre: name.to_owned() })
}
