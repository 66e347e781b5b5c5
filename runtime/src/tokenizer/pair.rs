//! Pairs of texts: a query and a document, for models that rank documents.

use std::ops::Range;

use super::{Result, Tokenizer};
use crate::gguf::Metadata;
use crate::memory;

/// The tokens of a pair of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPair {
    /// Those of both, with what the file wants around and between them.
    pub tokens: Vec<u32>,
    /// The first token of the second segment, of models whose tokens belong to segments: that of the
    /// document. Beyond all tokens there is none.
    pub second: usize,
}

/// How a file wants pairs.
#[derive(Debug)]
pub(super) struct PairRule {
    /// The text of a pair, with places for both; none: their tokens between special ones.
    template: Option<String>,
    /// What stands between the texts, where there is no template.
    between: Vec<u32>,
}

/// The places of the texts in a template.
const PLACES: [&str; 2] = ["{query}", "{document}"];

impl PairRule {
    /// Reads the keys. Behind the first text is what ends a text (`last`), and a separator where
    /// `tokenizer.ggml.add_sep_token` says so. Texts of unigrams (XLM-RoBERTa) have it where a file,
    /// as the first ones, does not say.
    pub(super) fn read(metadata: &Metadata, last: Option<u32>, separator: Option<u32>) -> Result<Self> {
        let template = metadata.opt_str("tokenizer.chat_template.rerank")?.map(str::to_owned);
        let is_unigram = metadata.opt_str("tokenizer.ggml.model")? == Some("t5");
        let separates = metadata.opt_bool("tokenizer.ggml.add_sep_token")?.unwrap_or(is_unigram);
        let between = last.into_iter().chain(separator.filter(|_| separates)).collect();
        Ok(Self { template, between })
    }
}

impl Tokenizer {
    /// The tokens of a query and a document, as the model's file wants them: in its template
    /// `rerank`, or with its special tokens around and between them. The texts of special tokens in
    /// either are text like any other.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn pair(&self, query: &str, document: &str) -> Result<TextPair> {
        if let Some(template) = &self.pairs.template {
            let (text, plain) = filled(template, [query, document]);
            let mut tokens = self.encode_outside(&text, &plain)?;
            self.enclose(&mut tokens)?;
            return Ok(TextPair { tokens, second: usize::MAX });
        }
        let (first, second) = (self.encode(query, false)?, self.encode(document, false)?);
        let mut tokens = Vec::new();
        memory::reserve(&mut tokens, first.len() + self.pairs.between.len() + second.len() + 2)?;
        tokens.extend(self.add_bos());
        tokens.extend_from_slice(&first);
        tokens.extend_from_slice(&self.pairs.between);
        let start = tokens.len();
        tokens.extend_from_slice(&second);
        tokens.extend(self.add_eos());
        Ok(TextPair { tokens, second: start })
    }
}

/// The template with the texts in their places, and where those are.
fn filled(template: &str, texts: [&str; 2]) -> (String, Vec<Range<usize>>) {
    let (mut out, mut plain, mut rest) = (String::new(), Vec::new(), template);
    let next = |rest: &str| {
        let places = PLACES.iter().zip(texts).filter_map(|(place, text)| Some((rest.find(place)?, *place, text)));
        places.min_by_key(|(at, ..)| *at)
    };
    while let Some((at, place, text)) = next(rest) {
        out.push_str(&rest[..at]);
        plain.push(out.len()..out.len() + text.len());
        out.push_str(text);
        rest = &rest[at + place.len()..];
    }
    out.push_str(rest);
    (out, plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_put_into_a_template_once() {
        let (text, plain) = filled("<q>{query}</q>{document}.", ["a {document} b", "{query}"]);
        assert_eq!(text, "<q>a {document} b</q>{query}.");
        assert_eq!(plain, [3..17, 21..28]);
        assert_eq!(filled("no place", ["a", "b"]), ("no place".to_owned(), vec![]));
    }
}
