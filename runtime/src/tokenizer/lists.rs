//! A tokenizer from the lists of a GGUF file (`tokenizer.ggml.*`).
//!
//! Special tokens are cut out; what lies between them is normalized, its spaces become U+2581 where
//! the vocabulary has it so, and then merges make tokens of it.

use std::borrow::Cow;

use super::bpe::Bpe;
use super::normalizer::{self, Form};
use super::pre::{Alphabet, Pre};
use super::special::{ControlTokens, Part, Specials, TextPart};
use super::spm::Spm;
use super::vocab::{SPACE, Spelling, TokenBytes, Vocabulary};
use super::warning::{TokenizerWarning, Warnings};
use super::{TokenizerError, error, ids};
use crate::gguf::Metadata;
use crate::memory::{self, OutOfMemory};

/// Special tokens, a normalizer and merges.
#[derive(Debug)]
pub(super) struct Lists {
    specials: Specials,
    form: Option<Form>,
    /// Whether spaces become U+2581, and whether one is put before each text.
    spaces: Option<Prefix>,
    merges: MergeKind,
}

/// Whether a space is put before a text, also after a special token.
type Prefix = bool;

#[derive(Debug)]
enum MergeKind {
    Listed(Box<Bpe>),
    Scored(Box<Spm>),
}

impl Lists {
    pub(super) fn read(metadata: &Metadata, warnings: &mut Warnings) -> Result<(Self, TokenBytes), TokenizerError> {
        let model = metadata.str("tokenizer.ggml.model")?;
        if !error::MODELS.contains(&model) {
            return Err(TokenizerError::UnknownModel { model: model.to_owned() });
        }
        let vocabulary = Vocabulary::read(metadata, warnings)?;
        let specials = Specials::new(vocabulary.specials());
        let unknown = ids::optional(metadata, ids::UNKNOWN, vocabulary.len(), warnings);
        if model == "llama" {
            let merges = MergeKind::Scored(Box::new(Spm::read(metadata, &vocabulary, unknown)?));
            let spaces = Some(metadata.opt_bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true));
            let form = form(metadata, None)?;
            return Ok((Self { specials, form, spaces, merges }, vocabulary.bytes(Spelling::Spaces)?));
        }
        let pre = pre_tokenizer(metadata, model, warnings)?;
        let form = form(metadata, pre.form)?;
        let merges = MergeKind::Listed(Box::new(Bpe::read(metadata, &vocabulary, pre)?));
        let (spaces, spelling) = match pre.alphabet {
            Alphabet::Bytes => (None, Spelling::Letters),
            Alphabet::Characters => (Some(false), Spelling::Spaces),
        };
        Ok((Self { specials, form, spaces, merges }, vocabulary.bytes(spelling)?))
    }

    /// Whether BOS is wanted where the file does not say.
    pub(super) fn adds_bos(&self) -> bool {
        match &self.merges {
            MergeKind::Listed(bpe) => bpe.adds_bos(),
            MergeKind::Scored(_) => true,
        }
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
                TextPart::Text(text) => Part::Text(self.normalized(text)?),
            });
        }
        match &self.merges {
            MergeKind::Listed(bpe) => bpe.encode(&parts),
            MergeKind::Scored(spm) => spm.encode(&parts),
        }
    }

    fn normalized<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, OutOfMemory> {
        let text = self.form.map_or(Ok(Cow::Borrowed(text)), |form| form.apply(text))?;
        match self.spaces {
            Some(prefix) => with_spaces(&text, prefix).map(Cow::Owned),
            None => Ok(text),
        }
    }
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

/// The normalization form that the file says, and else the `usual` one.
fn form(metadata: &Metadata, usual: Option<Form>) -> Result<Option<Form>, TokenizerError> {
    let Some(name) = metadata.opt_str(normalizer::KEY)? else { return Ok(usual) };
    let known = normalizer::NAMES.iter().find(|(known, _)| *known == name);
    known.map(|&(_, form)| form).ok_or_else(|| TokenizerError::UnknownNormalizer { name: name.to_owned() })
}

/// The text with [`SPACE`] in place of its spaces, and of one before it.
fn with_spaces(text: &str, prefix: bool) -> Result<String, OutOfMemory> {
    let parts = || text.split(' ').enumerate().flat_map(|(i, part)| [if i > 0 || prefix { SPACE } else { "" }, part]);
    let mut spaced = String::new();
    let bytes = parts().map(str::len).sum();
    spaced.try_reserve_exact(bytes).map_err(|_| OutOfMemory { bytes })?;
    spaced.extend(parts());
    Ok(spaced)
}
