//! The hidden states of a text, and what training reads of them: batches of rows.
//!
//! The backbone never changes while a plugin is trained: for each answer token a row holds `h_t`,
//! the state from which `x_{t+1}` is predicted, in f16, and `x_{t+1}` itself as its key. The
//! question is read but not trained on. Where rows come from, [`RowSource`] says.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use candle_core::{DType, Device, Tensor};
use half::f16;
use ollm_runtime::plugin::Hold;

use crate::error::Result;
use crate::features::backbone::BackboneDescription;
use crate::features::candidates::{CandidateBatch, Candidates};
use crate::features::rows::{InMemory, ProblemRows, RowSource};
use crate::features::segments::{self, Segments};
use crate::features::shards::{RowKind, Shards};

/// The shards of a backbone's states in a folder.
pub fn row_kind<'a>(folder: &'a Path, about: &BackboneDescription) -> RowKind<'a> {
    let columns = about.backbone.hidden;
    let (kind, backbone) = ("features".to_owned(), about.identity());
    RowKind { folder, ending: "features", kind, backbone, columns, row_bytes: columns * 2 }
}

/// The states of a text. A clone shares them.
#[derive(Clone)]
pub struct StateRows<'a> {
    source: Rc<dyn RowSource + 'a>,
    /// The token after each state.
    next: Rc<Vec<u32>>,
    /// First row of each problem, and N at the end.
    bounds: Rc<Vec<usize>>,
    hidden: usize,
    device: Device,
}

impl<'a> StateRows<'a> {
    /// Rows of `source`; `next` holds the token after each state, `bounds` the first row of each
    /// problem and the number of rows at the end.
    pub fn new(
        source: Rc<dyn RowSource + 'a>,
        next: Vec<u32>,
        bounds: Vec<usize>,
        hidden: usize,
        device: &Device,
    ) -> Self {
        Self { source, next: Rc::new(next), bounds: Rc::new(bounds), hidden, device: device.clone() }
    }

    /// The rows of shards.
    pub fn of_shards(shards: Shards, about: &BackboneDescription, device: &Device) -> Result<StateRows<'static>> {
        let (next, bounds) = (shards.keys(about.backbone.vocab)?, shards.bounds());
        Ok(StateRows::new(Rc::new(shards), next, bounds, about.backbone.hidden, device))
    }

    /// The problem of a row, and which of its rows it is.
    pub(super) fn place(&self, row: u32) -> (usize, usize) {
        let problem = self.bounds.partition_point(|&bound| bound <= row as usize) - 1;
        (problem, row as usize - self.bounds[problem])
    }

    /// The rows of a problem.
    pub(super) fn rows(&self, problem: usize) -> Vec<u32> {
        (self.bounds[problem] as u32..self.bounds[problem + 1] as u32).collect()
    }

    /// The tokens after these rows.
    pub(super) fn next(&self, rows: &[u32]) -> Vec<u32> {
        rows.iter().map(|&row| self.next[row as usize]).collect()
    }

    /// The states of these rows. `[B, d]`, f32.
    pub(super) fn hidden(&self, rows: &[u32]) -> Result<Tensor> {
        let mut states = Vec::with_capacity(rows.len() * self.hidden);
        for &row in rows {
            let ((problem, row), start) = (self.place(row), states.len());
            self.source.visit(problem, &mut |view| {
                states.extend(view.row(row).chunks_exact(2).map(|pair| f16::from_le_bytes([pair[0], pair[1]])));
            });
            if !states[start..].iter().all(|value| value.is_finite()) {
                return Err(self.source.damaged(problem));
            }
        }
        Ok(Tensor::from_vec(states, (rows.len(), self.hidden), &self.device)?.to_dtype(DType::F32)?)
    }
}

/// The states of a text, with what else training needs of each row.
pub struct Features<'a> {
    states: StateRows<'a>,
    /// Candidate tokens of each row, where training uses them instead of the full head.
    candidates: Option<Candidates<'a>>,
    /// First row of each segment, and N at the end; none: each row is a segment.
    cut: Option<Vec<u32>>,
}

/// Some rows of [`Features`].
pub struct FeatureBatch {
    /// h. `[B, d]`, f32.
    pub hidden: Tensor,
    /// The gold next token. `[B]`, u32.
    pub next: Tensor,
    /// The candidates of these rows.
    pub candidates: Option<CandidateBatch>,
    /// The segments that these rows form.
    pub segments: Segments,
}

impl FeatureBatch {
    /// B, the number of rows.
    pub fn len(&self) -> usize {
        self.next.elem_count()
    }

    /// No rows at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> Features<'a> {
    /// Features of these states.
    pub fn of(states: StateRows<'a>) -> Self {
        Self { states, candidates: None, cut: None }
    }

    /// Features from rows in memory. `bounds` holds the first row of each problem, and the number
    /// of rows at the end.
    pub fn new(states: &[f16], next: Vec<u32>, hidden: usize, bounds: Vec<usize>, device: &Device) -> Self {
        let bytes = |rows: &Range<usize>| {
            let states = &states[rows.start * hidden..rows.end * hidden];
            states.iter().flat_map(|value| value.to_le_bytes()).collect()
        };
        let ranges = bounds.windows(2).map(|problem| problem[0]..problem[1]);
        let rows = ranges.map(|rows| ProblemRows::new(&next[rows.clone()], bytes(&rows))).collect();
        Self::of(StateRows::new(Rc::new(InMemory(rows)), next, bounds, hidden, device))
    }

    /// The states alone.
    pub fn states(&self) -> &StateRows<'a> {
        &self.states
    }

    /// The same features with candidates for each row.
    #[must_use]
    pub fn with_candidates(mut self, candidates: Candidates<'a>) -> Self {
        self.candidates = Some(candidates);
        self
    }

    /// The same features cut into the segments for which a latent is held. `ends_line`: whether a
    /// token ends a line.
    #[must_use]
    pub fn with_segments(mut self, hold: Hold, ends_line: &dyn Fn(u32) -> bool) -> Self {
        self.cut = match hold {
            Hold::Token => None,
            held => Some(segments::cut(held, self.next(), self.bounds(), ends_line)),
        };
        self
    }

    /// The gold next token of each row.
    pub fn next(&self) -> &[u32] {
        &self.states.next
    }

    /// Whether training scores candidates instead of the whole vocabulary.
    pub fn has_candidates(&self) -> bool {
        self.candidates.is_some()
    }

    /// Number of rows: answer tokens.
    pub fn len(&self) -> usize {
        self.next().len()
    }

    /// No rows at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// First row of each problem, and the number of rows at the end.
    pub fn bounds(&self) -> &[usize] {
        &self.states.bounds
    }

    /// Problems without rows: those that exceed the context.
    pub fn left_out(&self) -> usize {
        self.bounds().windows(2).filter(|bounds| bounds[0] == bounds[1]).count()
    }

    /// Number of segments.
    pub fn segments(&self) -> usize {
        self.cut.as_ref().map_or(self.len(), |cut| cut.len() - 1)
    }

    /// First segment of each problem, and the number of segments at the end.
    pub fn segment_bounds(&self) -> Vec<usize> {
        let of = |&row: &usize| match &self.cut {
            None => row,
            Some(cut) => cut.partition_point(|&start| (start as usize) < row),
        };
        self.bounds().iter().map(of).collect()
    }

    /// Makes the rows of these segments available, where they are computed anew. All ranks call it
    /// with the same segments.
    pub fn prepare(&self, segments: &[u32]) -> Result<()> {
        let rows = segments.iter().flat_map(|&segment| self.rows_of(segment));
        let problems: BTreeSet<usize> = rows.map(|row| self.states.place(row).0).collect();
        let problems: Vec<usize> = problems.into_iter().collect();
        self.states.source.prepare(&problems)?;
        self.candidates.as_ref().map_or(Ok(()), |candidates| candidates.prepare(&problems))
    }

    /// The rows of the given segments, one segment after the other; they must be prepared.
    pub fn segment_batch(&self, segments: &[u32]) -> Result<FeatureBatch> {
        let rows: Vec<u32> = segments.iter().flat_map(|&segment| self.rows_of(segment)).collect();
        Ok(FeatureBatch { segments: self.segments_of(segments)?, ..self.batch(&rows)? })
    }

    /// How the rows of the given segments form them.
    pub fn segments_of(&self, segments: &[u32]) -> Result<Segments> {
        if self.cut.is_none() {
            return Ok(Segments::tokens());
        }
        let lengths: Vec<u32> = segments.iter().map(|&segment| self.rows_of(segment).len() as u32).collect();
        Segments::new(&lengths, &self.states.device)
    }

    /// The rows of a segment.
    pub fn rows_of(&self, segment: u32) -> Range<u32> {
        match &self.cut {
            None => segment..segment + 1,
            Some(cut) => cut[segment as usize]..cut[segment as usize + 1],
        }
    }

    /// The given rows, each a segment; they must be prepared.
    pub fn batch(&self, rows: &[u32]) -> Result<FeatureBatch> {
        let places = || rows.iter().map(|&row| self.states.place(row));
        Ok(FeatureBatch {
            segments: Segments::tokens(),
            hidden: self.states.hidden(rows)?,
            next: Tensor::new(self.states.next(rows), &self.states.device)?,
            candidates: self.candidates.as_ref().map(|all| all.batch(&mut places())).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::corpus::{Corpus, Problem};
    use crate::features::backbone::{Example, StateReader, StateSource};
    use crate::features::rows;
    use crate::features::stream::Streamed;
    use crate::ranks::Ranks;

    /// Tokens are the bytes of the text; the state of a token is its value and its position.
    struct ByteSource;

    impl StateSource for ByteSource {
        fn example(&self, problem: &Problem) -> Result<Example> {
            let text = format!("{}{}.", problem.question, problem.answer);
            Ok(Example { tokens: text.bytes().map(u32::from).collect(), answer_start: problem.question.len() })
        }

        fn reader(&self) -> Result<Box<dyn StateReader + '_>> {
            Ok(Box::new(ByteSource))
        }

        fn context(&self) -> usize {
            8
        }
    }

    impl StateReader for ByteSource {
        fn states(&mut self, tokens: &[u32], out: &mut Vec<f32>) -> Result<()> {
            out.extend(tokens.iter().enumerate().flat_map(|(i, &token)| [token as f32, i as f32]));
            Ok(())
        }
    }

    fn corpus() -> Corpus {
        let problem = |question: &str, answer: &str| Problem::new(question, answer);
        Corpus::new(vec![problem("ab", "cd"), problem("much too long", "x"), problem("e", "fg")])
    }

    fn load(folder: &Path, limit: usize, vocab: usize, made: &mut usize) -> Result<Features<'static>> {
        let (corpus, about) = (corpus(), crate::testing::description(2, vocab));
        let problems = corpus.first(Some(limit));
        let shards = Shards::open(&row_kind(folder, &about), problems, &Ranks::alone(), &mut |range| {
            *made += range.len();
            rows::compute(&ByteSource, &problems[range].iter().collect::<Vec<_>>(), 2)
        })?;
        Ok(Features::of(StateRows::of_shards(shards, &about, &Device::Cpu)?))
    }

    #[test]
    fn rows_are_the_states_before_each_answer_token() {
        let folder = crate::testing::folder("features-rows");
        let features = load(&folder, 3, 256, &mut 0).unwrap();
        assert_eq!((features.bounds(), features.left_out()), (&[0, 3, 3, 6][..], 1));
        let batch = features.batch(&[0, 1, 2, 5]).unwrap();
        let letter = |letter: u8, position| vec![f32::from(letter), position];
        let expected = [letter(b'b', 1.), letter(b'c', 2.), letter(b'd', 3.), letter(b'g', 2.)];
        assert_eq!(batch.hidden.to_vec2::<f32>().unwrap(), expected);
        assert_eq!(batch.next.to_vec1::<u32>().unwrap(), b"cd..".map(u32::from));
        // A token that there is not: the letters of the answers are above 99.
        let damaged = load(&folder, 3, 100, &mut 0);
        assert!(damaged.err().is_some_and(|error| error.to_string().contains("delete it")));
    }

    #[test]
    fn only_what_is_missing_is_run() {
        let (folder, mut made) = (crate::testing::folder("features-extend"), 0);
        for limit in [3, 3, 3] {
            assert_eq!(load(&folder, limit, 256, &mut made).unwrap().len(), 6);
        }
        assert_eq!(made, 3);
        assert_eq!(load(&folder, 1, 256, &mut made).unwrap().len(), 3);
    }

    #[test]
    fn streamed_rows_are_those_of_the_disk() {
        let (folder, corpus) = (crate::testing::folder("features-stream"), corpus());
        let cached = load(&folder, 3, 256, &mut 0).unwrap();
        let make = |problems: &[usize]| {
            rows::compute(&ByteSource, &problems.iter().map(|&i| &corpus.problems[i]).collect::<Vec<_>>(), 1)
        };
        let source = Rc::new(Streamed::new(1, &Ranks::alone(), Box::new(make)));
        let next = corpus.problems.iter().map(|problem| rows::targets(&ByteSource, problem).unwrap());
        let states = StateRows::new(source, next.flatten().collect(), cached.bounds().to_vec(), 2, &Device::Cpu);
        let streamed = Features::of(states);
        assert_eq!(streamed.next(), cached.next());
        for rows in [&[5, 0][..], &[1, 2], &[3]] {
            streamed.prepare(rows).unwrap();
            let hidden = |features: &Features<'_>| features.batch(rows).unwrap().hidden.to_vec2::<f32>().unwrap();
            assert_eq!(hidden(&streamed), hidden(&cached));
        }
    }

    #[test]
    fn a_batch_of_segments_has_whole_lines() {
        let next = b"ab\ncd\n.e.".map(u32::from);
        let states: Vec<f16> = (0u8..9).flat_map(|row| [f16::from(row), f16::ONE]).collect();
        let features = Features::new(&states, next.to_vec(), 2, vec![0, 7, 9], &Device::Cpu);
        assert_eq!(features.segments(), 9);
        let features = features.with_segments(Hold::Line, &|token| token == u32::from(b'\n'));
        assert_eq!((features.segments(), features.segment_bounds()), (4, vec![0, 3, 4]));
        let batch = features.segment_batch(&[3, 0]).unwrap();
        assert_eq!(batch.next.to_vec1::<u32>().unwrap(), b"e.ab\n".map(u32::from));
        let first = batch.segments.first(&batch.hidden).unwrap();
        assert_eq!(first.to_vec2::<f32>().unwrap(), [[7., 1.], [0., 1.]]);
    }
}
