//! The tokenizer on small vocabularies that are written out here. The real ones are tested end to
//! end.

#[cfg(feature = "tokenizer-json")]
mod carried;

use super::*;
use crate::gguf::{Gguf, Value, Writer};

/// The pairs of a file; a test changes what it is about.
#[derive(Clone)]
struct File(Vec<(&'static str, Value)>);

const MERGES: [&str; 7] = ["h e", "l l", "he ll", "hell o", "Ġ w", "Ġw o", "A A"];
const EXTRA: [&str; 4] = ["<|end|>", "<|x|>", "<tool>", "<0x0A>"];

impl File {
    /// The byte alphabet, one token for each merge, four special ones.
    fn new(pre: &str) -> Self {
        let mut tokens: Vec<String> = (0..=255).map(|byte| bytes::to_char(byte).to_string()).collect();
        tokens.extend(MERGES.map(|merge| merge.replace(' ', "")));
        let mut kinds = vec![1; tokens.len()];
        tokens.extend(EXTRA.map(str::to_owned));
        kinds.extend([3, 3, 4, 6]);
        Self(vec![
            ("tokenizer.ggml.model", "gpt2".into()),
            ("tokenizer.ggml.pre", pre.into()),
            ("tokenizer.ggml.tokens", tokens.into()),
            ("tokenizer.ggml.token_type", kinds.into()),
            ("tokenizer.ggml.merges", MERGES.map(str::to_owned).to_vec().into()),
            ("tokenizer.ggml.bos_token_id", 264_u32.into()),
        ])
    }

    fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self = self.without(key);
        self.0.push((key, value.into()));
        self
    }

    fn without(mut self, key: &str) -> Self {
        self.0.retain(|(k, _)| *k != key);
        self
    }

    fn tokens(self, change: impl FnOnce(&mut Vec<String>)) -> Self {
        const KEY: &str = "tokenizer.ggml.tokens";
        let found = self.0.iter().find(|(key, _)| *key == KEY);
        let Some((_, Value::Array(crate::gguf::Array::String(tokens)))) = found else { panic!() };
        let mut tokens = tokens.clone();
        change(&mut tokens);
        self.with(KEY, tokens)
    }

    fn read(self) -> Result<Tokenizer> {
        let mut writer = Writer::new();
        for (key, value) in self.0 {
            writer.set(key, value).unwrap();
        }
        Tokenizer::from_metadata(Gguf::parse(&writer.to_bytes()).unwrap().metadata())
    }

    fn error(self) -> String {
        self.read().unwrap_err().to_string()
    }
}

fn tokenizer() -> Tokenizer {
    File::new("gpt2").read().unwrap()
}

#[test]
fn merges_build_words() {
    let t = tokenizer();
    assert_eq!(t.encode("hello world", false).unwrap(), [259, 261, 114, 108, 100]);
    assert_eq!(t.encode("hello hello", false).unwrap(), [259, 32, 259]);
    assert_eq!(t.encode("", true).unwrap(), [0; 0]);
    assert_eq!(t.vocab_size(), 267);
}

#[test]
fn special_text_is_a_token_only_when_asked_for() {
    let t = tokenizer();
    assert_eq!(t.encode("<|x|>he", true).unwrap(), [264, 256]);
    assert_eq!(t.encode("<|x|>he", false).unwrap()[..2], [60, 124]);
    assert_eq!(t.encode("he<tool>", false).unwrap(), [256, 265]);
}

#[test]
fn every_text_comes_back() {
    let t = tokenizer();
    for text in ["hello  world\r\n", "é中🎉\u{0}\u{7f}", "<|x|> <tool>", "\n\n\t "] {
        for special in [false, true] {
            assert_eq!(t.decode(&t.encode(text, special).unwrap()), text);
        }
    }
}

#[test]
fn tokens_are_bytes() {
    let t = tokenizer();
    let bytes = [0, 32, 259, 263, 266, 267].map(|id| t.token_bytes(id));
    assert_eq!(bytes, [Some(&b"\0"[..]), Some(b" "), Some(b"hello"), Some(b"<|end|>"), Some(b"\n"), None]);
    assert_eq!(t.decode(&[0xe4, 259]), "\u{fffd}hello");
}

#[test]
fn ends_are_found_by_id_and_by_text() {
    let named = File::new("gpt2").with("tokenizer.ggml.eos_token_id", 256_u32);
    let t = named.with("tokenizer.ggml.eot_token_id", 257_u32).read().unwrap();
    let ends: Vec<u32> = (0..300).filter(|&id| t.is_end(id)).collect();
    assert_eq!((ends, t.eos()), (vec![256, 257, 263], Some(256)));
    assert_eq!([t.special("eot_token"), t.special("eom_token"), t.special("eos_token")], [Some(257), None, Some(256)]);
    assert_eq!(t.special_tokens().collect::<Vec<_>>(), [("bos_token", 264), ("eos_token", 256)]);
    // What is no token is none, with a warning: nothing here wants it.
    for id in [267, u32::MAX] {
        let t = File::new("gpt2").with("tokenizer.ggml.eos_token_id", id).with("tokenizer.ggml.eot_token_id", id);
        let t = t.read().unwrap();
        let said: Vec<String> = t.warnings().iter().map(ToString::to_string).collect();
        assert!(t.eos().is_none() && t.is_end(263), "{id}");
        assert!(said.iter().filter(|said| said.contains("none of the 267 tokens")).count() == 2, "{said:?}");
    }
}

/// Tokens with scores: the letters but for "b", what is merged, bytes, special ones.
fn scored() -> File {
    let merged = [("\u{2581}a", -1.0), ("he", -2.0), ("ll", -3.0), ("hell", -4.0), ("lo", -2.5), ("ello", 7.0)];
    let mut tokens: Vec<(String, f32, i32)> = (0..=255).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6)).collect();
    tokens.extend("\u{2581}achelo".chars().map(|c| (c.to_string(), -100.0, 1)));
    tokens.extend(merged.map(|(text, score)| (text.to_owned(), score, 1)));
    tokens.extend([("<s>", 3), ("  ", 4), ("<end_of_turn>", 3)].map(|(text, kind)| (text.to_owned(), -1000.0, kind)));
    File(vec![
        ("tokenizer.ggml.model", "llama".into()),
        ("tokenizer.ggml.scores", tokens.iter().map(|token| token.1).collect::<Vec<f32>>().into()),
        ("tokenizer.ggml.tokens", tokens.iter().map(|token| token.0.clone()).collect::<Vec<_>>().into()),
        ("tokenizer.ggml.token_type", tokens.iter().map(|token| token.2).collect::<Vec<i32>>().into()),
        ("tokenizer.ggml.bos_token_id", 269_u32.into()),
    ])
}

#[test]
fn scores_decide_what_is_merged_first() {
    let t = scored().with("tokenizer.ggml.add_space_prefix", false).read().unwrap();
    let texts = |text: &str| -> Vec<String> {
        let ids = t.encode(text, true).unwrap();
        ids.iter().map(|&id| String::from_utf8_lossy(t.token_bytes(id).unwrap()).into_owned()).collect()
    };
    // "he" is better than "lo", and both than "ll"; so nothing is left for "hell" or "ello".
    assert_eq!(texts("hello"), ["he", "l", "lo"]);
    assert_eq!(texts("hell"), ["hell"]);
    assert_eq!(texts("a a"), ["a", " a"]);
    assert_eq!(texts("a  a<s>a"), ["a", "  ", "a", "<s>", "a"]);
    assert_eq!(t.encode("bé", false).unwrap(), [0x62, 0xc3, 0xa9]);
    assert_eq!(t.encode("<s>", false).unwrap()[0], 0x3c);
    assert_eq!(t.decode(&t.encode("hé b  llo\n🎉", true).unwrap()), "hé b  llo\n🎉");
    assert_eq!((t.add_bos(), t.is_end(271), t.is_end(270)), (Some(269), true, false));
}

#[test]
fn a_space_before_a_text_is_there_where_the_file_does_not_say_otherwise() {
    let t = scored().read().unwrap();
    assert_eq!(t.decode(&t.encode("a<s>a", true).unwrap()), " a<s> a");
    assert_eq!(t.encode("a", true).unwrap(), [263]);
    assert_eq!(t.encode("", true).unwrap(), [0; 0]);
}

#[test]
fn of_tokens_with_one_text_the_last_one_counts() {
    // "ll" is token 265 as well.
    let t = scored().tokens(|tokens| tokens[264] = "ll".to_owned()).read().unwrap();
    assert_eq!(t.encode("ll", false).unwrap().last(), Some(&265));
}

#[test]
fn a_byte_without_a_token_needs_one_for_what_is_unknown() {
    let lacking = || scored().tokens(|tokens| tokens[0xe4] = "other".to_owned());
    let lacking = || lacking().with("tokenizer.ggml.token_type", vec![1_i32; 272]);
    assert_eq!(lacking().error(), "byte 0xE4 has no token, and there is no tokenizer.ggml.unknown_token_id");
    let t = lacking().with("tokenizer.ggml.unknown_token_id", 3_u32).read().unwrap();
    assert!(t.encode("\u{4e2d}", false).unwrap().contains(&3));
}

#[test]
fn the_tag_of_html_ends_nothing_unless_the_file_names_it() {
    let tagged = || scored().tokens(|tokens| tokens[270] = "</s>".to_owned());
    let t = tagged().read().unwrap();
    assert_eq!((t.encode("</s>", true).unwrap(), t.is_end(270)), (vec![270], false));
    assert!(tagged().with("tokenizer.ggml.eos_token_id", 270_u32).read().unwrap().is_end(270));
}

#[test]
fn bad_scores_are_errors() {
    let no_scores = scored().without("tokenizer.ggml.scores").error();
    assert!(no_scores.contains("tokenizer.ggml.scores"), "{no_scores}");
    let few = scored().with("tokenizer.ggml.scores", vec![0.0_f32; 3]).error();
    assert_eq!(few, "tokenizer.ggml.scores has 3 entries for 272 tokens");
    let doubles = scored().with("tokenizer.ggml.scores", vec![0.0_f64; 272]).error();
    assert!(doubles.contains("expected an array of f32"), "{doubles}");
    let nan = scored().with("tokenizer.ggml.scores", vec![f32::NAN; 272]).error();
    assert_eq!(nan, "tokenizer.ggml.scores: that of token 0 is not a number");
}

#[test]
fn bos_is_wanted_where_the_file_or_the_family_says_so() {
    assert_eq!(tokenizer().add_bos(), None);
    assert_eq!(tokenizer().bos(), Some(264));
    assert_eq!(File::new("llama-bpe").read().unwrap().add_bos(), Some(264));
    let told = |pre, add: bool| File::new(pre).with("tokenizer.ggml.add_bos_token", add).read().unwrap().add_bos();
    assert_eq!((told("llama-bpe", false), told("gpt2", true)), (None, Some(264)));
    let nameless = File::new("llama-bpe").without("tokenizer.ggml.bos_token_id");
    assert!(nameless.error().contains("bos_token_id"));
}

#[test]
fn llama_takes_whole_tokens_without_merges() {
    let unmerged = |pre| File::new(pre).tokens(|tokens| tokens[10] = "wor".to_owned()).read().unwrap();
    assert_eq!(unmerged("llama-bpe").encode("wor", false).unwrap(), [10]);
    assert_eq!(unmerged("qwen2").encode("wor", false).unwrap(), [119, 111, 114]);
}

#[test]
fn a_byte_without_a_token_vanishes_and_nothing_merges_over_it() {
    let t = File::new("gpt2").tokens(|tokens| tokens[usize::from(b'-')] = "unused".to_owned()).read().unwrap();
    assert_eq!(t.encode("h-e", false).unwrap(), [104, 101]);
    assert_eq!(t.encode("A--A", false).unwrap(), [65, 65]);
}

#[test]
fn of_equal_tokens_the_lower_id_is_written() {
    let t = File::new("gpt2")
        .tokens(|tokens| tokens[262] = "hello".to_owned())
        .with("tokenizer.ggml.merges", MERGES[..6].iter().map(|m| (*m).to_owned()).collect::<Vec<_>>())
        .read()
        .unwrap();
    assert_eq!(t.encode("hello", false).unwrap(), [259]);
    assert_eq!(t.decode(&[262]), "hello");
}

#[test]
fn bad_lists_are_errors() {
    let file = || File::new("gpt2");
    let merges = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    for (file, message) in [
        (file().with("tokenizer.ggml.model", "rwkv"), r#"model "rwkv" is not supported, only gpt2, llama"#),
        (file().with("tokenizer.ggml.pre", "gemma"), r#"pre "gemma" is not supported, only smollm, starcoder"#),
        (
            file().with("ollm.tokenizer.normalizer", "nfx"),
            r#"ollm.tokenizer.normalizer "nfx" is not supported, only none"#,
        ),
        (file().without("tokenizer.ggml.tokens"), "tokenizer.ggml.tokens"),
        (file().with("tokenizer.ggml.tokens", Vec::<String>::new()), "is empty"),
        (file().with("tokenizer.ggml.token_type", vec![1]), "has 1 entries for 267 tokens"),
        (file().with("tokenizer.ggml.token_type", vec![9; 267]), "token 0 has type 9"),
        (file().with("tokenizer.ggml.token_type", vec![1.0_f32; 267]), "267 f32"),
        (file().tokens(|tokens| tokens[266] = "<0x-1>".to_owned()), r#"byte token 266 is "<0x-1>""#),
        (file().with("tokenizer.ggml.merges", merges(&["h e", "hello"])), r#"merge 1 is "hello""#),
        (file().with("tokenizer.ggml.merges", merges(&[" e"])), r#"merge 0 is " e""#),
        (file().with("tokenizer.ggml.merges", merges(&["he l"])), r#"but "hel" is no token"#),
        (file().with("tokenizer.ggml.merges", merges(&["h e", "q xy"])), r#"but "xy" is no token"#),
        (
            file().with("tokenizer.ggml.bos_token_id", 267_u32).with("tokenizer.ggml.add_bos_token", true),
            "bos_token_id is 267, but there are 267 tokens",
        ),
        (
            file().with("tokenizer.ggml.eos_token_id", u32::MAX).with("tokenizer.ggml.add_eos_token", true),
            "eos_token_id is 4294967295",
        ),
    ] {
        let error = file.error();
        assert!(error.contains(message), "{error:?} does not say {message:?}");
    }
}

/// As in Gemma's vocabulary: thousands of special tokens that begin alike.
#[test]
fn many_special_tokens_cost_no_more_than_a_few() {
    let unused = |id| format!("<unused{id}>");
    let t = File::new("gpt2").tokens(|tokens| tokens.extend((0..6400).map(unused)));
    let t = t.with("tokenizer.ggml.token_type", {
        let mut kinds = vec![1; 267];
        kinds.extend(std::iter::repeat_n(3, 6400));
        kinds
    });
    let t = t.read().unwrap();
    let start = std::time::Instant::now();
    assert_eq!(t.encode(&"<|".repeat(300_000), true).unwrap(), [60, 124].repeat(300_000));
    let all: String = (0..6400).map(unused).collect();
    assert_eq!(t.encode(&all.repeat(4), true).unwrap(), (267..6667).collect::<Vec<u32>>().repeat(4));
    assert!(start.elapsed() < std::time::Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn a_missing_pre_tokenizer_is_llama_cpps_default_with_a_warning() {
    for file in [File::new("default"), File::new(""), File::new("gpt2").without("tokenizer.ggml.pre")] {
        let t = file.read().unwrap();
        assert_eq!(t.warnings(), [TokenizerWarning::DefaultPre]);
        assert_eq!(t.encode("hello", false).unwrap(), [259]);
    }
    assert_eq!(tokenizer().warnings(), []);
}

#[test]
fn ids_that_matter_little_may_be_wrong() {
    for key in ["tokenizer.ggml.padding_token_id", "tokenizer.ggml.unknown_token_id"] {
        for id in [Value::from(u32::MAX), Value::from(-1_i32), Value::from(300_u32)] {
            for file in [File::new("gpt2"), scored()] {
                let t = file.with(key, id.clone()).read().unwrap();
                let [warning] = t.warnings() else { panic!("{:?}", t.warnings()) };
                assert!(warning.to_string().starts_with(key), "{warning}");
            }
        }
    }
}

#[test]
fn tokens_that_end_a_turn_are_control_tokens_whatever_their_type() {
    for kind in [1, 4] {
        let file = File::new("gpt2").tokens(|tokens| tokens[260] = "<|im_end|>".to_owned());
        let mut kinds = vec![1; 267];
        kinds[260] = kind;
        let merges = ["h e"].map(str::to_owned).to_vec();
        let t = file.with("tokenizer.ggml.token_type", kinds).with("tokenizer.ggml.merges", merges).read().unwrap();
        assert_eq!(t.encode("he<|im_end|>", true).unwrap(), [256, 260]);
        assert!(!t.encode("he<|im_end|>", false).unwrap().contains(&260));
        assert!(t.is_end(260) && t.is_control(260));
        assert!(t.warnings().iter().any(|warning| warning.to_string().contains("token 260, \"<|im_end|>\"")));
    }
}

#[test]
fn in_the_harmony_format_the_end_of_a_message_ends_no_turn() {
    let t = File::new("gpt2").tokens(|tokens| {
        tokens[264] = "<|return|>".to_owned();
        tokens[265] = "<|call|>".to_owned();
    });
    let t = t.read().unwrap();
    assert_eq!([263, 264, 265].map(|id| t.is_end(id)), [false, true, true]);
}

#[test]
fn text_is_normalized_where_the_file_or_the_family_says_so() {
    let ids = |t: &Tokenizer, text| t.encode(text, true).unwrap();
    let (decomposed, composed) = ("e\u{301}<|x|>e\u{301}", "\u{e9}<|x|>\u{e9}");
    for (pre, composes) in [("qwen2", true), ("gpt2", false), ("llama-bpe", false), ("qwen35", true)] {
        let t = File::new(pre).read().unwrap();
        assert_eq!(ids(&t, decomposed) == ids(&t, composed), composes, "{pre}");
        assert_eq!(t.decode(&ids(&t, composed)), composed);
        for (form, composes) in [("nfc", true), ("none", false)] {
            let t = File::new(pre).with("ollm.tokenizer.normalizer", form).read().unwrap();
            assert_eq!(ids(&t, decomposed) == ids(&t, composed), composes, "{pre} {form}");
        }
    }
    let t = scored().with("ollm.tokenizer.normalizer", "nfkc").read().unwrap();
    assert_eq!(t.encode("\u{ff41}", false).unwrap(), t.encode("a", false).unwrap());
}

/// Gemma 4's: merges of characters, spaces as U+2581, bytes of what is no token, line ends whole.
#[test]
fn merges_may_be_of_characters() {
    let mut tokens: Vec<String> = (0..=255).map(|byte| format!("<0x{byte:02X}>")).collect();
    tokens.extend(["\u{2581}", "a", "é", "\u{2581}a", "aé", "\n", "\n\n\n", "<s>"].map(str::to_owned));
    let mut kinds = vec![6; 256];
    kinds.extend([1, 1, 1, 1, 1, 1, 1, 3]);
    let merges = ["\u{2581} a", "a é"].map(str::to_owned).to_vec();
    let file = |model: &str, pre: &str| {
        File(vec![
            ("tokenizer.ggml.model", model.into()),
            ("tokenizer.ggml.pre", pre.into()),
            ("tokenizer.ggml.tokens", tokens.clone().into()),
            ("tokenizer.ggml.token_type", kinds.clone().into()),
            ("tokenizer.ggml.merges", merges.clone().into()),
            ("tokenizer.ggml.bos_token_id", 263_u32.into()),
        ])
    };
    for t in [file("gemma4", "default"), file("gpt2", "gemma4")].map(|file| file.read().unwrap()) {
        assert_eq!(t.encode("a aé aé", false).unwrap(), [257, 259, 258, 259, 258]);
        assert_eq!(t.encode("aé中", false).unwrap(), [260, 0xe4, 0xb8, 0xad]);
        assert_eq!(t.encode("\n\n\na\n\n", false).unwrap(), [262, 257, 261, 261]);
        assert_eq!(t.decode(&t.encode("<s>a  é中\n", true).unwrap()), "<s>a  é中\n");
        assert_eq!((t.add_bos(), t.warnings()), (Some(263), &[][..]));
    }
    let without = |mut file: File| {
        file.0.push(("tokenizer.ggml.add_bos_token", false.into()));
        file.read().unwrap()
    };
    let t = without(file("gemma4", "default"));
    assert_eq!((t.add_bos(), t.warnings()), (Some(263), &[TokenizerWarning::BosNeeded][..]));
    assert_eq!(without(file("gpt2", "sarvam-moe")).add_bos(), None);
}

#[test]
fn a_text_begins_once() {
    let t = File::new("llama-bpe").read().unwrap();
    let begun = |mut ids: Vec<u32>| (t.begin(&mut ids).unwrap(), ids);
    assert_eq!(begun(vec![]), (false, vec![264]));
    assert_eq!(begun(vec![1, 264]), (false, vec![264, 1, 264]));
    assert_eq!(begun(vec![264, 1]), (true, vec![264, 1]));
    let mut ids = vec![264, 264];
    assert!(!tokenizer().begin(&mut ids).unwrap());
    assert_eq!(ids, [264, 264]);
}

#[test]
fn long_texts_take_neither_stack_nor_square_time() {
    for pre in ["gpt2", "smollm", "llama-bpe", "qwen2", "gpt-4o", "deepseek-llm", "default"] {
        let t = File::new(pre).read().unwrap();
        assert_eq!(t.encode(&"A".repeat(10_000), true).unwrap(), vec![262; 5000]);
        for unit in ["A", " ", "<|", "hello world, ", "9"] {
            let text = unit.repeat(200_000 / unit.len());
            assert_eq!(t.decode(&t.encode(&text, true).unwrap()), text, "{pre} {unit:?}");
        }
    }
}

/// The lists of embedding models, as llama.cpp's converter writes them.
#[cfg(feature = "tokenizer-json")]
#[test]
fn words_and_unigrams_are_read_from_lists() {
    let file = |model: &str, tokens: &[(&str, i32, f32)]| {
        File(vec![
            ("tokenizer.ggml.model", model.into()),
            ("tokenizer.ggml.tokens", tokens.iter().map(|token| token.0.to_owned()).collect::<Vec<_>>().into()),
            ("tokenizer.ggml.token_type", tokens.iter().map(|token| token.1).collect::<Vec<i32>>().into()),
            ("tokenizer.ggml.scores", tokens.iter().map(|token| token.2).collect::<Vec<f32>>().into()),
            ("tokenizer.ggml.unknown_token_id", 0_u32.into()),
        ])
    };
    let words = ["\u{2581}hello", "\u{2581}wor", "ld", "\u{2581}!", "\u{2581}e"].map(|text| (text, 1, 0.0));
    let t = file("bert", &[&[("[UNK]", 2, 0.0), ("[CLS]", 3, 0.0)][..], &words].concat()).read().unwrap();
    assert_eq!(t.encode("[CLS]Hello WORLD! É 中", true).unwrap(), [1, 2, 3, 4, 5, 6, 0]);
    assert_eq!(t.decode(&[1, 2, 3, 4]), "[CLS] hello world");
    let cased = file("bert", &[&[("[UNK]", 2, 0.0)][..], &words].concat());
    let cased = cased.with("tokenizer.ggml.normalizer.lowercase", false).read().unwrap();
    assert_eq!(cased.encode("Hello hello", true).unwrap(), [0, 1]);

    let pieces = [("\u{2581}", 1, -3.0), ("\u{2581}he", 1, -1.0), ("llo", 1, -1.5), ("\u{2581}hello", 1, -4.0)];
    let t = file("t5", &[&[("<unk>", 2, 0.0)][..], &pieces, &[("</s>", 3, 0.0)]].concat());
    let t = t.with("tokenizer.ggml.remove_extra_whitespaces", true).read().unwrap();
    assert_eq!(t.encode(" hello  hello</s>?", true).unwrap(), [2, 3, 2, 3, 5, 1, 0]);
    assert_eq!(t.decode(&[2, 3]), " hello");
}

/// What the file wants around a whole text; word pieces and unigrams want it unless it says
/// otherwise.
#[test]
fn a_whole_text_is_enclosed_once() {
    let enclosed = |file: &File, mut ids: Vec<u32>| {
        file.clone().read().unwrap().enclose(&mut ids).unwrap();
        ids
    };
    let file = File::new("llama-bpe").with("tokenizer.ggml.add_eos_token", true);
    let file = file.with("tokenizer.ggml.eos_token_id", 263_u32);
    let t = file.clone().read().unwrap();
    let (bos, eos) = (t.add_bos().unwrap(), t.add_eos().unwrap());
    assert_eq!(Some(eos), t.eos());
    assert_eq!(enclosed(&file, vec![1]), [bos, 1, eos]);
    assert_eq!(enclosed(&file, vec![bos, 1, eos]), [bos, 1, eos]);
    assert_eq!(enclosed(&File::new("llama-bpe"), vec![1]), [bos, 1]);
    let error = File::new("gpt2").with("tokenizer.ggml.add_eos_token", true).read().unwrap_err().to_string();
    assert!(error.contains("tokenizer.ggml.eos_token_id"), "{error}");
}

/// As llama.cpp has it.
#[cfg(feature = "tokenizer-json")]
#[test]
fn word_pieces_are_between_cls_and_sep() {
    let tokens = ["[UNK]", "[CLS]", "[SEP]", "\u{2581}a"].map(str::to_owned).to_vec();
    let file = File(vec![
        ("tokenizer.ggml.model", "bert".into()),
        ("tokenizer.ggml.tokens", tokens.into()),
        ("tokenizer.ggml.token_type", vec![2, 3, 3, 1].into()),
    ]);
    assert_eq!(file.clone().read().unwrap().add_bos(), None);
    // Older files name CLS, newer ones BOS.
    for cls in ["tokenizer.ggml.cls_token_id", "tokenizer.ggml.bos_token_id"] {
        let file = file.clone().with(cls, 1_u32).with("tokenizer.ggml.seperator_token_id", 2_u32);
        let t = file.clone().read().unwrap();
        let mut ids = t.encode("a", false).unwrap();
        t.enclose(&mut ids).unwrap();
        assert_eq!(ids, [1, 3, 2]);
        let bare = file.with("tokenizer.ggml.add_bos_token", false).with("tokenizer.ggml.add_eos_token", false);
        assert_eq!(bare.read().map(|t| (t.add_bos(), t.add_eos())).unwrap(), (None, None));
    }
}

/// What is merged, and what is a piece by itself, is no control token.
#[test]
fn merges_make_no_control_token() {
    let t = File::new("llama-bpe").tokens(|tokens| tokens[263] = "hello".to_owned()).read().unwrap();
    let is_control = |ids: Vec<u32>| ids.contains(&263);
    assert!(is_control(t.encode("hello", true).unwrap()) && !is_control(t.encode("hello", false).unwrap()));
    assert!(!is_control(t.encode_outside("hello", std::slice::from_ref(&(2..3))).unwrap()));
    let merged = File::new("gpt2").with("tokenizer.ggml.token_type", {
        let mut kinds = vec![1; 267];
        kinds[259] = 3;
        kinds
    });
    assert!(!merged.read().unwrap().encode("hello", false).unwrap().contains(&259));
}

/// The lists of a GGUF file cannot say it, so that the name of the model does.
#[test]
fn the_tokens_of_phi_3_take_the_white_space_behind_them() {
    let ids = |name: &'static str| {
        let tokenizer = File::new("gpt-2").with("general.name", name).read().unwrap();
        tokenizer.encode("<|end|>\n <|x|> hello", true).unwrap()
    };
    assert_eq!(ids("My Phi-3 mini"), [263, 264, 259]);
    assert!(ids("Another").len() > 3);
}
