//! Whether two tokenizers do the same, by trying.
//!
//! An expression can be written in many ways, and what a part of a `tokenizer.json` does may not
//! matter beside another part: so the tokens are compared, on texts that show where pieces are cut,
//! and on the text of every token, alone and between others.

use std::collections::BTreeSet;

use ollm_runtime::gguf::Metadata;
use ollm_runtime::tokenizer::{NORMALIZER_KEY, Tokenizer, byte_letter};
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use super::document::Document;
use super::metadata::MetadataPairs;

/// Characters that pre-tokenizers and normalizers tell apart.
const CLASSES: [&str; 14] = [
    " ",
    " \u{a0}\t\u{3000}\u{85}",
    "\n\r",
    "sStTrReEvVmMlLdD",
    "aZxQ",
    "'\u{2019}",
    ".,(!/_-|$+<`~#。，、।؟…",
    "éДßñÀǅʰµ",
    "中あア가龥ㄱㄅกहম",
    "0123456789",
    "١Ⅷ²½५",
    "\u{301}\u{93f}\u{20dd}",
    "ﬁÅ\u{1100}\u{1161}",
    "🎉\u{200d}\u{fe0f}\u{0}\u{e000}\u{378}",
];

/// How many texts are made of [`CLASSES`].
const TEXTS: u64 = 600;

/// Where a tokenizer of bytes cuts a text into pieces. Few merges of a vocabulary cross the places
/// where pre-tokenizers differ, so this has a vocabulary of its own, of all pairs of bytes.
pub(super) struct Cuts {
    /// The tokens of each text; none if it cannot be read.
    published: Option<Vec<Vec<u32>>>,
    lists: MetadataPairs,
}

impl Cuts {
    /// Those of a `tokenizer.json`.
    pub(super) fn of(tokenizer: &Document) -> Self {
        let used: BTreeSet<u8> = CLASSES.iter().flat_map(|class| class.bytes()).collect();
        let letters: Vec<String> = (0..=255).map(|byte| byte_letter(byte).to_string()).collect();
        let pairs = used.iter().flat_map(|&left| used.iter().map(move |&right| [left, right]));
        let mut pairs: Vec<[u8; 2]> = pairs.collect();
        // In an order without order: where one byte always merged before another, no cut beside it
        // would show.
        pairs.sort_by_cached_key(|&pair| u32::from(u16::from_be_bytes(pair)).wrapping_mul(0x9E37_79B1));
        let pairs: Vec<[&str; 2]> =
            pairs.into_iter().map(|pair| pair.map(|byte| letters[usize::from(byte)].as_str())).collect();
        let merges: Vec<String> = pairs.iter().map(|pair| pair.join(" ")).collect();
        let tokens: Vec<String> = letters.iter().cloned().chain(pairs.iter().map(|pair| pair.concat())).collect();
        let part = |key: &str| tokenizer.get(key).cloned().unwrap_or(Value::Null);
        let vocab: Map<String, Value> = tokens.iter().cloned().zip((0..).map(|id: u32| id.into())).collect();
        let json = json!({
            "version": "1.0", "added_tokens": [], "decoder": part("decoder"), "post_processor": null,
            "normalizer": part("normalizer"), "pre_tokenizer": part("pre_tokenizer"),
            "model": {"type": "BPE", "vocab": vocab, "merges": merges},
        });
        let published = read(vec![("tokenizer.huggingface.json".to_owned(), json.to_string().into())]);
        let published =
            published.and_then(|published| texts().map(|text| tokens_of(&published, &text, true)).collect());
        let lists = [("model", "gpt2".into()), ("tokens", tokens.into()), ("merges", merges.into())];
        let lists = lists.into_iter().map(|(name, value)| (format!("tokenizer.ggml.{name}"), value)).collect();
        Self { published, lists }
    }

    /// Whether a pre-tokenizer cuts alike, with a normalization form.
    pub(super) fn are_those_of(&self, pre: &str, form: &str) -> bool {
        let mut keys = self.lists.clone();
        keys.push(("tokenizer.ggml.pre".to_owned(), pre.into()));
        keys.push(("tokenizer.ggml.add_bos_token".to_owned(), false.into()));
        keys.push((NORMALIZER_KEY.to_owned(), form.into()));
        let Some((published, lists)) = self.published.as_ref().zip(read(keys)) else { return false };
        let same = |(text, ids): (String, &Vec<u32>)| tokens_of(&lists, &text, true).as_ref() == Some(ids);
        texts().zip(published).all(same)
    }
}

fn read(keys: MetadataPairs) -> Option<Tokenizer> {
    let mut metadata = Metadata::default();
    keys.into_iter().try_for_each(|(key, value)| metadata.insert(key, value)).ok()?;
    Tokenizer::from_metadata(&metadata).ok()
}

/// Whether two tokenizers give the same tokens. U+2581 stands for a space in vocabularies; in a
/// text, where none means it, the two may differ.
pub(super) fn is_same(one: &Tokenizer, two: &Tokenizer) -> bool {
    let same = |text: &str, special| {
        let ids = tokens_of(one, text, special);
        ids.is_some() && ids == tokens_of(two, text, special)
    };
    let token = |id: u32| {
        let Some(text) = one.token_bytes(id).and_then(|bytes| std::str::from_utf8(bytes).ok()) else { return true };
        let text = text.replace('\u{2581}', " ");
        let between = format!("a {text} b\n{text}{text}1");
        same(&text, true) && same(&between, true) && (!one.is_control(id) || same(&between, false))
    };
    one.vocab_size() <= two.vocab_size()
        && (0..TEXTS).into_par_iter().all(|seed| same(&text(seed), true))
        && (0..one.vocab_size() as u32).into_par_iter().all(token)
}

fn tokens_of(tokenizer: &Tokenizer, text: &str, special: bool) -> Option<Vec<u32>> {
    tokenizer.encode(text, special).ok()
}

fn texts() -> impl Iterator<Item = String> {
    (0..TEXTS).map(text)
}

/// A few runs of characters, each of one class.
fn text(seed: u64) -> String {
    let mut state = seed;
    // SplitMix64: a stream of its own for each seed.
    let mut below = move |most: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % most as u64) as usize
    };
    let mut text = String::new();
    for _ in 0..16 {
        let class: Vec<char> = CLASSES[below(CLASSES.len())].chars().collect();
        let most = if below(8) == 0 { 9 } else { 3 };
        text.extend((0..=below(most)).map(|_| class[below(class.len())]));
    }
    text
}
