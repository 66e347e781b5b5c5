//! Training text: problems in the order of their files.

use std::path::PathBuf;

use crate::data::format::{self, Fields};
use crate::data::hash::fnv1a;
use crate::error::{Error, Result};

pub use crate::data::problem::{Problem, Turn};

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
    /// Reads data files in the given order, in any form of [`mod@format`].
    ///
    /// # Errors
    /// [`Error::Line`] for what is no problem, [`Error::NoData`] if there is none at all.
    pub fn read(paths: &[PathBuf], fields: &Fields) -> Result<Self> {
        let (mut problems, mut places) = (Vec::new(), Vec::new());
        for path in paths {
            for (line, problem) in format::read(path, fields)? {
                problems.push(problem);
                places.push((path.clone(), line));
            }
        }
        if problems.is_empty() {
            return Err(Error::NoData(paths.to_vec()));
        }
        Ok(Self { places, ..Self::new(problems) })
    }

    /// Holds out a share of the problems: the first of the two has the others. Which they are
    /// follows from each problem alone, so equal problems are never on both sides.
    ///
    /// # Errors
    /// [`Error::Setting`] if one side is empty.
    pub fn split(self, share: f64) -> Result<(Self, Self)> {
        let is_held_out = |problem: &Problem| {
            let alone = problem.before.is_empty() && problem.question.is_empty();
            let answer = if alone { problem.answer.as_bytes() } else { &[] };
            let turns = problem.before.iter().map(|turn| turn.content.as_bytes());
            let hash = fnv1a(turns.chain([problem.question.as_bytes(), answer]));
            // The upper bits are the better mixed ones.
            ((hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) as f64) < share * (1_u64 << 53) as f64
        };
        let places = self.places.into_iter().map(Some).chain(std::iter::repeat(None));
        let (held_out, rest): (Vec<_>, Vec<_>) =
            self.problems.into_iter().zip(places).partition(|(problem, _)| is_held_out(problem));
        if held_out.is_empty() || rest.is_empty() {
            let reason = "leaves one side without a problem: take another share, or more data".into();
            return Err(Error::Setting { name: "--split", reason });
        }
        let corpus = |side: Vec<(Problem, Option<(PathBuf, usize)>)>| {
            let (problems, places): (Vec<_>, Vec<_>) = side.into_iter().unzip();
            Self { places: places.into_iter().flatten().collect(), ..Self::new(problems) }
        };
        Ok((corpus(rest), corpus(held_out)))
    }

    /// Without those of the first `limit` problems that `keep` refuses, and how many they are.
    /// Where there are none the corpus stays as it is; else what is behind the limit goes, too.
    ///
    /// # Errors
    /// What `keep` fails with; [`Error::NoData`] if no problem is left.
    pub fn keep_first(self, limit: Option<usize>, keep: impl FnMut(&Problem) -> Result<bool>) -> Result<(Self, usize)> {
        let kept: Vec<bool> = self.first(limit).iter().map(keep).collect::<Result<_>>()?;
        let left_out = kept.iter().filter(|kept| !**kept).count();
        if left_out == 0 {
            return Ok((self, 0));
        }
        if left_out == kept.len() {
            return Err(self.no_data());
        }
        let places = self.places.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(place, _)| place.clone()).collect();
        let problems = self.problems.into_iter().zip(kept).filter_map(|(problem, kept)| kept.then_some(problem));
        Ok((Self { places, ..Self::new(problems.collect()) }, left_out))
    }

    /// A corpus of these problems.
    pub fn new(problems: Vec<Problem>) -> Self {
        let hash = format!("{:016x}", fnv1a(problems.iter().flat_map(Problem::parts)));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Corpus> {
        let path = crate::testing::folder(&format!("data-{name}"));
        std::fs::write(&path, text).unwrap();
        Corpus::read(&[path.to_path_buf()], &Fields::default())
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
    fn problems_that_are_refused_go_and_the_others_keep_their_lines() {
        let line = |question: &str| format!("{{\"question\":\"{question}\",\"answer\":\"a\"}}\n");
        let text: String = ["long long", "x", "y", "long"].map(line).concat();
        let corpus = || read("keep", &text).unwrap();
        let short = |problem: &Problem| Ok(problem.question.len() < 2);
        let (kept, left_out) = corpus().keep_first(Some(3), short).unwrap();
        assert_eq!((kept.problems.len(), left_out, kept.problems[0].question.as_str()), (2, 1, "x"));
        assert!(matches!(kept.refuse(0, "bad"), Error::Line { line: 2, .. }));
        let (all, none) = corpus().keep_first(Some(3), |_| Ok(true)).unwrap();
        assert_eq!((all.hash, all.problems.len(), none), (corpus().hash, 4, 0));
        assert!(matches!(corpus().keep_first(Some(1), short), Err(Error::NoData(_))));
    }

    #[test]
    fn the_hash_follows_the_content() {
        let problem = |answer: &str| Problem::new("q", answer);
        assert_eq!(Corpus::new(vec![problem("a")]).hash, Corpus::new(vec![problem("a")]).hash);
        assert_ne!(Corpus::new(vec![problem("a")]).hash, Corpus::new(vec![problem("b")]).hash);
    }

    #[test]
    fn a_share_is_held_out_and_equal_questions_stay_together() {
        let problems: Vec<Problem> = (0..1000).map(|i| Problem::new(format!("q{}", i % 500), "a")).collect();
        let (rest, held_out) = Corpus::new(problems).split(0.1).unwrap();
        assert_eq!(rest.problems.len() + held_out.problems.len(), 1000);
        assert!((60..140).contains(&held_out.problems.len()), "{}", held_out.problems.len());
        assert!(held_out.problems.iter().all(|problem| !rest.problems.contains(problem)));
        let texts: Vec<Problem> = (0..200).map(|i| Problem::new("", format!("text {i}"))).collect();
        assert!((5..40).contains(&Corpus::new(texts).split(0.1).unwrap().1.problems.len()));
        for share in [0.0, 1.0] {
            assert!(matches!(Corpus::new(vec![Problem::new("q", "a")]).split(share), Err(Error::Setting { .. })));
        }
    }
}
