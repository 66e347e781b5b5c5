//! Pairs of texts: a query and a document, for models that rank documents.

use std::ops::Range;

use super::error::TokenizerError;
use crate::gguf::Metadata;

/// The tokens of a pair of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPair {
    /// Those of both, with what the file wants around and between them.
    pub tokens: Vec<u32>,
    /// The first token of the second segment, of models whose tokens belong to segments: that of
    /// the document. Beyond all tokens there is none.
    pub second: usize,
}

/// How a file wants pairs.
#[derive(Debug)]
pub(super) struct PairRule {
    /// The text of a pair, with places for both; none: their tokens between special ones.
    pub(super) template: Option<String>,
    /// What stands between the texts, where there is no template.
    pub(super) between: Vec<u32>,
}

/// The places of the texts in a template.
const PLACES: [&str; 2] = ["{query}", "{document}"];

impl PairRule {
    /// Reads the keys. Behind the first text is what ends a text (`last`), and a separator where
    /// `tokenizer.ggml.add_sep_token` says so. Texts of unigrams (XLM-RoBERTa) have it where a
    /// file, as the first ones, does not say.
    pub(super) fn read(metadata: &Metadata, last: Option<u32>, separator: Option<u32>) -> Result<Self, TokenizerError> {
        let template = metadata.opt_str("tokenizer.chat_template.rerank")?.map(str::to_owned);
        let lacks = |place: &&str| template.as_ref().is_some_and(|template| !template.contains(place));
        if let Some(missing) = PLACES.into_iter().find(lacks) {
            return Err(TokenizerError::BadRerankTemplate { missing });
        }
        let is_unigram = metadata.opt_str("tokenizer.ggml.model")? == Some("t5");
        let separates = metadata.opt_bool("tokenizer.ggml.add_sep_token")?.unwrap_or(is_unigram);
        let between = last.into_iter().chain(separator.filter(|_| separates)).collect();
        Ok(Self { template, between })
    }
}

/// The template with the texts in their places, and where those are.
pub(super) fn filled(template: &str, texts: [&str; 2]) -> (String, Vec<Range<usize>>) {
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
    }

    #[test]
    fn a_template_has_a_place_for_each_text() {
        let read = |template: &str| {
            let mut metadata = Metadata::default();
            metadata.insert("tokenizer.chat_template.rerank".to_owned(), template.into()).unwrap();
            PairRule::read(&metadata, None, None)
        };
        assert!(read("{document} for {query}").is_ok());
        for (template, lacking) in [("{query}", "{document}"), ("{document}", "{query}"), ("", "{query}")] {
            let error = read(template).unwrap_err();
            assert!(matches!(error, TokenizerError::BadRerankTemplate { missing } if missing == lacking), "{error}");
        }
    }
}
