//! Answers in OpenAI's shapes, whole and in chunks, made of what the engine tells.

use std::ops::Range;
use std::sync::Arc;

use ollm_runtime::chat::{ChatEvent, ChatParser, ToolCall, call_id};
use ollm_runtime::generate::Reason;
use ollm_runtime::session::OptionView;
use ollm_runtime::tokenizer::Tokenizer;
use serde_json::{Map, Value, json};

use crate::output::number;
use crate::serve::engine::{Event, TokenEvent};
use crate::serve::error::ApiError;
use crate::show::option_json;

/// Which of the two an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Chat,
    Text,
}

impl Style {
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::Chat => "chatcmpl",
            Self::Text => "cmpl",
        }
    }

    const fn object(self, is_chunk: bool) -> &'static str {
        match self {
            Self::Chat if is_chunk => "chat.completion.chunk",
            Self::Chat => "chat.completion",
            Self::Text => "text_completion",
        }
    }
}

/// What an answer is called, and what is told with it.
#[allow(clippy::struct_excessive_bools, reason = "each is something of its own that a request asks for")]
pub(crate) struct ResponseInfo {
    pub(crate) style: Style,
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) model: String,
    /// Tokens of the prompts.
    pub(crate) prompt_tokens: usize,
    /// Whether the probability of each token is told.
    pub(crate) logprobs: bool,
    /// Whether each token is told with its latent.
    pub(crate) latents: bool,
    /// Whether it is told in chunks, and then kept no longer than that.
    pub(crate) stream: bool,
    /// Whether the usage comes with the last chunk.
    pub(crate) stream_usage: bool,
    pub(crate) tokenizer: Arc<Tokenizer>,
}

/// An answer on its way.
pub(crate) struct Answering {
    told: ResponseInfo,
    choices: Vec<ChoiceState>,
    reused: usize,
}

#[derive(Default)]
struct ChoiceState {
    parser: Option<ChatParser>,
    text: String,
    reasoning: String,
    calls: Vec<Value>,
    /// Whether a call was cut off, and left out.
    cut: bool,
    /// Probabilities of tokens that may still be of the content.
    pending: Vec<PendingToken>,
    /// Bytes of the answer so far, and where in it the content of those tokens is.
    position: usize,
    said: Vec<Range<usize>>,
    logprobs: Vec<Value>,
    steps: Vec<Value>,
    /// Characters of the tokens so far, for the offsets of completions.
    offset: usize,
    generated: usize,
    finish: Option<&'static str>,
}

/// A token whose text is not decided yet.
struct PendingToken {
    /// Where its text is in the answer; if it has none, that of the next one that has any.
    bytes: Range<usize>,
    told: Value,
}

impl Answering {
    /// An answer with a choice for each parser; none takes the text as it is.
    pub(crate) fn new(told: ResponseInfo, parsers: Vec<Option<ChatParser>>) -> Self {
        let choice = |parser: Option<ChatParser>| {
            let position = parser.as_ref().map_or(0, ChatParser::position);
            ChoiceState { parser, position, ..ChoiceState::default() }
        };
        let choices = parsers.into_iter().map(choice).collect();
        Self { told, choices, reused: 0 }
    }

    /// Whether all choices have ended.
    pub(crate) fn is_over(&self) -> bool {
        self.choices.iter().all(|choice| choice.finish.is_some())
    }

    /// Notes tokens that were generated elsewhere, for the first choice.
    pub(crate) fn count(&mut self, tokens: usize) {
        self.choices.iter_mut().take(1).for_each(|choice| choice.generated += tokens);
    }

    /// Takes what the engine tells; gives the chunks of it, where it is told in chunks.
    pub(crate) fn take(&mut self, event: Event) -> Result<Vec<Value>, ApiError> {
        match event {
            Event::Prompted { reused } => {
                self.reused += reused;
                Ok(Vec::new())
            }
            Event::Token(said) => Ok(self.said(&said).into_iter().collect()),
            Event::Done { index, reason, rest } => Ok(self.done(index, reason, &rest)),
            Event::Failed(error) => Err(error.into()),
        }
    }

    /// The chunks before the first token: who speaks.
    pub(crate) fn begin(&self) -> Vec<Value> {
        match self.told.style {
            Style::Text => Vec::new(),
            Style::Chat => {
                let delta = json!({ "role": "assistant", "content": "" });
                (0..self.choices.len()).map(|index| self.chunk(index, delta.clone(), &[], None)).collect()
            }
        }
    }

    /// The chunk behind the last one: the usage, if it was asked for.
    pub(crate) fn end(&self) -> Option<Value> {
        self.told.stream_usage.then(|| {
            let mut chunk = self.head(true);
            chunk.insert("choices".to_owned(), json!([]));
            chunk.insert("usage".to_owned(), self.usage());
            Value::Object(chunk)
        })
    }

    /// The answer as a whole.
    pub(crate) fn whole(mut self) -> Value {
        let mut answer = self.head(false);
        let usage = self.usage();
        let choices = std::mem::take(&mut self.choices).into_iter().enumerate();
        let choices: Vec<Value> = choices.map(|(index, choice)| choice.whole(index, &self.told)).collect();
        answer.insert("choices".to_owned(), choices.into());
        answer.insert("usage".to_owned(), usage);
        Value::Object(answer)
    }

    fn head(&self, is_chunk: bool) -> Map<String, Value> {
        let ResponseInfo { style, id, created, model, .. } = &self.told;
        let head = json!({
            "id": id,
            "object": style.object(is_chunk),
            "created": created,
            "model": model,
            "system_fingerprint": concat!("ollm-", env!("CARGO_PKG_VERSION")),
        });
        if let Value::Object(head) = head { head } else { Map::new() }
    }

    fn usage(&self) -> Value {
        let (prompt, generated) =
            (self.told.prompt_tokens, self.choices.iter().map(|choice| choice.generated).sum::<usize>());
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": generated,
            "total_tokens": prompt + generated,
            "prompt_tokens_details": { "cached_tokens": self.reused },
        })
    }

    /// A token; its chunk, unless that would say nothing.
    fn said(&mut self, said: &TokenEvent) -> Option<Value> {
        let ResponseInfo { style, id, tokenizer, .. } = &self.told;
        let choice = &mut self.choices[said.index];
        choice.generated += 1;
        if self.told.logprobs {
            choice.note_probability(said, *style, tokenizer);
        }
        let step = self.told.latents.then(|| step_json(said, tokenizer));
        let delta = choice.push(&said.text, None, id, said.index);
        let logprobs = choice.decided(false);
        if !self.told.stream {
            choice.logprobs.extend(logprobs);
            choice.steps.extend(step);
            return None;
        }
        let says = !delta.is_empty() || step.is_some() || !logprobs.is_empty();
        says.then(|| self.chunk(said.index, delta.into(), &logprobs, step))
    }

    fn done(&mut self, index: usize, reason: Reason, rest: &str) -> Vec<Value> {
        let choice = &mut self.choices[index];
        if let Some(parser) = &choice.parser {
            choice.extend_to(parser.position() + rest.len());
        }
        let delta = choice.push(rest, Some(reason), &self.told.id, index);
        let logprobs = choice.decided(true);
        choice.finish = Some(match reason {
            _ if !choice.calls.is_empty() && !choice.cut => "tool_calls",
            Reason::Limit | Reason::ContextFull => "length",
            Reason::End | Reason::Stop | Reason::Callback | Reason::Cancelled => "stop",
        });
        if !self.told.stream {
            choice.logprobs.extend(logprobs);
            return Vec::new();
        }
        let finish = choice.finish;
        let rest =
            (!delta.is_empty() || !logprobs.is_empty()).then(|| self.chunk(index, delta.into(), &logprobs, None));
        let mut last = self.chunk(index, json!({}), &[], None);
        last["choices"][0]["finish_reason"] = finish.into();
        rest.into_iter().chain([last]).collect()
    }

    fn chunk(&self, index: usize, delta: Value, logprobs: &[Value], step: Option<Value>) -> Value {
        let mut chunk = self.head(true);
        let logprobs = if logprobs.is_empty() { Value::Null } else { probabilities(self.told.style, logprobs) };
        let mut choice = json!({ "index": index, "logprobs": logprobs, "finish_reason": null });
        match self.told.style {
            Style::Chat => choice["delta"] = delta,
            Style::Text => choice["text"] = delta.get("content").cloned().unwrap_or_else(|| "".into()),
        }
        chunk.insert("choices".to_owned(), json!([choice]));
        if self.told.stream_usage {
            chunk.insert("usage".to_owned(), Value::Null);
        }
        if let Some(step) = step {
            chunk.insert("ollm".to_owned(), step);
        }
        Value::Object(chunk)
    }
}

impl ChoiceState {
    /// Takes text, and how the answer ends where it does; gives what is new of the message.
    fn push(&mut self, text: &str, end: Option<Reason>, id: &str, index: usize) -> Map<String, Value> {
        let events = match &mut self.parser {
            None if text.is_empty() => Vec::new(),
            None => vec![ChatEvent::Text(text.to_owned())],
            Some(parser) => {
                let mut events = parser.push(text);
                match end {
                    None => {}
                    Some(Reason::End) => events.extend(parser.finish()),
                    Some(_) => {
                        let rest = parser.finish_cut();
                        self.cut = rest.iter().any(|event| matches!(event, ChatEvent::Malformed(_)));
                        events.extend(rest);
                    }
                }
                events
            }
        };
        let mut delta = Map::new();
        let mut add = |name: &str, text: &str| match delta.get_mut(name) {
            Some(Value::String(all)) => all.push_str(text),
            _ => drop(delta.insert(name.to_owned(), text.into())),
        };
        let mut calls = Vec::new();
        for event in events {
            match event {
                ChatEvent::Text(text) => {
                    self.text.push_str(&text);
                    add("content", &text);
                }
                ChatEvent::Reasoning(text) => {
                    self.reasoning.push_str(&text);
                    add("reasoning_content", &text);
                }
                ChatEvent::Call(call) => {
                    let number = self.calls.len();
                    let call = call_json(call, || call_id(&format!("{id}-{index}-{number}")));
                    self.calls.push(call.clone());
                    let mut part = call;
                    part["index"] = number.into();
                    calls.push(part);
                }
                // Its text came as text, or is left out.
                ChatEvent::Malformed(_) => {}
            }
        }
        if !calls.is_empty() {
            delta.insert("tool_calls".to_owned(), calls.into());
        }
        delta
    }

    /// Notes the probability of a token, in the form of the style.
    fn note_probability(&mut self, said: &TokenEvent, style: Style, tokenizer: &Tokenizer) {
        let told = match style {
            Style::Chat => {
                let top: Vec<Value> =
                    said.top.iter().map(|&(token, logprob)| token_json(token, logprob, tokenizer)).collect();
                let mut token = token_json(said.step.token, said.step.logprob, tokenizer);
                token["top_logprobs"] = top.into();
                token
            }
            Style::Text => {
                let text = |token| token_text(token, tokenizer);
                // The one that came is among them, even if it is not one of the most probable,
                // unless a more probable one has the same text.
                let mut top = Map::new();
                for (token, logprob) in said.top.iter().copied().chain([(said.step.token, said.step.logprob)]) {
                    top.entry(text(token)).or_insert_with(|| number(logprob));
                }
                json!([text(said.step.token), number(said.step.logprob), top, self.offset])
            }
        };
        self.offset += said.characters;
        self.pending.push(PendingToken { bytes: self.position..self.position, told });
        // Of this text some may be held back, until no stop string can begin with it any more.
        self.extend_to(self.position + said.bytes);
    }

    /// Notes that the text of the tokens ends here, which is that of those that had none.
    fn extend_to(&mut self, position: usize) {
        self.position = self.position.max(position);
        let silent = self.pending.iter_mut().rev().take_while(|token| token.bytes.is_empty());
        silent.for_each(|token| token.bytes.end = self.position);
    }

    /// The probabilities of the tokens of the content that are decided now. Those of thoughts and
    /// of calls are not told; at the end nothing is left.
    fn decided(&mut self, last: bool) -> Vec<Value> {
        let Some(parser) = &mut self.parser else {
            // Every token is one of the text.
            return self.pending.drain(..).map(|token| token.told).collect();
        };
        self.said.extend(parser.take_said());
        let is_sure = |token: &PendingToken| last || !token.bytes.is_empty() && token.bytes.end <= parser.decided();
        let sure = self.pending.iter().take_while(|token| is_sure(token)).count();
        let is_said = |token: &PendingToken| {
            self.said.iter().any(|said| said.start < token.bytes.end && token.bytes.start < said.end)
        };
        let told = self.pending.drain(..sure).filter(is_said).map(|token| token.told).collect();
        // What lies before all tokens that are left is not asked for any more.
        match self.pending.first() {
            Some(token) => self.said.retain(|said| said.end > token.bytes.start),
            None => self.said.clear(),
        }
        told
    }

    fn whole(self, index: usize, told: &ResponseInfo) -> Value {
        let logprobs = if told.logprobs { probabilities(told.style, &self.logprobs) } else { Value::Null };
        let mut choice = json!({ "index": index, "logprobs": logprobs, "finish_reason": self.finish });
        match told.style {
            Style::Text => choice["text"] = self.text.into(),
            Style::Chat => {
                let content = if self.text.is_empty() && !self.calls.is_empty() { None } else { Some(self.text) };
                let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
                if !self.reasoning.is_empty() {
                    message["reasoning_content"] = self.reasoning.into();
                }
                if !self.calls.is_empty() {
                    message["tool_calls"] = self.calls.into();
                }
                choice["message"] = message;
            }
        }
        if told.latents {
            choice["ollm"] = json!({ "steps": self.steps });
        }
        choice
    }
}

/// The probabilities of tokens, in the form of the style.
fn probabilities(style: Style, tokens: &[Value]) -> Value {
    let column = |at: usize| tokens.iter().map(|token| token[at].clone()).collect::<Vec<Value>>();
    match style {
        Style::Chat => json!({ "content": tokens, "refusal": null }),
        Style::Text => json!({
            "tokens": column(0),
            "token_logprobs": column(1),
            "top_logprobs": column(2),
            "text_offset": column(3),
        }),
    }
}

/// The text of a token; of one that is a part of a character its bytes, as OpenAI writes them:
/// `bytes:\xf0\x9f`.
fn token_text(token: u32, tokenizer: &Tokenizer) -> String {
    let bytes = tokenizer.token_bytes(token).unwrap_or_default();
    if std::str::from_utf8(bytes).is_ok() {
        return tokenizer.decode(&[token]);
    }
    bytes.iter().fold("bytes:".to_owned(), |text, byte| text + &format!("\\x{byte:02x}"))
}

fn token_json(token: u32, logprob: f32, tokenizer: &Tokenizer) -> Value {
    let bytes = tokenizer.token_bytes(token).unwrap_or_default();
    // What cannot be is -9999 there.
    let logprob = if logprob.is_finite() { number(logprob) } else { json!(-9999.0) };
    json!({ "token": String::from_utf8_lossy(bytes), "logprob": logprob, "bytes": bytes })
}

/// A token with its latent, and the option set that it was chosen from.
fn step_json(said: &TokenEvent, tokenizer: &Tokenizer) -> Value {
    let mut step = json!({
        "token": said.step.token,
        "text": said.text,
        "latent": said.step.latent,
        "logprob": number(said.step.logprob),
    });
    if !said.options.is_empty() {
        step["options"] = options_json(&said.options, tokenizer);
    }
    step
}

/// An option set.
pub(crate) fn options_json(options: &[OptionView], tokenizer: &Tokenizer) -> Value {
    options.iter().map(|option| option_json(tokenizer, option)).collect()
}

fn call_json(call: ToolCall, id: impl Fn() -> String) -> Value {
    let ToolCall { name, arguments, id: own } = call;
    let arguments = Value::Object(arguments).to_string();
    json!({ "id": own.unwrap_or_else(id), "type": "function", "function": { "name": name, "arguments": arguments } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ollm_runtime::chat::{ChatFormat, Reasoning, ToolFormat};
    use ollm_runtime::gguf::{Metadata, Value as GgufValue};
    use ollm_runtime::session::Step;

    fn tokenizer(tokens: &[&str]) -> Tokenizer {
        let tokens: Vec<String> = tokens.iter().map(|&token| token.to_owned()).collect();
        let mut metadata = Metadata::default();
        let own: [(&str, GgufValue); 4] = [
            ("tokenizer.ggml.model", "gpt2".into()),
            ("tokenizer.ggml.pre", "gpt-2".into()),
            ("tokenizer.ggml.tokens", tokens.into()),
            ("tokenizer.ggml.merges", Vec::<String>::new().into()),
        ];
        for (key, value) in own {
            metadata.insert(key.to_owned(), value).unwrap();
        }
        Tokenizer::from_metadata(&metadata).unwrap()
    }

    fn answering(stream: bool) -> Answering {
        let told = ResponseInfo {
            style: Style::Chat,
            id: "chatcmpl-1".to_owned(),
            created: 0,
            model: "m".to_owned(),
            prompt_tokens: 1,
            logprobs: true,
            latents: true,
            stream,
            stream_usage: false,
            tokenizer: Arc::new(tokenizer(&["a", "b"])),
        };
        Answering::new(told, vec![None])
    }

    fn token() -> Event {
        saying("b")
    }

    fn saying(text: &str) -> Event {
        held(text.len(), text)
    }

    /// A token with a text of so many bytes, of which the parts that are not said yet come later.
    fn held(bytes: usize, text: &str) -> Event {
        let step = Step { token: 1, latent: Some(3), logprob: -0.5, forced: false };
        let text = text.to_owned();
        let top = vec![(1, -0.5)];
        Event::Token(Box::new(TokenEvent { index: 0, step, text, characters: 1, bytes, top, options: Vec::new() }))
    }

    /// Each token is told with its probability and its latent either way; what went out in a chunk
    /// takes no memory.
    #[test]
    fn a_stream_keeps_nothing_of_what_it_has_told() {
        let kept = |answering: &Answering| (answering.choices[0].logprobs.len(), answering.choices[0].steps.len());
        let (mut stream, mut whole) = (answering(true), answering(false));
        for _ in 0..10 {
            let chunks = stream.take(token()).unwrap();
            assert_eq!(chunks.len(), 1);
            assert_eq!(chunks[0]["choices"][0]["logprobs"]["content"].as_array().unwrap().len(), 1);
            assert_eq!(chunks[0]["ollm"]["latent"], 3);
            assert!(whole.take(token()).unwrap().is_empty());
        }
        assert_eq!((kept(&stream), kept(&whole)), ((0, 0), (10, 10)));
    }

    /// How many tokens are told with each chunk of a stream, and with the whole, and what the
    /// content is. The fourth token has no text of its own, the last ones are of a call that is cut
    /// off, or may be of one.
    #[test]
    fn the_tokens_of_the_content_are_told() {
        let format = ChatFormat { tools: Some(ToolFormat::Hermes), ..ChatFormat::default() };
        let texts = ["I", " <", "b>", "", "\u{e9}", " \n", "<tool", "_call>", "{", "\"name\""];
        let told = |choice: &Value| choice["logprobs"]["content"].as_array().map_or(0, Vec::len);
        for (end, content, tokens) in [(6, "I <b>\u{e9} \n", 6), (7, "I <b>\u{e9}", 5), (10, "I <b>\u{e9}", 5)] {
            for stream in [true, false] {
                let mut answering = answering(stream);
                answering.choices[0].parser = Some(ChatParser::new(format, false));
                let mut events: Vec<Event> = texts[..end].iter().map(|text| saying(text)).collect();
                events.push(Event::Done { index: 0, reason: Reason::Limit, rest: String::new() });
                let chunks: Vec<Value> = events.into_iter().flat_map(|event| answering.take(event).unwrap()).collect();
                let choices = chunks.iter().map(|chunk| &chunk["choices"][0]);
                let (text, count) = if stream {
                    let part = |choice: &Value| choice["delta"]["content"].as_str().unwrap_or_default().to_owned();
                    (choices.clone().map(part).collect(), choices.map(told).sum())
                } else {
                    let whole = answering.whole();
                    let choice = &whole["choices"][0];
                    (choice["message"]["content"].as_str().unwrap().to_owned(), told(choice))
                };
                assert_eq!((text.as_str(), count), (content, tokens), "{end} {stream}");
            }
        }
    }

    /// A token counts where its own text is, also where that is said with later ones because a stop
    /// string may begin with it, or never, because one did.
    #[test]
    fn text_that_is_held_back_is_of_its_own_token() {
        let told = |events: Vec<Event>, reason, rest: &str| {
            let mut answering = answering(false);
            let thinking = Reasoning::new("<think>", "</think>", "\n</think>\n\n");
            let format = ChatFormat { reasoning: Some(thinking), ..ChatFormat::default() };
            answering.choices[0].parser = Some(ChatParser::new(format, true));
            for event in events {
                answering.take(event).unwrap();
            }
            answering.take(Event::Done { index: 0, reason, rest: rest.to_owned() }).unwrap();
            let whole = answering.whole();
            let choice = &whole["choices"][0];
            let count = choice["logprobs"]["content"].as_array().unwrap().len();
            (choice["message"]["content"].as_str().unwrap().to_owned(), count)
        };
        let thought = || vec![saying("so"), saying("</think>"), held(2, "")];
        let mut events = thought();
        events.extend([held(5, "\n\nHello"), held(1, "")]);
        assert_eq!(told(events, Reason::Limit, "\n"), ("Hello\n".to_owned(), 2));
        let mut events = thought();
        events.extend([held(5, "\n\nHello"), held(2, ""), held(4, "")]);
        assert_eq!(told(events, Reason::Stop, ""), ("Hello".to_owned(), 1));
    }

    /// The texts of tokens that are parts of characters, and the most probable one of each text.
    #[test]
    fn parts_of_characters_are_told_by_their_bytes() {
        // GPT-2's letters for the bytes f0 and 9f.
        let tokenizer = tokenizer(&["a", "\u{f0}", "\u{141}"]);
        let texts: Vec<String> = (0..3).map(|token| token_text(token, &tokenizer)).collect();
        assert_eq!(texts, ["a", "bytes:\\xf0", "bytes:\\x9f"]);
    }

    /// Where the content is matters for as long as a token may be of it.
    #[test]
    fn a_stream_keeps_no_places_of_what_it_has_told() {
        for logprobs in [true, false] {
            let mut answering = answering(true);
            answering.told.logprobs = logprobs;
            answering.choices[0].parser = Some(ChatParser::new(ChatFormat::default(), false));
            (0..10).for_each(|_| drop(answering.take(token()).unwrap()));
            assert!(answering.choices[0].said.is_empty() && answering.choices[0].pending.is_empty());
        }
    }
}
