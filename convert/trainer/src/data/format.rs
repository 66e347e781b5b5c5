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
//! An object has `question` and `answer`; or `prompt` and `completion`; or `messages`, a
//! conversation of which each turn of the assistant is a problem; or `text`, which is learned as it
//! is. `system` stands before the question, `expected` is the final answer where `answer` does not
//! end with it. Other fields are passed over. [`Fields`] gives them other names.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

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
            Some(_) => Err(format!("{:?} is no text", self.name(role))),
        }
    }

    /// The problems of an object.
    fn problems(&self, object: &Map<String, Value>) -> std::result::Result<Vec<Problem>, String> {
        let system = self.text(object, "system")?.map(|content| Turn { role: "system".into(), content });
        let expected = self.text(object, "expected")?;
        // Fields that were named come before those that happen to be there.
        let pair_is_named =
            self.0.iter().any(|field| ["question", "answer", "prompt", "completion"].contains(&field.role));
        if let Some(messages) = self.get(object, "messages").filter(|_| !pair_is_named) {
            let mut problems = conversation(messages, system)?;
            if let Some(last) = problems.last_mut() {
                last.expected = expected;
            }
            return Ok(problems);
        }
        for (question, answer) in [("question", "answer"), ("prompt", "completion")] {
            if let (Some(question), Some(answer)) = (self.text(object, question)?, self.text(object, answer)?) {
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

    fn missing(&self, object: &Map<String, Value>) -> String {
        let named: Vec<&str> = ROLES[..6].iter().map(|role| self.name(role)).collect();
        let there = object.keys().map(|key| format!("{key:?}")).collect::<Vec<_>>().join(", ");
        format!(
            "neither {:?} and {:?}, nor {:?} and {:?}, nor {:?}, nor {:?}: there are {there}; --field ROLE=NAME says \
             which is which",
            named[0], named[1], named[2], named[3], named[4], named[5]
        )
    }
}

/// A problem for each turn of the assistant.
fn conversation(messages: &Value, system: Option<Turn>) -> std::result::Result<Vec<Problem>, String> {
    let messages = messages.as_array().ok_or("messages are a list of {\"role\", \"content\"}")?;
    let (mut turns, mut problems): (Vec<Turn>, Vec<Problem>) = (system.into_iter().collect(), Vec::new());
    for message in messages {
        let turn = turn(message)?;
        match turns.split_last().filter(|(last, _)| last.role == "user" && turn.role == "assistant") {
            Some((question, before)) if !turn.content.trim().is_empty() => problems.push(Problem {
                before: before.to_vec(),
                ..Problem::new(question.content.clone(), turn.content.clone())
            }),
            None if turn.role == "assistant" => return Err("a turn of the assistant follows no user's".into()),
            _ => {}
        }
        turns.push(turn);
    }
    if problems.is_empty() { Err("no turn of the assistant has text".into()) } else { Ok(problems) }
}

/// A turn, whose content is text or a list of parts with text.
fn turn(message: &Value) -> std::result::Result<Turn, String> {
    let role = message["role"].as_str().ok_or("a message has no \"role\"")?;
    let part = |part: &Value| part["text"].as_str().or(part.as_str()).map(str::to_owned);
    let content = match &message["content"] {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => parts.iter().map(part).collect(),
        _ => None,
    };
    let content = content.ok_or_else(|| format!("the content of a message of {role:?} is no text"))?;
    Ok(Turn { role: role.into(), content })
}

/// The problems of a file, each with its line (of a list or a Parquet file: its number), counted
/// from 1.
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
                return Err(refuse("the answer is empty".into()));
            }
            all.push((line, problem));
        }
    }
    Ok(all)
}

type Object = (usize, Map<String, Value>);

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
        let refuse = |error: serde_json::Error| Error::Line { path: path.to_owned(), line, reason: error.to_string() };
        Ok((line, serde_json::from_str(text).map_err(refuse)?))
    };
    lines.map(object).collect()
}

fn list(path: &Path, text: &str) -> Result<Vec<Object>> {
    let refuse = |error: serde_json::Error| Error::Line {
        path: path.to_owned(),
        line: error.line(),
        reason: format!("{error}; a .json file is one list of objects"),
    };
    let objects: Vec<Map<String, Value>> = serde_json::from_str(text).map_err(refuse)?;
    Ok((1..).zip(objects).collect())
}

fn table(path: &Path, text: &str, delimiter: u8) -> Result<Vec<Object>> {
    let refuse = |error: &csv::Error| {
        let line = error.position().map_or(1, |place| place.line() as usize);
        Error::Line { path: path.to_owned(), line, reason: error.to_string() }
    };
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(text.as_bytes());
    let names = reader.headers().map_err(|error| refuse(&error))?.clone();
    let mut objects = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| refuse(&error))?;
        let line = record.position().map_or(1, |place| place.line() as usize);
        // An empty cell is no field.
        let cells = names.iter().zip(&record).filter(|(_, cell)| !cell.is_empty());
        objects.push((line, cells.map(|(name, cell)| (name.to_owned(), cell.into())).collect()));
    }
    Ok(objects)
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
        let csv = "id,question,answer\r\n1,1 + 1?,\"2, \"\"two\"\"\"\r\n2,\"a\nb\",c\r\n";
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
            (message("assistant", "\"Hello\""), "follows no user"),
            (message("user", "\"Hi\""), "no turn of the assistant"),
            (message("user", "7"), "is no text"),
            ("{\"content\":\"x\"}".into(), "no \"role\""),
        ] {
            let error = read_as("bad.jsonl", &format!("{{\"messages\":[{bad}]}}"), &[]).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
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
            ("a.jsonl", "{\"question\":\"q\",\"answer\":\" \"}", 1, "empty"),
            ("a.jsonl", "{\"question\":[],\"answer\":\"a\"}", 1, "no text"),
            ("a.json", "{\"question\":\"q\"}", 1, "one list of objects"),
            ("a.csv", "question,answer\nq,a\nq\n", 3, "fields"),
            ("a.csv", "question,answer\nq,\n", 2, "neither"),
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
