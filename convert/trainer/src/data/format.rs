//! Data files in the forms in which people have them.
//!
//! | ending | what it is |
//! |---|---|
//! | `.json` | one list of objects |
//! | `.csv`, `.tsv` | a line of names, then a row for each object (RFC 4180) |
//! | `.parquet` | a row for each object; needs the feature `parquet` |
//! | `.txt` | plain text: paragraphs, which empty lines part |
//! | any other | JSON lines: an object a line; empty lines are skipped |
//!
//! An object has `question` and `answer`; or `prompt` and `completion`, each of them text or a list
//! of turns; or `messages` (or `conversations`), a conversation of which each turn of the assistant
//! is a problem; or `text`, which is learned as it is. A turn has `role` and `content`, or `from`
//! and `value`. `system` stands before the question, `expected` is the final answer where `answer`
//! does not end with it. Other fields are passed over, but a name that is there twice is refused.
//! [`Fields`] gives them other names.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::data::problem::{Problem, Turn};
use crate::error::{Error, Result};

/// What a field of an object may be.
const ROLES: [&str; 8] = ["question", "answer", "prompt", "completion", "messages", "text", "system", "expected"];

/// One of the names that the fields of a data file have: `ROLE=NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldName {
    role: &'static str,
    name: String,
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.role, self.name)
    }
}

impl FromStr for FieldName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (role, name) = text.split_once('=').filter(|(_, name)| !name.is_empty()).unwrap_or_default();
        let role = ROLES.into_iter().find(|known| *known == role);
        let role = role.ok_or_else(|| format!("{text:?} is no ROLE=NAME, with ROLE one of {}", ROLES.join(", ")))?;
        Ok(Self { role, name: name.to_owned() })
    }
}

/// The names of the fields; what is not named has the name of its role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<FieldName>);

impl Fields {
    fn name(&self, role: &'static str) -> &str {
        self.0.iter().rev().find(|field| field.role == role).map_or(role, |field| &field.name)
    }

    /// The field of that role; `null` is none.
    fn get<'a>(&self, object: &'a Map<String, Value>, role: &'static str) -> Option<&'a Value> {
        object.get(self.name(role)).filter(|value| !value.is_null())
    }

    /// A field that is text. A number is one, too.
    fn text(&self, object: &Map<String, Value>, role: &'static str) -> std::result::Result<Option<String>, String> {
        match self.get(object, role) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(other) => Err(format!("{:?} is {}, and no text", self.name(role), kind(other))),
        }
    }

    /// The problems of an object.
    fn problems(&self, object: &Map<String, Value>) -> std::result::Result<Vec<Problem>, String> {
        let system = self.text(object, "system")?.map(|content| Turn { role: "system".into(), content });
        let expected = self.text(object, "expected")?;
        // Fields that were named come before those that happen to be there.
        let pair_is_named =
            self.0.iter().any(|field| ["question", "answer", "prompt", "completion"].contains(&field.role));
        let messages =
            self.get(object, "messages").or_else(|| object.get("conversations").filter(|list| list.is_array()));
        let conversation = match messages.filter(|_| !pair_is_named) {
            Some(messages) => Some(conversation(messages, system.clone())?),
            None => self.prompted(object, system.clone())?,
        };
        if let Some(mut problems) = conversation {
            if let Some(last) = problems.last_mut() {
                last.expected = expected;
            }
            return Ok(problems);
        }
        for (question, answer) in [("question", "answer"), ("prompt", "completion")] {
            let name = self.name(question);
            if let (Some(question), Some(answer)) = (self.text(object, question)?, self.text(object, answer)?) {
                if question.trim().is_empty() {
                    return Err(format!("{name:?} is empty: what has no question is given as \"text\" alone"));
                }
                let problem =
                    Problem { expected, before: system.into_iter().collect(), ..Problem::new(question, answer) };
                return Ok(vec![problem]);
            }
        }
        match self.text(object, "text")? {
            Some(text) => {
                Ok(vec![Problem { expected, before: system.into_iter().collect(), ..Problem::new("", text) }])
            }
            None => Err(self.missing(object)),
        }
    }

    /// The problems of a `prompt` and a `completion` that are lists of turns: those of the
    /// completion.
    fn prompted(
        &self,
        object: &Map<String, Value>,
        system: Option<Turn>,
    ) -> std::result::Result<Option<Vec<Problem>>, String> {
        let turns = |role| self.get(object, role).and_then(Value::as_array);
        let Some((prompt, completion)) = turns("prompt").zip(turns("completion")) else { return Ok(None) };
        let all = Value::Array(prompt.iter().chain(completion).cloned().collect());
        let prompted = prompt.len() + usize::from(system.is_some());
        let mut problems = conversation(&all, system)?;
        // The answer stands behind its question.
        problems.retain(|problem| problem.before.len() + 1 >= prompted);
        if problems.is_empty() {
            return Err(format!("{:?} has no turn of the assistant with text", self.name("completion")));
        }
        Ok(Some(problems))
    }

    fn missing(&self, object: &Map<String, Value>) -> String {
        if let Some(role) = ROLES[..6].iter().find(|role| object.get(self.name(role)).is_some_and(Value::is_null)) {
            return format!("{:?} is null: leave the object out", self.name(role));
        }
        let named: Vec<&str> = ROLES[..6].iter().map(|role| self.name(role)).collect();
        let there = object.keys().map(|key| format!("{key:?}")).collect::<Vec<_>>().join(", ");
        format!(
            "neither {:?} and {:?}, nor {:?} and {:?}, nor {:?}, nor {:?}: there are {there}; --field ROLE=NAME says \
             which is which",
            named[0], named[1], named[2], named[3], named[4], named[5]
        )
    }
}

/// What a value of JSON is.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A problem for each turn of the assistant.
fn conversation(messages: &Value, system: Option<Turn>) -> std::result::Result<Vec<Problem>, String> {
    let not_a_list = || format!("messages are a list of {{\"role\", \"content\"}}, not {}", kind(messages));
    let messages = messages.as_array().ok_or_else(not_a_list)?;
    let (mut turns, mut problems): (Vec<Turn>, Vec<Problem>) = (system.into_iter().collect(), Vec::new());
    for message in messages {
        let turn = turn(message)?;
        match turns.split_last().filter(|(last, _)| last.role == "user" && turn.role == "assistant") {
            Some((question, _)) if question.content.trim().is_empty() => {
                return Err(format!("turn {} is the user's, and empty", turns.len()));
            }
            Some((question, before)) if !turn.content.trim().is_empty() => problems.push(Problem {
                before: before.to_vec(),
                ..Problem::new(question.content.clone(), turn.content.clone())
            }),
            None if turn.role == "assistant" => return Err(follows_no_user(&turns)),
            _ => {}
        }
        turns.push(turn);
    }
    if problems.is_empty() {
        let roles: Vec<_> = turns.iter().map(|turn| format!("{:?}", turn.role)).collect();
        return Err(format!("no turn of the role \"assistant\" has text: there are [{}]", roles.join(", ")));
    }
    Ok(problems)
}

fn follows_no_user(before: &[Turn]) -> String {
    let place = match before.last() {
        Some(last) => format!("follows one of {:?}", last.role),
        None => "is the first".into(),
    };
    format!(
        "turn {} is the assistant's and {place}, but what is learned answers a turn of \"user\": leave the \
         conversation out, or end it before",
        before.len() + 1
    )
}

/// Who speaks, by the name that templates have for it.
fn role_of(message: &Value) -> Option<&str> {
    match message["role"].as_str().or_else(|| message["from"].as_str())? {
        "human" => Some("user"),
        "gpt" => Some("assistant"),
        role => Some(role),
    }
}

/// A turn, whose content is text or a list of parts with text.
fn turn(message: &Value) -> std::result::Result<Turn, String> {
    let role = role_of(message).ok_or("a message has no \"role\": it is an object of \"role\" and \"content\"")?;
    let part = |part: &Value| part["text"].as_str().or(part.as_str()).map(str::to_owned);
    let content = match message.get("content").unwrap_or(&message["value"]) {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => parts.iter().map(part).collect(),
        _ => None,
    };
    let content = content.ok_or_else(|| format!("the content of a message of {role:?} is no text"))?;
    Ok(Turn { role: role.into(), content })
}

/// The problems of a file, each with its line (of a Parquet file: its row), counted from 1.
pub fn read(path: &Path, fields: &Fields) -> Result<Vec<(usize, Problem)>> {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    if ending.as_deref() == Some("parquet") {
        return problems(path, parquet_rows(path)?, fields);
    }
    let text = std::fs::read(path).map_err(Error::io(path))?;
    let text = String::from_utf8(text).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|byte| *byte == b'\n').count();
        Error::Line { path: path.to_owned(), line, reason: "is not UTF-8".into() }
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let objects = match ending.as_deref() {
        Some("txt") => return Ok(paragraphs(text)),
        Some("json") => list(path, text)?,
        Some("csv") => table(path, text, b',')?,
        Some("tsv") => table(path, text, b'\t')?,
        _ => lines(path, text)?,
    };
    problems(path, objects, fields)
}

/// The problems of objects, in their order.
fn problems(path: &Path, objects: Vec<Object>, fields: &Fields) -> Result<Vec<(usize, Problem)>> {
    let mut all = Vec::with_capacity(objects.len());
    for (line, object) in objects {
        let refuse = |reason| Error::Line { path: path.to_owned(), line, reason };
        for problem in fields.problems(&object).map_err(refuse)? {
            if problem.answer.trim().is_empty() {
                return Err(refuse("the answer is empty: leave the problem out".into()));
            }
            all.push((line, problem));
        }
    }
    Ok(all)
}

type Object = (usize, Map<String, Value>);

/// An object of JSON, no name of which is there twice: nobody can tell which of the two is meant.
struct UniqueNames(Map<String, Value>);

impl<'de> Deserialize<'de> for UniqueNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = UniqueNames;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object, as {\"question\": \"..\", \"answer\": \"..\"}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> std::result::Result<UniqueNames, A::Error> {
                let mut object = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if object.contains_key(&name) {
                        return Err(A::Error::custom(format!("{name:?} is there twice: leave one out")));
                    }
                    object.insert(name, value);
                }
                Ok(UniqueNames(object))
            }
        }

        deserializer.deserialize_map(Names)
    }
}

/// What the reader of JSON says, without its line: that of the file is said beside it.
fn json_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(said) if error.column() > 0 => format!("{said} (column {})", error.column()),
        said => said.unwrap_or(&text).to_owned(),
    }
}

#[cfg(feature = "parquet")]
fn parquet_rows(path: &Path) -> Result<Vec<Object>> {
    super::parquet::rows(path)
}

#[cfg(not(feature = "parquet"))]
fn parquet_rows(path: &Path) -> Result<Vec<Object>> {
    let reason = "is a Parquet file, and this build reads none: build it with `cargo build --release -p ollm-train \
                  --features parquet`, or save the data as JSON lines";
    Err(Error::bad_file(path, reason))
}

fn lines(path: &Path, text: &str) -> Result<Vec<Object>> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let object = |(line, text): (usize, &str)| {
        let refuse = |error: serde_json::Error| Error::Line {
            path: path.to_owned(),
            line,
            reason: format!("{}; a line is one object of JSON", json_error(&error)),
        };
        let UniqueNames(object) = serde_json::from_str(text).map_err(refuse)?;
        Ok((line, object))
    };
    lines.map(object).collect()
}

fn list(path: &Path, text: &str) -> Result<Vec<Object>> {
    let refuse = |error: serde_json::Error| Error::Line {
        path: path.to_owned(),
        line: error.line().max(1),
        reason: format!(
            "{}; a .json file is one list of objects (of JSON lines the ending is .jsonl)",
            json_error(&error)
        ),
    };
    let objects: Vec<UniqueNames> = serde_json::from_str(text).map_err(refuse)?;
    Ok(first_lines(text).zip(objects).map(|(line, UniqueNames(object))| (line, object)).collect())
}

/// The lines in which the objects of a list begin.
fn first_lines(text: &str) -> impl Iterator<Item = usize> + '_ {
    let (mut line, mut depth, mut is_text, mut is_escaped) = (1, 0_usize, false, false);
    text.bytes().filter_map(move |byte| {
        match byte {
            b'\n' => line += 1,
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_text,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'[' | b'{' => {
                depth += 1;
                return (byte == b'{' && depth == 2).then_some(line);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        None
    })
}

fn table(path: &Path, text: &str, delimiter: u8) -> Result<Vec<Object>> {
    let refuse = |line: u64, reason: String| Error::Line { path: path.to_owned(), line: line as usize, reason };
    let broken = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        let reason = match error.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => format!(
                "{len} fields, but the first line has {expected_len}: what has a delimiter, a quote or a line break in \
                 it stands in double quotes, and a quote in it is doubled"
            ),
            _ => error.to_string(),
        };
        refuse(line, reason)
    };
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(text.as_bytes());
    let names = reader.headers().map_err(broken)?.clone();
    if let Some(twice) = names.iter().enumerate().find_map(|(i, name)| names.iter().take(i).find(|n| *n == name)) {
        return Err(refuse(1, format!("the column {twice:?} is there twice: give one of them another name")));
    }
    let (mut objects, mut last) = (Vec::new(), csv::Position::new());
    for record in reader.records() {
        let record = record.map_err(broken)?;
        last = record.position().cloned().unwrap_or(last);
        // An empty cell is no field.
        let cells = names.iter().zip(&record).filter(|(_, cell)| !cell.is_empty());
        objects.push((last.line() as usize, cells.map(|(name, cell)| (name.to_owned(), cell.into())).collect()));
    }
    if ends_in_quotes(&text.as_bytes()[last.byte() as usize..], delimiter) {
        return Err(refuse(last.line(), "a double quote begins a field and is not closed by another one".into()));
    }
    Ok(objects)
}

/// Whether a record ends inside of a quoted field, which then has all that follows the quote.
fn ends_in_quotes(record: &[u8], delimiter: u8) -> bool {
    #[derive(Clone, Copy)]
    enum Place {
        FieldStart,
        Unquoted,
        Quoted,
        /// Behind the quote that closes a field; another one opens it again, as a doubled one does.
        Closed,
    }
    let step = |place: Place, &byte: &u8| match (place, byte) {
        (Place::Quoted, b'"') => Place::Closed,
        (Place::Quoted, _) | (Place::FieldStart | Place::Closed, b'"') => Place::Quoted,
        (_, b'\n' | b'\r') => Place::FieldStart,
        (_, byte) if byte == delimiter => Place::FieldStart,
        _ => Place::Unquoted,
    };
    matches!(record.iter().fold(Place::FieldStart, step), Place::Quoted)
}

fn paragraphs(text: &str) -> Vec<(usize, Problem)> {
    let (mut all, mut paragraph, mut first) = (Vec::new(), Vec::new(), 1);
    for (line, text) in (1..).zip(text.lines().chain([""])) {
        if !text.trim().is_empty() {
            if paragraph.is_empty() {
                first = line;
            }
            paragraph.push(text);
        } else if !paragraph.is_empty() {
            all.push((first, Problem::new("", paragraph.join("\n"))));
            paragraph.clear();
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn read_as(name: &str, text: &str, fields: &[&str]) -> Result<Vec<(usize, Problem)>> {
        let folder = testing::folder(&format!("format-{name}"));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        read(&path, &Fields(fields.iter().map(|field| field.parse().unwrap()).collect()))
    }

    fn pairs(name: &str, text: &str, fields: &[&str]) -> Vec<(String, String)> {
        let all = read_as(name, text, fields).unwrap();
        all.into_iter().map(|(_, problem)| (problem.question, problem.answer)).collect()
    }

    fn pair(question: &str, answer: &str) -> (String, String) {
        (question.into(), answer.into())
    }

    #[test]
    fn every_form_gives_the_same_problems() {
        let want = [pair("1 + 1?", "2, \"two\""), pair("a\nb", "c")];
        let lines =
            "{\"question\":\"1 + 1?\",\"answer\":\"2, \\\"two\\\"\"}\n\n{\"prompt\":\"a\\nb\",\"completion\":\"c\"}\n";
        assert_eq!(pairs("a.jsonl", lines, &[]), want);
        assert_eq!(pairs("a.data", &format!("\u{feff}{lines}"), &[]), want);
        let list = "[{\"problem\":\"1 + 1?\",\"solution\":\"2, \\\"two\\\"\",\"question\":null},\n {\"problem\":\"a\\nb\",\"solution\":\"c\"}]";
        assert_eq!(pairs("a.json", list, &["question=problem", "answer=solution"]), want);
        let csv = "id,question,answer\r\n1,1 + 1?,\"2, \"\"two\"\"\"\r\n\"6\"\" x\",\"a\nb\",c";
        assert_eq!(pairs("a.csv", csv, &[]), want);
        assert_eq!(pairs("a.TSV", "question\tanswer\n1 + 1?\t\"2, \"\"two\"\"\"\n\"a\nb\"\tc\n", &[]), want);
    }

    #[test]
    fn each_turn_of_the_assistant_is_a_problem() {
        let message = |role: &str, content: &str| format!("{{\"role\":\"{role}\",\"content\":{content}}}");
        let talk = [
            message("system", "\"Be brief.\""),
            message("user", "\"Hi\""),
            message("assistant", "\"Hello\""),
            message("user", "[{\"type\":\"text\",\"text\":\"And \"},{\"type\":\"text\",\"text\":\"now?\"}]"),
            message("assistant", "\"Bye\""),
        ];
        let line = format!("{{\"messages\":[{}]}}", talk.join(","));
        let all = read_as("talk.jsonl", &line, &[]).unwrap();
        let roles =
            |problem: &Problem| problem.before.iter().map(|turn| turn.role.clone()).collect::<Vec<_>>().join(" ");
        assert_eq!((roles(&all[0].1).as_str(), all[0].1.answer.as_str()), ("system", "Hello"));
        assert_eq!((roles(&all[1].1).as_str(), all[1].1.question.as_str()), ("system user assistant", "And now?"));
        for (bad, says) in [
            (message("assistant", "\"Hello\""), "is the first"),
            (message("user", "\"Hi\""), "there are [\"user\"]"),
            (
                [("user", "\"f\""), ("tool", "\"7\""), ("assistant", "\"7\"")].map(|(r, c)| message(r, c)).join(","),
                "turn 3",
            ),
            ([("user", "\" \""), ("assistant", "\"7\"")].map(|(r, c)| message(r, c)).join(","), "turn 1"),
            (message("user", "7"), "is no text"),
            ("{\"content\":\"x\"}".into(), "no \"role\""),
        ] {
            let error = read_as("bad.jsonl", &format!("{{\"messages\":[{bad}]}}"), &[]).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn turns_are_read_as_other_trainers_have_them() {
        let turn = |role: &str, content: &str| format!("{{\"role\":\"{role}\",\"content\":\"{content}\"}}");
        let said = |from: &str, value: &str| format!("{{\"from\":\"{from}\",\"value\":\"{value}\"}}");
        let [one, two] = [("1?", "1"), ("2?", "2")];
        let shared = [said("system", "s"), said("human", one.0), said("gpt", one.1)].join(",");
        let prompt =
            [turn("system", "s"), turn("user", one.0), turn("assistant", one.1), turn("user", two.0)].join(",");
        let lines = [
            format!("{{\"conversations\":[{shared}]}}"),
            format!("{{\"prompt\":[{prompt}],\"completion\":[{}]}}", turn("assistant", two.1)),
        ];
        let all = read_as("a.jsonl", &lines.join("\n"), &[]).unwrap();
        let problems: Vec<_> = all.iter().map(|(line, p)| (*line, p.before.len(), &*p.question, &*p.answer)).collect();
        assert_eq!(problems, [(1, 1, one.0, one.1), (2, 3, two.0, two.1)]);
    }

    #[test]
    fn a_file_of_openmathreasonings_form_needs_names_alone() {
        let line = "{\"expected_answer\":\"\\\\frac{3}{4}\",\"problem_type\":\"has_answer_extracted\",\"problem\":\"Find x.\",\
                    \"generated_solution\":\"<think>..</think> So \\\\boxed{\\\\frac{3}{4}}\",\"pass_rate_72b_tir\":\"0.5\"}";
        let fields = ["question=problem", "answer=generated_solution", "expected=expected_answer"];
        let all = read_as("cot.jsonl", line, &fields).unwrap();
        assert_eq!((all[0].1.question.as_str(), all[0].1.expected.as_deref()), ("Find x.", Some("\\frac{3}{4}")));
        // Named fields come before a conversation that is there, too.
        let both = "{\"problem\":\"q\",\"solution\":\"a\",\"messages\":[]}";
        assert_eq!(pairs("both.jsonl", both, &["question=problem", "answer=solution"]), [pair("q", "a")]);
        let error = read_as("cot.jsonl", line, &[]).unwrap_err().to_string();
        assert!(error.contains(":1: neither \"question\"") && error.contains("\"problem\""), "{error}");
    }

    #[test]
    fn plain_text_is_learned_paragraph_by_paragraph() {
        let all = read_as("a.txt", "\none\ntwo\n\n \nthree", &[]).unwrap();
        assert_eq!(all, [(2, Problem::new("", "one\ntwo")), (6, Problem::new("", "three"))]);
        assert_eq!(pairs("t.jsonl", "{\"text\":\"x y\"}", &[]), [pair("", "x y")]);
    }

    #[test]
    fn what_is_no_problem_is_told_with_its_line() {
        for (name, text, line, says) in [
            ("a.jsonl", "{\"question\":\"q\",\"answer\":\"a\"}\nnot json", 2, "expected"),
            ("a.jsonl", "{\"question\":\"q\",\"answer\":null}", 1, "\"answer\" is null"),
            (
                "a.jsonl",
                "{\"prompt\":[{\"role\":\"user\",\"content\":\"a\"}],\"completion\":[]}",
                1,
                "no turn of the role \"assistant\"",
            ),
            ("a.jsonl", "{\"question\":\"q\",\"answer\":\" \"}", 1, "empty"),
            ("a.jsonl", "{\"question\":[],\"answer\":\"a\"}", 1, "is a list, and no text"),
            ("a.jsonl", "{\"question\":\" \",\"answer\":\"a\"}", 1, "\"text\" alone"),
            ("a.jsonl", "{\"question\":\"q\",\"answer\":\"a\"}\n{\"question\":\"q\"", 2, "(column 15); a line is"),
            ("a.jsonl", "{\"question\":\"q\",\"answer\":\"a\",\"answer\":\"b\"}", 1, "\"answer\" is there twice"),
            ("a.jsonl", "[\"q\",\"a\"]", 1, "expected an object"),
            ("a.json", "{\"question\":\"q\"}", 1, "one list of objects"),
            (
                "a.json",
                "[\n{\"x\":\"\\\"{\",\"question\":\"q\",\"answer\":\"a\"},\n\n {\"x\":[{}],\n\"question\":\"q\"}]",
                4,
                "neither",
            ),
            ("a.csv", "question,answer\nq,a\nq\n", 3, "1 fields, but the first line has 2"),
            ("a.csv", "question,answer\nq,\n", 2, "neither"),
            ("a.csv", "question,answer,question\nq,a,q\n", 1, "is there twice"),
            ("a.csv", "question,answer\nq,a\n\"q\"\"\",\"a\nq,a\n", 3, "not closed"),
        ] {
            let error = read_as(name, text, &[]).unwrap_err();
            assert!(matches!(&error, Error::Line { line: at, .. } if *at == line), "{name}: {error}");
            assert!(error.to_string().contains(says), "{name}: {error}");
        }
        let folder = testing::folder("format-latin1");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.jsonl");
        std::fs::write(&path, b"\n{\"question\":\"caf\xe9\"}").unwrap();
        assert!(matches!(read(&path, &Fields::default()), Err(Error::Line { line: 2, .. })));
        let parquet = read(Path::new("no-such.parquet"), &Fields::default()).unwrap_err();
        assert_eq!(matches!(parquet, Error::Io { .. }), cfg!(feature = "parquet"));
        assert_eq!(parquet.to_string().contains("--features parquet"), !cfg!(feature = "parquet"), "{parquet}");
        assert!("answer".parse::<FieldName>().is_err() && "colour=x".parse::<FieldName>().is_err());
    }
}
