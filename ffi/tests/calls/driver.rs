//! Turns bytes into calls of the C API: any bytes, any calls, in any order, on handles that are
//! alive, dead or none. A fuzzer calls [`drive`] with what it likes
//! (`tests/fuzz/targets/calls.rs`); `main.rs` does so with bytes of its own.

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use ollm::*;
use ollm_runtime::gguf::TensorType;
use ollm_runtime::model::Model;
use ollm_runtime::plugin::schema::DecoderKind;
use ollm_tests::{golden, plugins};

#[path = "branches.rs"]
mod branches;

/// The bytes of a case, read as numbers; zeros follow the end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.next()) % bound
    }

    /// A length or a number: small ones mostly, and all the extremes.
    fn number(&mut self) -> usize {
        match self.next() {
            small @ 0..=199 => usize::from(small) % 24,
            200..=229 => usize::from(self.next()) << 4,
            230..=239 => usize::MAX - usize::from(self.next()),
            240..=247 => isize::MAX as usize + usize::from(self.next()),
            _ => 1 << (self.next() % 63),
        }
    }
}

/// The handles of a case. Dead ones stay, to be used again.
struct World<'a> {
    bytes: Bytes<'a>,
    model: *mut OllmModel,
    plugin: *mut OllmPlugin,
    sessions: Vec<*mut OllmSession>,
    options: Vec<*mut OllmOptionSet>,
    branches: Vec<*mut OllmBranches>,
    suggestions: Vec<*mut OllmSuggestions>,
    grammars: Vec<*mut OllmGrammar>,
    saved: Vec<u8>,
}

/// A zeroed struct of the header with its size set.
macro_rules! zeroed {
    ($type:ty) => {{
        // SAFETY: zero is a value of every field of the header's structs.
        let mut value: $type = unsafe { std::mem::zeroed() };
        value.struct_size = size_of::<$type>();
        value
    }};
}
use zeroed;

const CAPACITY: usize = 64;

/// Memory that the library copies.
fn source(bytes: &[u8]) -> OllmSource {
    let mut source = zeroed!(OllmSource);
    source.kind.write(OllmSourceKind::Memory);
    (source.data, source.length) = (bytes.as_ptr().cast(), bytes.len());
    source
}

/// A tiny backbone and a plugin of ten options.
pub(crate) fn load() -> (*mut OllmModel, *mut OllmPlugin) {
    let backbone = golden("tiny/llama.gguf");
    let spec = plugins::spec(&Model::open(&backbone).unwrap(), DecoderKind::LowRank { width: 32, rank: 32 }, 10);
    let files = [std::fs::read(&backbone).unwrap(), plugins::plugin_file(&spec, TensorType::F16, 0.25).to_bytes()];
    let sources = [source(&files[0]), source(&files[1])];
    let (mut model, mut plugin) = (null_mut(), null_mut());
    // SAFETY: sources and outputs are variables, and the memory lives until the calls return.
    let statuses = unsafe {
        [
            ollm_model_load(&raw const sources[0], null(), &raw mut model),
            ollm_plugin_load(model, &raw const sources[1], &raw mut plugin),
        ]
    };
    assert_eq!(statuses, [OllmStatus::Ok; 2]);
    (model, plugin)
}

/// Makes calls until the bytes end; panics if one gives what it must not. Gives how many there were
/// of each status.
pub(crate) fn drive(bytes: &[u8], model: *mut OllmModel, plugin: *mut OllmPlugin) -> [usize; 20] {
    let mut counts = [0; 20];
    let (sessions, options) = (vec![null_mut()], vec![null_mut()]);
    let (branches, suggestions) = (vec![null_mut()], vec![null_mut()]);
    let bytes = Bytes(bytes);
    let grammars = vec![null_mut()];
    let mut world =
        World { bytes, model, plugin, sessions, options, branches, suggestions, grammars, saved: Vec::new() };
    while !world.bytes.0.is_empty() {
        let status = world.call();
        assert_ne!(status, OllmStatus::Internal, "{:?}", last_error());
        counts[status as usize] += 1;
    }
    for mut session in world.sessions {
        // SAFETY: a handle, dead or alive.
        unsafe { ollm_session_free(&raw mut session) };
    }
    for mut options in world.options {
        // SAFETY: a handle, dead or alive.
        unsafe { ollm_option_set_free(&raw mut options) };
    }
    for mut branches in world.branches {
        // SAFETY: a handle, dead or alive.
        unsafe { ollm_branches_free(&raw mut branches) };
    }
    for mut grammar in world.grammars {
        // SAFETY: as above.
        unsafe { ollm_grammar_free(&raw mut grammar) };
    }
    for mut suggestions in world.suggestions {
        // SAFETY: a handle, dead or alive.
        unsafe { ollm_suggestions_free(&raw mut suggestions) };
    }
    counts
}

fn last_error() -> String {
    // SAFETY: the text ends in zero and stays until the next failure.
    unsafe { std::ffi::CStr::from_ptr(ollm_last_error()) }.to_string_lossy().into_owned()
}

/// A callback that ends a run after as many tokens as `user` counts, and calls back.
unsafe extern "C" fn each(user: *mut c_void, _: *const OllmToken) -> i32 {
    let session = user.cast();
    let mut position = 0;
    // SAFETY: the output is a variable.
    let status = unsafe { ollm_session_position(session, &raw mut position) };
    assert_eq!(status, OllmStatus::Busy);
    0
}

unsafe extern "C" fn choose(_: *mut c_void, hidden: *const f32, _: usize, _: *const f32, options: usize) -> u32 {
    // SAFETY: there is at least one number.
    let bits = unsafe { *hidden }.to_bits();
    bits % (options as u32 + 1)
}

impl World<'_> {
    /// The newest handle mostly, sometimes any, dead ones and NULL included.
    fn pick<T: Copy>(bytes: &mut Bytes<'_>, handles: &[T]) -> T {
        let any = bytes.below(8) == 0;
        handles[if any { bytes.below(handles.len()) } else { handles.len() - 1 }]
    }

    fn session(&mut self) -> *mut OllmSession {
        Self::pick(&mut self.bytes, &self.sessions)
    }

    fn set(&mut self) -> *mut OllmOptionSet {
        Self::pick(&mut self.bytes, &self.options)
    }

    fn tokens(&mut self) -> Vec<u32> {
        let count = self.bytes.below(40);
        (0..count).map(|_| u32::from(self.bytes.next()) + if self.bytes.next() == 255 { 1000 } else { 0 }).collect()
    }

    /// One call.
    fn call(&mut self) -> OllmStatus {
        match self.bytes.below(40) {
            0..=1 => self.new_session(),
            2 => ollm_session_trim(self.session()),
            3 => self.free_session(),
            4 => self.fork(),
            5..=7 | 20 => self.feed(),
            8..=9 => self.step(),
            10 => self.run(),
            11 => ollm_session_rewind(self.session(), self.bytes.number()),
            12 => ollm_session_cancel(self.session()),
            13 => ollm_session_withdraw_cancel(self.session()),
            14 => self.take_options(),
            15 => self.look_at_options(),
            16 => self.select(),
            17 => self.sample(),
            18 => self.save(),
            19 => self.restore(),
            21 => self.text(),
            22 => self.read_session(),
            23 => self.encode(),
            24 => self.new_branches(),
            25..=26 => self.expand(),
            27..=28 => self.step_branches(),
            29 => self.read_branches(),
            30 => self.search(),
            31 => self.adopt(),
            32 => self.suggest(),
            33 => self.read_logits(),
            34 => self.score(),
            35..=36 => self.read_suggestions(),
            37 => self.new_grammar(),
            38 => self.constrain(),
            _ => self.chat(),
        }
    }

    fn read_logits(&mut self) -> OllmStatus {
        let (session, mut logits, mut count) = (self.session(), [0.0; 400], 0);
        let (distribution, latent) = (self.bytes.below(4) as i32, self.bytes.below(12) as u32);
        // SAFETY: as above; the array is as long as said.
        unsafe { ollm_session_logits(session, distribution, latent, logits.as_mut_ptr(), 400, &raw mut count) }
    }

    fn score(&mut self) -> OllmStatus {
        let (session, tokens, mut numbers, mut count) = (self.session(), self.tokens(), [0.0; 400], 0);
        let (kind, flag) = (self.bytes.below(5) as i32, self.bytes.below(2) as i32);
        let mut statistics = zeroed!(OllmStatistics);
        // SAFETY: as above; the arrays are as long as said, or longer.
        unsafe {
            match kind {
                0 => ollm_session_score(
                    session,
                    tokens.as_ptr(),
                    tokens.len(),
                    numbers.as_mut_ptr(),
                    400,
                    &raw mut count,
                ),
                1..=3 => {
                    let (data, length, out) = (tokens.as_ptr(), tokens.len(), numbers.as_mut_ptr());
                    ollm_session_embed(session, data, length, kind, flag, out, 400, &raw mut count)
                }
                4 if flag == 0 => {
                    let text = c"a text".as_ptr();
                    ollm_session_rank(session, text, 6, text, 6, numbers.as_mut_ptr())
                }
                _ => ollm_session_statistics(session, &raw mut statistics),
            }
        }
    }

    fn suggest(&mut self) -> OllmStatus {
        let mut options = zeroed!(OllmSuggestOptions);
        (options.count, options.tokens) = (self.bytes.below(6), self.bytes.below(6));
        // SAFETY: the field is a number to C; else as above.
        unsafe { options.until.as_mut_ptr().cast::<i32>().write(self.bytes.below(4) as i32) };
        let mut suggestions = null_mut();
        // SAFETY: as above.
        let status = unsafe { ollm_session_suggest(self.session(), &raw const options, &raw mut suggestions) };
        if status == OllmStatus::Ok {
            self.suggestions.push(suggestions);
        }
        status
    }

    fn new_grammar(&mut self) -> OllmStatus {
        const TEXTS: [&str; 6] =
            ["[ab]{3}", "{\"type\": \"boolean\"}", "root ::= \"(\" root? \")\"", "start: \"a\" start?", "(", "\u{0}"];
        let (text, kind) = (TEXTS[self.bytes.below(6)], self.bytes.below(5) as i32);
        let mut grammar = null_mut();
        // SAFETY: as above.
        let status = unsafe { ollm_grammar_new(self.model, kind, text.as_ptr().cast(), text.len(), &raw mut grammar) };
        if status == OllmStatus::Ok {
            self.grammars.push(grammar);
        }
        status
    }

    fn constrain(&mut self) -> OllmStatus {
        let mut grammar = Self::pick(&mut self.bytes, &self.grammars);
        let (mut options, mut complete) = (zeroed!(OllmConstraintOptions), 0);
        let trigger = ["", "a", "ab"][self.bytes.below(3)];
        (options.trigger, options.trigger_length) = (trigger.as_ptr().cast(), trigger.len());
        options.begun = if self.bytes.below(4) == 0 { self.bytes.number() } else { 0 };
        // SAFETY: as above.
        unsafe {
            match self.bytes.below(8) {
                0 => ollm_grammar_free(&raw mut grammar),
                1 => ollm_session_is_complete(self.session(), &raw mut complete),
                2 => ollm_session_set_constraint(self.session(), null(), null()),
                _ => ollm_session_set_constraint(self.session(), grammar, &raw const options),
            }
        }
    }

    fn read_suggestions(&mut self) -> OllmStatus {
        let mut suggestions = Self::pick(&mut self.bytes, &self.suggestions);
        let (mut suggestion, mut count) = (zeroed!(OllmSuggestion), 0);
        // SAFETY: as above.
        unsafe {
            match self.bytes.below(4) {
                0 => ollm_suggestions_free(&raw mut suggestions),
                1 => ollm_suggestions_count(suggestions, &raw mut count),
                _ => ollm_suggestions_get(suggestions, self.bytes.below(6), &raw mut suggestion),
            }
        }
    }

    fn new_session(&mut self) -> OllmStatus {
        let mut options = zeroed!(OllmSessionOptions);
        options.threads = 1;
        options.context = self.bytes.number();
        options.memory_limit = if self.bytes.below(4) == 0 { self.bytes.number() << 8 } else { 0 };
        options.context_shift = [0, 0, 0, 0, 1, 1, 1, 2][self.bytes.below(8)];
        // SAFETY: the field is a variable's, and may hold any number.
        unsafe { options.kv_type.as_mut_ptr().cast::<i32>().write([0, 0, 1, 2][self.bytes.below(4)]) };
        options.keep = if options.context_shift == 1 { self.bytes.number() } else { 0 };
        let plugin = if self.bytes.below(2) == 0 { null_mut() } else { self.plugin };
        let mut session = null_mut();
        // SAFETY: options and output are variables; so below.
        let status = unsafe { ollm_session_new(self.model, plugin, &raw const options, &raw mut session) };
        if status == OllmStatus::Ok {
            self.sessions.push(session);
        }
        status
    }

    fn free_session(&mut self) -> OllmStatus {
        let mut session = self.session();
        // SAFETY: as above.
        unsafe { ollm_session_free(&raw mut session) }
    }

    fn fork(&mut self) -> OllmStatus {
        let mut fork = null_mut();
        // SAFETY: as above.
        let status = unsafe { ollm_session_fork(self.session(), &raw mut fork) };
        if status == OllmStatus::Ok {
            self.sessions.push(fork);
        }
        status
    }

    fn feed(&mut self) -> OllmStatus {
        let (session, tokens) = (self.session(), self.tokens());
        // SAFETY: as above; the array is as long as said.
        unsafe { ollm_session_feed(session, tokens.as_ptr(), tokens.len()) }
    }

    fn step(&mut self) -> OllmStatus {
        let mut token = zeroed!(OllmToken);
        let session = self.session();
        let latent = self.bytes.below(24) as u32;
        // SAFETY: as above.
        let status = unsafe {
            match latent {
                0..12 => ollm_session_step_latent(session, latent, &raw mut token),
                _ => ollm_session_step(session, &raw mut token),
            }
        };
        if status == OllmStatus::Ok {
            // SAFETY: the text stays until the next call on the session.
            let text = unsafe { std::slice::from_raw_parts(token.text.cast::<u8>(), token.text_length) };
            assert!(std::str::from_utf8(text).is_ok() && token.id < 320 && token.logprob <= 0.0);
        }
        status
    }

    fn run(&mut self) -> OllmStatus {
        let session = self.session();
        let stop = OllmText { data: c"e".as_ptr(), length: self.bytes.below(2) };
        let mut options = zeroed!(OllmRunOptions);
        options.limit = 1 + self.bytes.below(8);
        options.top = self.bytes.below(3);
        (options.stops, options.stop_count) = (&raw const stop, self.bytes.below(2));
        options.each = Some(each);
        options.user = session.cast();
        // SAFETY: as above.
        unsafe { ollm_session_run(session, &raw const options, null_mut()) }
    }

    fn take_options(&mut self) -> OllmStatus {
        let mut options = null_mut();
        // SAFETY: as above.
        let status = unsafe { ollm_option_set_new(self.session(), self.bytes.number(), &raw mut options) };
        if status == OllmStatus::Ok {
            self.options.push(options);
        }
        status
    }

    fn look_at_options(&mut self) -> OllmStatus {
        let mut set = self.set();
        let (mut policy, mut count) = ([0.0; CAPACITY], 0);
        let mut top = [OllmCandidate { token: 0, probability: 0.0 }; CAPACITY];
        let capacity = self.bytes.below(CAPACITY + 1);
        // SAFETY: as above; the arrays have at least the capacity.
        unsafe {
            match self.bytes.below(3) {
                0 => ollm_option_set_policy(set, policy.as_mut_ptr(), capacity, &raw mut count),
                1 => ollm_option_set_top(set, self.bytes.below(12) as u32, top.as_mut_ptr(), capacity, &raw mut count),
                _ => ollm_option_set_free(&raw mut set),
            }
        }
    }

    fn select(&mut self) -> OllmStatus {
        let latents = [self.bytes.below(12) as u32, self.bytes.below(12) as u32];
        let mut selection = zeroed!(OllmSelection);
        (selection.latents, selection.latent_count) = (latents.as_ptr(), self.bytes.below(3));
        selection.temperature = f32::from_bits(u32::from_le_bytes([self.bytes.next(); 4]));
        selection.choose = Some(choose);
        // SAFETY: the fields are numbers to C, which may set any.
        unsafe {
            selection.mode.as_mut_ptr().cast::<i32>().write(self.bytes.below(10) as i32);
            selection.hold.as_mut_ptr().cast::<i32>().write(self.bytes.below(4) as i32);
        }
        let selection = if self.bytes.below(4) == 0 { null() } else { &raw const selection };
        // SAFETY: as above.
        unsafe { ollm_session_set_selection(self.session(), selection) }
    }

    fn sample(&mut self) -> OllmStatus {
        let mut sampling = zeroed!(OllmSampling);
        sampling.temperature = f32::from(self.bytes.next()) / 100.0 - 0.1;
        sampling.top_p = f32::from_bits(u32::from_le_bytes([0, 0, self.bytes.next(), self.bytes.next()]));
        sampling.top_k = self.bytes.number();
        sampling.repeat_penalty = f32::from(self.bytes.next()) / 50.0;
        sampling.presence_penalty = f32::from(self.bytes.next()) / 100.0 - 0.2;
        let biases = [OllmLogitBias { token: self.bytes.below(330) as u32, bias: f32::NEG_INFINITY }];
        (sampling.biases, sampling.bias_count) = (biases.as_ptr(), self.bytes.below(2));
        sampling.typical_p = f32::from(self.bytes.next()) / 200.0;
        sampling.top_n_sigma = f32::from(self.bytes.next()) / 100.0;
        sampling.xtc_probability = f32::from(self.bytes.next()) / 200.0;
        sampling.dry_multiplier = f32::from(self.bytes.next()) / 100.0;
        sampling.mirostat_tau = f32::from(self.bytes.next()) / 20.0 - 1.0;
        sampling.dynamic_range = f32::from(self.bytes.next()) / 200.0;
        sampling.logprobs = self.bytes.below(500);
        // SAFETY: as above.
        unsafe { ollm_session_set_sampling(self.session(), &raw const sampling) }
    }

    fn save(&mut self) -> OllmStatus {
        let (session, mut length) = (self.session(), 0);
        // SAFETY: as above.
        let status = unsafe { ollm_session_save(session, null_mut(), 0, &raw mut length) };
        if status != OllmStatus::Ok {
            return status;
        }
        self.saved = vec![0; length];
        // SAFETY: as above; the buffer has the length that was asked for.
        let status = unsafe { ollm_session_save(session, self.saved.as_mut_ptr().cast(), length, &raw mut length) };
        assert_eq!((status, length), (OllmStatus::Ok, self.saved.len()));
        status
    }

    /// From what was saved, damaged or not.
    fn restore(&mut self) -> OllmStatus {
        let mut data = self.saved.clone();
        if let Some(at) = self.bytes.number().checked_rem(data.len()).filter(|_| self.bytes.below(2) == 0) {
            data[at] ^= self.bytes.next();
        }
        data.truncate(data.len().saturating_sub(self.bytes.below(8).saturating_sub(4)));
        // SAFETY: as above; the memory is as long as said.
        unsafe { ollm_session_restore(self.session(), data.as_ptr().cast(), data.len()) }
    }

    fn text(&mut self) -> OllmStatus {
        let mut tokens = [0; CAPACITY];
        let (mut count, length) = (0, self.bytes.below(20));
        let text: Vec<u8> = (0..length).map(|_| self.bytes.next()).collect();
        let (flags, capacity) = (u32::from(self.bytes.next()) % 5, self.bytes.below(CAPACITY + 1));
        // SAFETY: as above; the array has at least the capacity.
        unsafe {
            let text = text.as_ptr().cast();
            ollm_tokenize(self.model, text, length, flags, tokens.as_mut_ptr(), capacity, &raw mut count)
        }
    }

    /// A conversation and a parser for its answer: of a model without a chat template.
    fn chat(&mut self) -> OllmStatus {
        let mut input = zeroed!(OllmChatInput);
        let length = self.bytes.below(20);
        let json: Vec<u8> = (0..length).map(|_| self.bytes.next()).collect();
        (input.messages_json, input.messages_json_length) = (json.as_ptr().cast(), length);
        (input.no_answer, input.reserved) = (self.bytes.below(3) as i32, self.bytes.below(2) as i32);
        let (mut parser, mut count, format) = (null_mut(), 0, self.bytes.below(9) as i32);
        let mut event = zeroed!(OllmChatEvent);
        // SAFETY: as above; the texts are as long as said.
        unsafe {
            match self.bytes.below(3) {
                0 => ollm_chat_tokens(self.model, &raw const input, null_mut(), 0, &raw mut count),
                1 => ollm_chat_render(self.model, &raw const input, null_mut(), 0, &raw mut count),
                _ => {
                    let status = ollm_chat_parser_new(self.model, &raw const input, format, &raw mut parser);
                    assert_ne!(ollm_chat_parser_push(parser, json.as_ptr().cast(), length), OllmStatus::Internal);
                    assert_ne!(ollm_chat_parser_next(parser, &raw mut event), OllmStatus::Internal);
                    assert_ne!(ollm_chat_parser_finish(parser), OllmStatus::Internal);
                    assert_ne!(ollm_chat_parser_free(&raw mut parser), OllmStatus::Internal);
                    status
                }
            }
        }
    }

    fn read_session(&mut self) -> OllmStatus {
        let session = self.session();
        let (mut tokens, mut numbers) = ([0; CAPACITY], [0.0; CAPACITY]);
        let (mut position, mut context, mut count) = (0, 0, 0);
        // SAFETY: as above; the arrays have the capacity.
        let statuses = unsafe {
            [
                ollm_session_position(session, &raw mut position),
                ollm_session_context(session, &raw mut context),
                ollm_session_tokens(session, tokens.as_mut_ptr(), CAPACITY, &raw mut count),
                ollm_session_policy(session, numbers.as_mut_ptr(), CAPACITY, &raw mut count),
                ollm_session_hidden(session, numbers.as_mut_ptr(), CAPACITY, &raw mut count),
                ollm_session_memory(session, &raw mut count),
            ]
        };
        assert!(position <= context && !statuses.contains(&OllmStatus::Internal));
        statuses[0]
    }

    fn encode(&mut self) -> OllmStatus {
        let (session, tokens, mut latents) = (self.session(), self.tokens(), [0; CAPACITY]);
        // SAFETY: as above; the arrays are as long as said, or longer.
        unsafe { ollm_session_encode(session, tokens.as_ptr(), tokens.len(), latents.as_mut_ptr()) }
    }
}
