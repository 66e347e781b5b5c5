//! Training text: problems as JSON lines, `{"question": "..", "answer": ".."}`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::data::hash::fnv1a;
use crate::error::{Error, Result};

/// A question and the text that answers it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Problem {
    /// What the user asks.
    pub question: String,
    /// What the assistant should say: the only part that is trained on.
    pub answer: String,
}

/// Problems in the order of their files.
pub struct Corpus {
    /// The problems.
    pub problems: Vec<Problem>,
    /// A hash of all of them, in hexadecimal: it names the feature cache.
    pub hash: String,
    /// File and line of each, counted from 1, where they come from files.
    places: Vec<(PathBuf, usize)>,
}

impl Corpus {
    /// Reads data files in the given order. Blank lines are skipped; anything else that is no
    /// problem is an error.
    pub fn read(paths: &[PathBuf]) -> Result<Self> {
        let (mut problems, mut places) = (Vec::new(), Vec::new());
        for path in paths {
            for (line, problem) in read_file(path)? {
                problems.push(problem);
                places.push((path.clone(), line));
            }
        }
        if problems.is_empty() {
            return Err(Error::NoData(paths.to_vec()));
        }
        Ok(Self { places, ..Self::new(problems) })
    }

    /// A corpus of these problems.
    pub fn new(problems: Vec<Problem>) -> Self {
        let parts = problems.iter().flat_map(|p| [p.question.as_bytes(), p.answer.as_bytes()]);
        let hash = format!("{:016x}", fnv1a(parts));
        Self { problems, hash, places: Vec::new() }
    }

    /// That something is wrong with a problem.
    pub fn refuse(&self, index: usize, reason: impl Into<String>) -> Error {
        let (path, line) = self.places.get(index).cloned().unwrap_or_else(|| ("problem".into(), index + 1));
        Error::Line { path, line, reason: reason.into() }
    }

    /// That no problem is left.
    pub fn no_data(&self) -> Error {
        let mut paths: Vec<_> = self.places.iter().map(|(path, _)| path.clone()).collect();
        paths.dedup();
        Error::NoData(paths)
    }

    /// The first problems, at most `limit` of them.
    pub fn first(&self, limit: Option<usize>) -> &[Problem] {
        &self.problems[..limit.unwrap_or(usize::MAX).min(self.problems.len())]
    }
}

/// The problems of a file, with their lines.
fn read_file(path: &Path) -> Result<Vec<(usize, Problem)>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let problem = |(line, text): (usize, &str)| match parse(text) {
        Ok(problem) => Ok((line, problem)),
        Err(reason) => Err(Error::Line { path: path.to_owned(), line, reason }),
    };
    lines.map(problem).collect()
}

fn parse(line: &str) -> std::result::Result<Problem, String> {
    let problem: Problem = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if problem.answer.trim().is_empty() { Err("the answer is empty".into()) } else { Ok(problem) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Corpus> {
        let path = crate::testing::folder(&format!("data-{name}"));
        std::fs::write(&path, text).unwrap();
        Corpus::read(&[path.to_path_buf()])
    }

    #[test]
    fn reads_problems_and_names_a_bad_line() {
        let good = "{\"question\":\"1+1?\",\"answer\":\"2\",\"id\":7,\"way\":\"once\"}\n\n{\"question\":\"q\",\"answer\":\"a\"}\n";
        let corpus = read("good", good).unwrap();
        assert_eq!(corpus.problems.len(), 2);
        assert_eq!(corpus.first(Some(1))[0].answer, "2");
        for bad in ["{\"question\":\"q\"}", "not json", "{\"question\":\"q\",\"answer\":\" \"}"] {
            let error = read("bad", &format!("{good}{bad}")).err().unwrap();
            assert!(matches!(error, Error::Line { line: 4, .. }), "{error}");
        }
        assert!(matches!(read("empty", "\n"), Err(Error::NoData(_))));
    }

    #[test]
    fn the_hash_follows_the_content() {
        let problem = |answer: &str| Problem { question: "q".into(), answer: answer.into() };
        assert_eq!(Corpus::new(vec![problem("a")]).hash, Corpus::new(vec![problem("a")]).hash);
        assert_ne!(Corpus::new(vec![problem("a")]).hash, Corpus::new(vec![problem("b")]).hash);
    }
}
