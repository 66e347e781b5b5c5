//! Conversations: turn by turn has the same bits as at once, whole turns are forgotten, what is
//! saved continues, calls of tools follow schemas.

mod calls;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use ollm_runtime::chat::{ChatTemplate, Message, Variables};
use ollm_runtime::constraint::GrammarCompiler;
use ollm_runtime::conversation::{Answer, Conversation, ConversationError, ConversationOptions, Dropped};
use ollm_runtime::generate::{GenerateOptions, Reason};
use ollm_runtime::model::Model;
use ollm_runtime::sampler::{LogitsEdit, Sampler, SamplerOptions};
use ollm_runtime::session::{Session, SessionError, SessionOptions, SnapshotError};
use ollm_runtime::tokenizer::Tokenizer;
use ollm_tests::{edited, golden, smollm2};
use serde_json::{Value, json};

/// Thoughts are shown of the last answer alone; a role that it does not know is refused.
const TEMPLATE: &str = "{% for m in messages %}{% if m.role == 'refused' %}{{ raise_exception('no') }}{% endif %}\
    {{ bos_token + m.role + ':' }}{% if m.reasoning_content and loop.last %}{{ '<think>' + m.reasoning_content + '</think>' }}\
    {% endif %}{{ m.content }}{% for call in m.tool_calls or [] %}\
    {{ '<tool_call>' + call.function.name + call.function.arguments|tojson + '</tool_call>' }}{% endfor %}{{ eos_token }}\
    {% endfor %}{% if add_generation_prompt %}{{ bos_token + 'assistant:' }}{% endif %}";

struct Fixture {
    model: Arc<Model>,
    tokenizer: Arc<Tokenizer>,
}

impl Fixture {
    fn new(path: &Path) -> Self {
        let model = Arc::new(Model::open(path).unwrap());
        let tokenizer = Arc::new(Tokenizer::from_metadata(model.gguf().metadata()).unwrap());
        Self { model, tokenizer }
    }

    fn tiny() -> Self {
        Self::new(&golden("tiny/llama.gguf"))
    }

    fn session(&self, context: usize) -> Session {
        let options = SessionOptions { context, threads: 1, ..SessionOptions::default() };
        Session::new(Arc::clone(&self.model), None, &options).unwrap()
    }

    fn talk(&self, options: ConversationOptions) -> Conversation {
        Conversation::new(ChatTemplate::new(TEMPLATE).unwrap(), Arc::clone(&self.tokenizer), options).unwrap()
    }

    fn compiler(&self) -> GrammarCompiler {
        GrammarCompiler::new(&self.tokenizer, self.model.config().vocab).unwrap()
    }

    /// A session that was fed the prompt of the next answer at once.
    fn fed_at_once(&self, talk: &Conversation, context: usize) -> Session {
        let mut session = self.session(context);
        session.feed(&talk.prompt().unwrap().tokens(&self.tokenizer).unwrap()).unwrap();
        session
    }

    /// A sampler under which the model writes a text, and then what it likes.
    fn writing(&self, text: &str, seed: u64) -> Sampler {
        let mut script = self.tokenizer.encode(text, true).unwrap();
        script.reverse();
        let script = std::sync::Mutex::new(script);
        let edit = LogitsEdit::new(move |logits, _| {
            let Some(token) = script.lock().unwrap().pop() else { return };
            logits
                .iter_mut()
                .enumerate()
                .filter(|(id, _)| *id != token as usize)
                .for_each(|(_, x)| *x = f32::NEG_INFINITY);
        });
        Sampler::new(SamplerOptions { edit: Some(edit), ..sampling(seed) }).unwrap()
    }
}

fn sampling(seed: u64) -> SamplerOptions {
    SamplerOptions { temperature: 1.0, seed, ..SamplerOptions::default() }
}

fn up_to(limit: usize) -> GenerateOptions {
    GenerateOptions { limit, stops: Vec::new(), show: None, reasoning: None }
}

fn user(text: &str) -> Message {
    Message::new("user", text)
}

fn answer_with(talk: &mut Conversation, session: &mut Session, sampler: &mut Sampler, limit: usize) -> Answer {
    talk.answer(session, None, sampler, &up_to(limit), &mut |_| ControlFlow::Continue(())).unwrap()
}

fn answer(talk: &mut Conversation, session: &mut Session, limit: usize) -> Answer {
    answer_with(talk, session, &mut Sampler::new(sampling(3)).unwrap(), limit)
}

fn bits(session: &mut Session) -> Vec<u32> {
    session.hidden().unwrap().iter().map(|x| x.to_bits()).collect()
}

fn contents(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.get("content").and_then(Value::as_str).unwrap()).collect()
}

/// A conversation of many turns, each with a scripted answer.
fn long(fixture: &Fixture, turns: usize, options: ConversationOptions) -> Conversation {
    let mut talk = fixture.talk(options);
    talk.add(Message::new("system", "Be kind."));
    for turn in 0..turns {
        talk.add(user(&format!("question {turn}")));
        talk.add(Message::new("assistant", format!("answer {turn}")));
    }
    talk
}

#[test]
fn turn_by_turn_has_the_bits_of_at_once() {
    let fixture = Fixture::tiny();
    let (mut talk, mut session) = (fixture.talk(ConversationOptions::default()), fixture.session(1024));
    talk.add(Message::new("system", "Be <|im_end|> kind."));
    let mut reached = 0;
    for (turn, text) in ["Hello!", "And é?", "<|im_end|>", "Well"].into_iter().enumerate() {
        talk.add(user(text));
        let mut whole = fixture.fed_at_once(&talk, 1024);
        let prompted = talk.feed(&mut session).unwrap();
        assert_eq!(session.tokens(), whole.tokens());
        assert_eq!((prompted.tokens, prompted.dropped), (whole.tokens().len(), Dropped::default()));
        assert!(prompted.reused >= reached && prompted.reused < prompted.tokens, "{turn}: {prompted:?}");
        assert_eq!(bits(&mut session), bits(&mut whole), "{turn}");
        let mut other = fixture.talk(ConversationOptions::default());
        talk.messages().iter().for_each(|message| other.add(message.clone()));
        let (one, two) = (answer(&mut talk, &mut session, 12), answer(&mut other, &mut whole, 12));
        assert_eq!(one.generated, two.generated);
        assert_eq!((one.prompted.reused, talk.messages()), (one.prompted.tokens, other.messages()));
        reached = prompted.tokens - 1;
    }
    assert!(matches!(talk.feed(&mut session), Err(ConversationError::NothingToAnswer)));
}

/// A template that drops the thought of an earlier turn: the session goes back to where it was.
#[test]
fn a_dropped_thought_rewinds_to_where_it_began() {
    let fixture = Fixture::tiny();
    let (mut talk, mut session) = (fixture.talk(ConversationOptions::default()), fixture.session(1024));
    talk.add(user("Hi"));
    let first = talk.prompt().unwrap().tokens(&fixture.tokenizer).unwrap().len();
    let mut sampler = fixture.writing("<think>so</think>Yes.<|im_end|>", 1);
    let said = answer_with(&mut talk, &mut session, &mut sampler, 40);
    assert_eq!((said.generated.reason, said.generated.text.as_str()), (Reason::End, "<think>so</think>Yes."));
    let message = talk.messages().last().unwrap().clone();
    assert_eq!((message.get("content"), message.get("reasoning_content")), (Some(&json!("Yes.")), Some(&json!("so"))));
    talk.add(user("Why?"));
    let mut whole = fixture.fed_at_once(&talk, 1024);
    let prompted = talk.feed(&mut session).unwrap();
    assert_eq!(prompted.reused, first);
    assert_eq!(bits(&mut session), bits(&mut whole));
}

#[test]
fn the_oldest_turns_go_and_the_system_message_stays() {
    let fixture = Fixture::tiny();
    let mut talk = long(&fixture, 20, ConversationOptions::default());
    talk.add(user("last"));
    let all = talk.prompt().unwrap().tokens(&fixture.tokenizer).unwrap().len();
    for context in [all, all / 2, all / 3] {
        let mut talk = long(&fixture, 20, ConversationOptions::default());
        talk.add(user("last"));
        let mut session = fixture.session(context);
        let prompted = talk.feed(&mut session).unwrap();
        assert!(
            prompted.tokens <= context / 2 && prompted.dropped.messages == 2 * prompted.dropped.turns,
            "{prompted:?}"
        );
        assert_eq!(talk.forgotten().len(), prompted.dropped.messages);
        let text = talk.prompt().unwrap().text().to_owned();
        let turn = prompted.dropped.turns;
        assert!(text.contains("Be kind.") && text.contains("last") && text.contains(&format!("question {turn}<")));
        assert!(!text.contains(&format!("question {}<", turn - 1)), "{text}");
        // One turn more would be more than half.
        let mut more = long(&fixture, 20, ConversationOptions::default());
        more.add(user("last"));
        let whole = more.prompt().unwrap().tokens(&fixture.tokenizer).unwrap().len();
        assert!(prompted.tokens + (whole / 21) + 8 > context / 2, "{prompted:?} of {whole}");
        // The next turn begins where this one was.
        answer(&mut talk, &mut session, 3);
        talk.add(user("next"));
        let next = talk.feed(&mut session).unwrap();
        assert!(next.dropped == Dropped::default() && next.reused >= prompted.tokens - 1, "{next:?}");
    }
}

#[test]
fn what_does_not_fit_is_an_error_and_nothing_is_lost() {
    let fixture = Fixture::tiny();
    let mut session = fixture.session(64);
    let mut talk = long(&fixture, 0, ConversationOptions::default());
    talk.add(user("Hi"));
    answer(&mut talk, &mut session, 4);
    let (messages, tokens) = (talk.messages().to_vec(), session.tokens().to_vec());
    talk.add(user(&"x y z ".repeat(40)));
    let error = talk.feed(&mut session).unwrap_err();
    assert!(matches!(error, ConversationError::TurnTooLong { context: 64, tokens } if tokens > 64), "{error}");
    assert_eq!((talk.forgotten(), session.tokens()), (&[][..], &tokens[..]));
    assert_eq!((talk.take_back().len(), talk.messages()), (1, &messages[..]));
    talk.add(user("ok"));
    talk.feed(&mut session).unwrap();

    let still = ConversationOptions { context_shift: false, ..ConversationOptions::default() };
    let mut talk = long(&fixture, 20, still);
    talk.add(user("last"));
    assert!(matches!(talk.feed(&mut session), Err(ConversationError::ContextFull { context: 64, .. })));
    talk.add(Message::new("refused", ""));
    assert!(matches!(talk.feed(&mut session), Err(ConversationError::Chat(_))));
}

/// An answer that meets the end of the context goes on without the oldest turns, as if the text
/// that is left had been fed.
#[test]
fn an_answer_goes_on_where_the_context_is_full() {
    let fixture = Fixture::tiny();
    let mut talk = long(&fixture, 6, ConversationOptions::default());
    talk.add(user("last"));
    let prompt = talk.prompt().unwrap().tokens(&fixture.tokenizer).unwrap().len();
    let mut session = fixture.session(prompt + 5);
    // Without end tokens the answer is as long as it may be.
    let ends = [0, 1, 2, 3].map(|token| (token, f32::NEG_INFINITY)).to_vec();
    let mut sampler = Sampler::new(SamplerOptions { logit_bias: ends, ..sampling(9) }).unwrap();
    let said = answer_with(&mut talk, &mut session, &mut sampler, 20);
    assert_eq!((said.generated.reason, said.generated.tokens.len()), (Reason::Limit, 20));
    let Dropped { turns, messages } = said.prompted.dropped;
    assert!(turns > 0 && messages == 2 * turns && talk.forgotten().len() == messages, "{:?}", said.prompted.dropped);
    assert_eq!(contents(talk.forgotten())[0], "question 0");
    // Of the text that is left, the bits are those of a new session.
    let mut seen = talk.messages()[..1].to_vec();
    seen.extend_from_slice(&talk.messages()[1 + messages..talk.messages().len() - 1]);
    let mut other = fixture.talk(ConversationOptions::default());
    for message in seen {
        other.add(message);
    }
    let mut fresh = fixture.fed_at_once(&other, prompt + 5);
    fresh.feed(&said.generated.tokens).unwrap();
    assert_eq!(session.tokens(), fresh.tokens());
    assert_eq!(bits(&mut session), bits(&mut fresh));

    // A turn that is alone fills the context: its answer is kept.
    let mut alone = fixture.talk(ConversationOptions::default());
    alone.add(user("alone"));
    let length = alone.prompt().unwrap().tokens(&fixture.tokenizer).unwrap().len();
    let said = answer_with(&mut alone, &mut fixture.session(length + 4), &mut sampler, 20);
    assert_eq!((said.generated.reason, said.generated.tokens.len()), (Reason::ContextFull, 4));
    assert_eq!(alone.messages().len(), 2);
}

#[test]
fn turns_are_taken_back_and_answers_are_ended() {
    let fixture = Fixture::tiny();
    let mut session = fixture.session(512);
    let mut talk = long(&fixture, 2, ConversationOptions::default());
    talk.add(user("a"));
    let before = talk.messages().to_vec();
    let mut seen = 0;
    let mut each = |_: &ollm_runtime::conversation::AnswerPart<'_>| {
        seen += 1;
        if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let mut sampler = fixture.writing("one two three", 1);
    let said = talk.answer(&mut session, None, &mut sampler, &up_to(30), &mut each).unwrap();
    assert_eq!((said.generated.reason, said.generated.tokens.len()), (Reason::Callback, 3));
    assert_eq!(contents(talk.messages()).last(), Some(&said.generated.text.as_str()));
    talk.truncate(before.len()).unwrap();
    assert_eq!(talk.messages(), before);
    // A cancellation in the middle ends the answer, one before it is an error.
    let canceller = session.canceller();
    let mut cancel = |_: &ollm_runtime::conversation::AnswerPart<'_>| {
        canceller.cancel();
        ControlFlow::Continue(())
    };
    let said = talk.answer(&mut session, None, &mut sampler, &up_to(30), &mut cancel).unwrap();
    assert_eq!((said.generated.reason, talk.messages().len()), (Reason::Cancelled, before.len() + 1));
    talk.truncate(before.len()).unwrap();
    session.reset();
    session.canceller().cancel();
    let refused = talk.feed(&mut session);
    assert!(matches!(refused, Err(ConversationError::Session(SessionError::Cancelled))), "{refused:?}");
    assert_eq!(talk.messages(), before);

    assert_eq!(talk.take_back(), [user("a")]);
    assert_eq!(contents(&talk.take_back()), ["question 1", "answer 1"]);
    talk.set_system(Some(Message::new("system", "Be short.")));
    assert_eq!(contents(talk.messages()), ["Be short.", "question 0", "answer 0"]);
    talk.set_system(None);
    assert_eq!(talk.take_back().len(), 2);
    assert!(talk.take_back().is_empty() && talk.messages().is_empty());
    let past = talk.truncate(1);
    assert!(matches!(past, Err(ConversationError::MessageOutOfRange { count: 1, messages: 0 })));
    let mut talk = long(&fixture, 2, ConversationOptions::default());
    talk.reset();
    assert_eq!(contents(talk.messages()), ["Be kind."]);
}

#[test]
fn a_saved_conversation_goes_on_with_the_same_bits() {
    let fixture = Fixture::tiny();
    let tools = Variables::new().with("tools", json!([{"name": "f"}])).unwrap();
    let options = ConversationOptions { variables: tools, ..ConversationOptions::default() };
    for (turns, context) in [(0, 256), (2, 256), (12, 160)] {
        let (mut talk, mut session) = (long(&fixture, turns, options.clone()), fixture.session(context));
        talk.add(user("first"));
        answer(&mut talk, &mut session, 7);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("conversation-{turns}"));
        talk.save_file(&session, &path).unwrap();
        let (mut again, mut other) = (fixture.talk(ConversationOptions::default()), fixture.session(context));
        again.restore_file(&mut other, &path).unwrap();
        assert_eq!((again.messages(), again.forgotten()), (talk.messages(), talk.forgotten()));
        assert_eq!((again.options(), other.tokens()), (talk.options(), session.tokens()));
        for _ in 0..3 {
            talk.add(user("more"));
            again.add(user("more"));
            let (one, two) = (answer(&mut talk, &mut session, 9), answer(&mut again, &mut other, 9));
            assert_eq!(one.generated, two.generated);
            assert_eq!((one.prompted.reused, one.prompted.dropped), (two.prompted.reused, two.prompted.dropped));
            assert_eq!(bits(&mut session), bits(&mut other));
        }
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn what_is_no_saved_conversation_is_refused() {
    let fixture = Fixture::tiny();
    let (mut talk, mut session) = (long(&fixture, 1, ConversationOptions::default()), fixture.session(256));
    talk.add(user("first"));
    answer(&mut talk, &mut session, 5);
    let (mut saved, mut snapshot) = (Vec::new(), Vec::new());
    talk.save(&session, &mut saved).unwrap();
    session.save(&mut snapshot).unwrap();
    let head = saved.len() - snapshot.len();
    let (mut other, mut own) = (long(&fixture, 1, ConversationOptions::default()), fixture.session(256));
    own.feed(&[5, 6, 7]).unwrap();
    let mut refused = |bytes: &[u8]| {
        let before = other.messages().to_vec();
        let error = other.restore(&mut own, &mut &bytes[..]).unwrap_err();
        assert_eq!((own.tokens(), other.messages()), (&[5, 6, 7][..], &before[..]));
        error
    };
    assert!(matches!(refused(&snapshot), ConversationError::NotAConversation));
    for length in (0..head).step_by(7).chain([head, saved.len() - 1]) {
        let error = refused(&saved[..length]);
        let short = matches!(error, ConversationError::Read(_) | ConversationError::Snapshot(SnapshotError::Read(_)));
        assert!(short, "{length}: {error}");
    }
    for place in (0..head).chain([head + 30, saved.len() - 1]) {
        let mut damaged = saved.clone();
        damaged[place] ^= 0x21;
        refused(&damaged);
    }
    // A length that no file has, and turns that are not there.
    let mut long = saved.clone();
    long[12..20].fill(0xff);
    assert!(matches!(refused(&long), ConversationError::Damaged { .. }));
    // More forgotten turns than there are.
    let text = b"\"dropped\":0";
    let place = saved.windows(text.len()).position(|window| window == text).unwrap() + text.len() - 1;
    let mut forgotten = saved[..head].to_vec();
    forgotten[place] = b'9';
    // FNV-1a
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let hash = forgotten[..head - 8].iter().fold(0xcbf2_9ce4_8422_2325, step);
    forgotten[head - 8..].copy_from_slice(&hash.to_le_bytes());
    assert!(matches!(refused(&forgotten), ConversationError::Damaged { what: "its turns" }));
    // Another model's session.
    let mut elsewhere = Fixture::new(&golden("tiny/qwen2.gguf")).session(256);
    let error = talk.restore(&mut elsewhere, &mut &saved[..]).unwrap_err();
    assert!(matches!(error, ConversationError::Snapshot(SnapshotError::OtherModel { .. })), "{error}");
}

#[test]
fn thoughts_have_a_budget() {
    let fixture = Fixture::tiny();
    let options = ConversationOptions { reasoning_budget: Some(4), ..ConversationOptions::default() };
    let (mut talk, mut session) = (fixture.talk(options.clone()), fixture.session(1024));
    talk.add(user("Hi"));
    let said = answer_with(&mut talk, &mut session, &mut fixture.writing("<think>a b c d e f", 1), 40);
    assert!(said.generated.text.contains("\n</think>\n\n"), "{}", said.generated.text);
    assert!(talk.messages()[1].get("reasoning_content").is_some());
    let plain = ChatTemplate::new("x").unwrap();
    let refused = Conversation::new(plain, Arc::clone(&fixture.tokenizer), options);
    assert!(matches!(refused, Err(ConversationError::NoReasoning)));
}

/// The variable `chat_template` chooses a template of the model's file, or another one: at first,
/// later, and from a saved conversation.
#[test]
fn a_variable_chooses_the_template() {
    let named = |text: &str| Some(text.into());
    let templates = [
        ("tokenizer.chat_template", named("{% for m in messages %}[{{ m.content }}]{% endfor %}")),
        (
            "tokenizer.chat_template.loud",
            named("{% for m in messages %}!{{ m.content }}!{% endfor %}<think>{{ '</think>' }}"),
        ),
    ];
    let model = Arc::new(Model::from_storage(edited("llama", &templates).into()).unwrap());
    let tokenizer = Arc::new(Tokenizer::from_metadata(model.gguf().metadata()).unwrap());
    let fixture = Fixture { model, tokenizer };
    let choosing = |template: Option<&str>, reasoning_budget| {
        let variables = Variables::new().with("chat_template", json!(template)).unwrap();
        ConversationOptions { variables, reasoning_budget, ..ConversationOptions::default() }
    };
    let open = |options| Conversation::of_model(&fixture.model, Arc::clone(&fixture.tokenizer), options);
    let prompt = |talk: &Conversation| talk.prompt().unwrap().text().to_owned();
    let mut talk = open(choosing(Some("loud"), Some(3))).unwrap();
    talk.add(user("a"));
    assert_eq!(prompt(&talk), "!a!<think></think>");
    let mut session = fixture.session(256);
    session.feed(&[1]).unwrap();
    let mut saved = Vec::new();
    talk.save(&session, &mut saved).unwrap();
    // A budget for thoughts needs a template that shows some.
    assert!(matches!(talk.set_options(choosing(None, Some(3))), Err(ConversationError::NoReasoning)));
    assert!(matches!(talk.set_options(choosing(Some("none"), None)), Err(ConversationError::Chat(_))));
    assert_eq!(prompt(&talk), "!a!<think></think>");
    talk.set_options(choosing(Some("{{ messages[0].content }}?"), None)).unwrap();
    assert_eq!(prompt(&talk), "a?");
    talk.set_options(ConversationOptions::default()).unwrap();
    assert_eq!(prompt(&talk), "[a]");
    talk.restore(&mut session, &mut &saved[..]).unwrap();
    assert_eq!(prompt(&talk), "!a!<think></think>");
    assert!(matches!(open(choosing(Some("none"), None)), Err(ConversationError::Chat(_))));

    // A file whose choice the model does not know changes neither conversation nor session.
    let plain = Fixture::new(&golden("tiny/llama.gguf"));
    let template = Some("[{{ messages[0].content }}]");
    let mut other = Conversation::of_model(&plain.model, plain.tokenizer, choosing(template, None)).unwrap();
    session.feed(&[2]).unwrap();
    assert!(matches!(other.restore(&mut session, &mut &saved[..]), Err(ConversationError::Chat(_))));
    assert_eq!((session.tokens(), other.messages().len()), (&[1, 2][..], 0));
}

#[test]
fn a_real_model_goes_on_turn_by_turn_and_from_a_file() {
    let fixture = Fixture::new(&smollm2());
    let open =
        || Conversation::of_model(&fixture.model, Arc::clone(&fixture.tokenizer), ConversationOptions::default());
    let (mut talk, mut session) = (open().unwrap(), fixture.session(512));
    let mut greedy = Sampler::new(SamplerOptions::default()).unwrap();
    talk.add(Message::new("system", "Answer with one word."));
    for (turn, question) in ["Capital of France?", "And of Italy?"].into_iter().enumerate() {
        talk.add(user(question));
        let mut whole = fixture.fed_at_once(&talk, 512);
        let prompted = talk.feed(&mut session).unwrap();
        assert!(turn == 0 || prompted.reused > prompted.tokens / 2, "{prompted:?}");
        assert_eq!(bits(&mut session), bits(&mut whole));
        let said = answer_with(&mut talk, &mut session, &mut greedy, 16);
        assert!(!said.generated.text.is_empty());
        if turn == 0 {
            let mut saved = Vec::new();
            talk.save(&session, &mut saved).unwrap();
            (talk, session) = (open().unwrap(), fixture.session(512));
            talk.restore(&mut session, &mut &saved[..]).unwrap();
        }
    }
}
