//! The names of pre-tokenizers (`tokenizer.ggml.pre`), and what each implies.
//!
//! The names are llama.cpp's (`llama_vocab::impl::load`), and so is what they imply, but for the
//! cleaning of spaces, which changes the text of a whole answer and never tokens or streamed text.
//! That the published tokenizer normalizes text is from its `tokenizer.json`; llama.cpp does not do
//! it.

use super::form::{self, Form};
use super::split::{self, Pieces, Step};

/// A pre-tokenizer and what its name implies.
#[derive(Debug)]
pub(super) struct Pre {
    /// The values of `tokenizer.ggml.pre`, the usual one first.
    names: &'static [&'static str],
    steps: &'static [Step],
    /// How tokens and merges are written.
    pub(super) alphabet: Alphabet,
    /// Whether a piece that is a token needs no merges.
    pub(super) ignore_merges: bool,
    /// Whether a BOS token is wanted where `tokenizer.ggml.add_bos_token` does not say.
    pub(super) add_bos: bool,
    /// Whether it is wanted even where the file says that it is not.
    pub(super) needs_bos: bool,
    /// How text is normalized where `ollm.tokenizer.normalizer` does not say.
    pub(super) form: Option<Form>,
}

/// What tokens and merges of BPE are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// Bytes, each written as one character.
    Bytes,
    /// Characters, with U+2581 for a space; one that is no token becomes bytes.
    Characters,
}

/// What llama.cpp does where a file names no pre-tokenizer.
pub(super) static DEFAULT: Pre = pre(&["default"], split::DEFAULT);

static KNOWN: [Pre; 31] = [
    pre(&["smollm", "starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2"], split::SMOLLM),
    pre(&["command-r"], split::SMOLLM).normalizing(Form::Nfc),
    pre(
        &[
            "gpt-2",
            "gpt2",
            "phi-2",
            "jina-es",
            "jina-de",
            "jina-v1-en",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v2-code",
            "roberta-bpe",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "exaone4",
            "jais",
            "trillion",
            "granite-docling",
        ],
        split::GPT2,
    ),
    // The vocabulary of GPT-NeoX.
    pre(&["olmo", "mpt", "modern-bert"], split::GPT2).normalizing(Form::Nfc),
    pre(
        &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"],
        split::LLAMA3,
    )
    .ignoring_merges()
    .adding_bos(),
    pre(&["glm4", "glm5"], split::LLAMA3).ignoring_merges(),
    pre(&["dbrx", "smaug-bpe", "chatglm-bpe"], split::LLAMA3),
    pre(&["qwen2", "kormo", "f2llmv2"], split::QWEN2).normalizing(Form::Nfc),
    pre(
        &[
            "deepseek-r1-qwen",
            "stablelm2",
            "hunyuan",
            "megrez",
            "solar-open",
            "grok-2",
            "bailingmoe",
            "bailingmoe2",
            "llada-moe",
        ],
        split::QWEN2,
    ),
    pre(&["qwen35"], split::QWEN35).normalizing(Form::Nfc),
    pre(&["tekken"], split::TEKKEN).ignoring_merges().adding_bos(),
    pre(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], split::GPT4O),
    pre(&["granite-embed-multi-97m"], split::GPT4O).ignoring_merges(),
    pre(&["deepseek-llm"], split::DEEPSEEK_LLM),
    pre(&["deepseek-coder"], split::DEEPSEEK_CODER),
    pre(&["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"], split::DEEPSEEK_V3),
    pre(&["gemma4", "granite-embed-multi-311m"], split::NEWLINES).of_characters().needing_bos(),
    pre(&["sarvam-moe"], split::NEWLINES).of_characters(),
    pre(&["falcon"], split::FALCON),
    pre(&["bloom", "poro-chat", "gpt3-finnish"], split::BLOOM),
    pre(&["viking"], split::VIKING),
    pre(&["superbpe"], split::SUPERBPE),
    pre(&["seed-coder"], split::SEED_CODER),
    pre(&["exaone-moe"], split::EXAONE_MOE),
    pre(&["tiny_aya", "cohere2moe"], split::TINY_AYA),
    pre(&["minicpm5"], split::MINICPM5).ignoring_merges(),
    pre(&["youtu"], split::YOUTU).ignoring_merges(),
    pre(&["spark2_5"], split::SPARK),
    pre(&["jais-2"], split::JAIS2),
    pre(&["ufakzeka"], split::UFAKZEKA),
    pre(&["laguna"], split::LAGUNA),
];

const fn pre(names: &'static [&'static str], steps: &'static [Step]) -> Pre {
    let (alphabet, ignore_merges) = (Alphabet::Bytes, false);
    Pre { names, steps, alphabet, ignore_merges, add_bos: false, needs_bos: false, form: None }
}

impl Pre {
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        KNOWN.iter().chain([&DEFAULT]).find(|pre| pre.names.contains(&name))
    }

    /// The pieces of `text`, in order; together they are the text.
    pub(super) fn pieces<'t>(&self, text: &'t str) -> Pieces<'t> {
        Pieces::new(text, self.steps)
    }

    const fn ignoring_merges(mut self) -> Self {
        self.ignore_merges = true;
        self
    }

    const fn adding_bos(mut self) -> Self {
        self.add_bos = true;
        self
    }

    /// The first files of Gemma 4 say that texts begin without BOS, and llama.cpp does not believe
    /// them.
    const fn needing_bos(mut self) -> Self {
        (self.add_bos, self.needs_bos) = (true, true);
        self
    }

    const fn of_characters(mut self) -> Self {
        self.alphabet = Alphabet::Characters;
        self
    }

    const fn normalizing(mut self, form: Form) -> Self {
        self.form = Some(form);
        self
    }
}

/// The names that [`Pre::named`] knows.
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().flat_map(|pre| pre.names).copied()
}

/// The usual names of the pre-tokenizers, one for each that differs from all others in what it does
/// to a text, with the normalization form that the name implies.
pub fn usual_pre_tokenizers() -> impl Iterator<Item = (&'static str, &'static str)> {
    let bytes = KNOWN.iter().filter(|pre| pre.alphabet == Alphabet::Bytes);
    bytes.map(|pre| (pre.names[0], form::name(pre.form)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_name_is_there_once() {
        assert_eq!(known().collect::<BTreeSet<_>>().len(), known().count());
    }

    #[test]
    fn an_unknown_name_is_unknown() {
        assert!(Pre::named("gemma").is_none());
        assert!(Pre::named("default").is_some());
        assert!(known().any(|name| name == "smollm"));
    }
}
