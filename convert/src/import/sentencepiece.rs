//! `tokenizer.model`: a tokenizer of `SentencePiece`, a message of protocol buffers
//! (`sentencepiece_model.proto`; what is not needed here is left out).

use std::path::Path;

use ollm_runtime::gguf::Value;

use super::document::read_file;
use super::error::ImportError;
use super::metadata::MetadataPairs;
use super::wire;
use crate::Result;

/// The pieces of a tokenizer, and how text is prepared for them.
pub(super) struct SentencePiece {
    pub(super) pieces: Vec<Piece>,
    trainer: Trainer,
    normalizer: Normalizer,
}

/// A token.
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    /// As `tokenizer.ggml.token_type` has it.
    pub(super) kind: i32,
}

/// `TrainerSpec`: the algorithm, and the ids of special tokens, -1 for none.
struct Trainer {
    model: i32,
    spaces_behind: bool,
    unknown: i32,
    bos: i32,
    eos: i32,
    padding: i32,
}

/// `NormalizerSpec`.
struct Normalizer {
    characters: Vec<u8>,
    prefix: bool,
    joins_spaces: bool,
    escapes_spaces: bool,
}

const UNIGRAM: i32 = 1;
const BPE: i32 = 2;

impl SentencePiece {
    /// Reads a file; it must be one that lists can say.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let model = Self::parse(&read_file(path)?).filter(|model| !model.pieces.is_empty());
        let model = model.ok_or_else(|| ImportError::NoSentencePiece { path: path.to_owned() })?;
        let kind = match model.trainer.model {
            UNIGRAM | BPE => "",
            3 => "word",
            4 => "char",
            _ => "of an unknown kind",
        };
        for (is_so, key, value, supported) in [
            (!kind.is_empty(), "model_type", kind, "unigram, bpe"),
            (model.trainer.spaces_behind, "treat_whitespace_as_suffix", "true", "false"),
            (!model.normalizer.escapes_spaces, "escape_whitespaces", "false", "true"),
        ] {
            if is_so {
                let (path, key, value) = (path.to_owned(), key.to_owned(), value.to_owned());
                return Err(ImportError::Unsupported { path, key, value, supported }.into());
            }
        }
        Ok(model)
    }

    /// Whether its tokens come from merges, not from the highest sum of scores.
    pub(super) fn is_bpe(&self) -> bool {
        self.trainer.model == BPE
    }

    /// The keys that say how its tokens are found, beside the lists of tokens, types and `scores`.
    pub(super) fn keys(&self, scores: Vec<f32>) -> MetadataPairs {
        let Normalizer { characters, prefix, joins_spaces, .. } = &self.normalizer;
        let keys: [(&str, Value); 5] = [
            ("model", if self.is_bpe() { "llama" } else { "t5" }.into()),
            ("pre", "default".into()),
            ("scores", scores.into()),
            ("add_space_prefix", (*prefix).into()),
            ("remove_extra_whitespaces", (*joins_spaces).into()),
        ];
        let map = (!characters.is_empty()).then(|| ("precompiled_charsmap", characters.clone().into()));
        keys.into_iter().chain(map).map(|(name, value)| (format!("tokenizer.ggml.{name}"), value)).collect()
    }

    fn parse(message: &[u8]) -> Option<Self> {
        let mut model = Self { pieces: Vec::new(), trainer: Trainer::default(), normalizer: Normalizer::default() };
        for (number, field) in wire::fields(message)? {
            match number {
                1 => model.pieces.push(Piece::parse(field.bytes()?)?),
                2 => model.trainer = Trainer::parse(field.bytes()?)?,
                3 => model.normalizer = Normalizer::parse(field.bytes()?)?,
                _ => {}
            }
        }
        Some(model)
    }

    /// The token that a key of `tokenizer_config.json` would name.
    pub(super) fn special(&self, key: &str) -> Option<u32> {
        let id = match key {
            "unk_token" => self.trainer.unknown,
            "bos_token" => self.trainer.bos,
            "eos_token" => self.trainer.eos,
            "pad_token" => self.trainer.padding,
            _ => return None,
        };
        u32::try_from(id).ok().filter(|&id| (id as usize) < self.pieces.len())
    }
}

impl Piece {
    fn parse(message: &[u8]) -> Option<Self> {
        let mut piece = Self { text: String::new(), score: 0.0, kind: 1 };
        for (number, field) in wire::fields(message)? {
            match number {
                1 => field.text()?.clone_into(&mut piece.text),
                2 => piece.score = field.float()?,
                3 => piece.kind = field.int()?,
                _ => {}
            }
        }
        Some(piece)
    }
}

impl Default for Trainer {
    fn default() -> Self {
        Self { model: UNIGRAM, spaces_behind: false, unknown: 0, bos: 1, eos: 2, padding: -1 }
    }
}

impl Trainer {
    fn parse(message: &[u8]) -> Option<Self> {
        let mut trainer = Self::default();
        for (number, field) in wire::fields(message)? {
            let value = match number {
                3 => &mut trainer.model,
                40 => &mut trainer.unknown,
                41 => &mut trainer.bos,
                42 => &mut trainer.eos,
                43 => &mut trainer.padding,
                24 => {
                    trainer.spaces_behind = field.bool()?;
                    continue;
                }
                _ => continue,
            };
            *value = field.int()?;
        }
        Some(trainer)
    }
}

impl Default for Normalizer {
    fn default() -> Self {
        Self { characters: Vec::new(), prefix: true, joins_spaces: true, escapes_spaces: true }
    }
}

impl Normalizer {
    fn parse(message: &[u8]) -> Option<Self> {
        let mut normalizer = Self::default();
        for (number, field) in wire::fields(message)? {
            match number {
                2 => normalizer.characters = field.bytes()?.to_vec(),
                3 => normalizer.prefix = field.bool()?,
                4 => normalizer.joins_spaces = field.bool()?,
                5 => normalizer.escapes_spaces = field.bool()?,
                _ => {}
            }
        }
        Some(normalizer)
    }
}
