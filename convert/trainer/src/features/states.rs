//! Hidden states of the frozen backbone at the answer positions, cached on disk.
//!
//! The backbone never changes while a plugin is trained, so its forward pass is run once: for each
//! answer token the cache holds `h_t`, the state from which `x_{t+1}` is predicted, in f16, and
//! `x_{t+1}` itself. The question is read but not trained on. A row is `d * f16, u32`; a sequence
//! is a problem (none of its rows where it exceeds the context).

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Tensor};
use half::f16;
use ollm_runtime::plugin::Hold;
use ollm_runtime::plugin::schema::Backbone;

use crate::data::corpus::{Corpus, Problem};
use crate::data::hash::fnv1a;
use crate::data::records::{Header, Records};
use crate::error::{Error, Result};
use crate::features::backbone::{BackboneDescription, StateReader, StateSource};
use crate::features::candidates::{CandidateBatch, Candidates};
use crate::features::segments::{self, Segments};

/// Where the cache of a corpus lies in a folder of caches.
pub fn cache_path(folder: &Path, about: &BackboneDescription, corpus: &Corpus, kind: &str) -> PathBuf {
    let identity = fnv1a([about.identity().as_bytes()]);
    folder.join(format!("{}-{identity:016x}.{kind}", corpus.hash))
}

/// The header of a corpus' feature cache.
pub fn header(about: &BackboneDescription, corpus: &Corpus) -> Header {
    Header {
        kind: "features".into(),
        backbone: about.identity(),
        data: corpus.hash.clone(),
        columns: about.backbone.hidden,
        row_bytes: row_bytes(about.backbone.hidden),
    }
}

fn row_bytes(hidden: usize) -> usize {
    hidden * 2 + 4
}

/// Makes the caches go up to the first `limit` problems, running the backbone for those that are
/// missing.
///
/// Each of `threads` workers runs whole problems on one thread of its own: for small models that
/// scales better than sharing one product among all threads. `progress` is called with the tokens
/// of each finished problem.
pub fn extend<S: StateSource>(
    records: &mut Records,
    source: &S,
    problems: &[Problem],
    threads: usize,
    progress: &dyn Fn(usize),
) -> Result<()> {
    let missing = problems.get(records.sequences()..).unwrap_or(&[]);
    if missing.is_empty() {
        return Ok(());
    }
    // Enough problems a round that a long one does not leave the other workers idle for long.
    for round in missing.chunks(threads.max(1) * 8) {
        for rows in run_round(source, round, threads)? {
            records.append(&rows)?;
            progress(rows.len());
        }
    }
    Ok(())
}

/// The rows of a round's problems, in order, worked on by all threads.
fn run_round<S: StateSource>(source: &S, round: &[Problem], threads: usize) -> Result<Vec<Vec<u8>>> {
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Result<Vec<u8>>>> = round.iter().map(|_| Mutex::new(Ok(Vec::new()))).collect();
    let worker = || -> Result<()> {
        let mut reader = source.reader()?;
        while let Some((problem, slot)) = take(&next, round, &done) {
            *slot.lock().expect("no worker panics while it holds a slot") = problem_rows(source, &mut *reader, problem);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.clamp(1, round.len())).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|handle| handle.join().expect("a worker returns its errors"))
    })?;
    done.into_iter().map(|slot| slot.into_inner().expect("no worker panics while it holds a slot")).collect()
}

fn take<'a, A, B>(next: &AtomicUsize, left: &'a [A], right: &'a [B]) -> Option<(&'a A, &'a B)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    left.get(index).zip(right.get(index))
}

fn problem_rows<S: StateSource>(source: &S, reader: &mut dyn StateReader, problem: &Problem) -> Result<Vec<u8>> {
    let example = source.example(problem)?;
    let inputs = &example.tokens[..example.tokens.len() - 1];
    if inputs.len() > source.context() {
        return Ok(Vec::new());
    }
    let mut states = Vec::new();
    reader.states(inputs, &mut states)?;
    let hidden = states.len() / inputs.len();
    let first = example.answer_start - 1;
    encode_rows(&states[first * hidden..], &example.tokens[example.answer_start..])
}

fn encode_rows(states: &[f32], next: &[u32]) -> Result<Vec<u8>> {
    let hidden = states.len() / next.len();
    let mut rows = Vec::with_capacity(next.len() * row_bytes(hidden));
    for (state, token) in states.chunks_exact(hidden).zip(next) {
        encode_state(state, &mut rows)?;
        rows.extend(token.to_le_bytes());
    }
    Ok(rows)
}

fn encode_state(state: &[f32], rows: &mut Vec<u8>) -> Result<()> {
    for &value in state {
        let short = f16::from_f32(value);
        if !short.is_finite() {
            return Err(Error::NonFinite { what: "a hidden state (as f16)".into() });
        }
        rows.extend(short.to_le_bytes());
    }
    Ok(())
}

/// The cached states of a corpus, in the memory of a device.
pub struct Features {
    /// Hidden states. `[N, d]`, f16 (widened to f32 batch by batch).
    hidden: Tensor,
    /// The token after each state. `[N]`, u32.
    next: Tensor,
    /// First row of each problem, and N at the end.
    bounds: Vec<usize>,
    /// Candidate tokens of each row, where training uses them instead of the full head.
    candidates: Option<Candidates>,
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

impl Features {
    /// Loads the first `limit` sequences of a cache, which are states and tokens of `backbone`.
    pub fn load(records: &mut Records, backbone: &Backbone, limit: usize, device: &Device) -> Result<Self> {
        let &Backbone { hidden, vocab, .. } = backbone;
        let bounds = bounds(records.counts().take(limit));
        let rows = bounds[bounds.len() - 1];
        let (mut states, mut next) = (Vec::with_capacity(rows * hidden), Vec::with_capacity(rows));
        let mut bytes = Vec::new();
        for sequence in 0..bounds.len() - 1 {
            records.read(sequence, &mut bytes)?;
            bytes.chunks_exact(row_bytes(hidden)).for_each(|row| decode_row(row, &mut states, &mut next));
        }
        if next.iter().any(|&token| token as usize >= vocab) || !states.iter().all(|value| value.is_finite()) {
            return Err(records.bad("is damaged: delete it to have it made again"));
        }
        Self::new(states, next, hidden, bounds, device)
    }

    /// Features from rows in memory. `bounds` holds the first row of each problem, and the number
    /// of rows at the end.
    pub fn new(states: Vec<f16>, next: Vec<u32>, hidden: usize, bounds: Vec<usize>, device: &Device) -> Result<Self> {
        let rows = next.len();
        let hidden = Tensor::from_vec(states, (rows, hidden), device)?;
        Ok(Self { hidden, next: Tensor::from_vec(next, rows, device)?, bounds, candidates: None, cut: None })
    }

    /// The same features with candidates for each row.
    #[must_use]
    pub fn with_candidates(mut self, candidates: Candidates) -> Self {
        self.candidates = Some(candidates);
        self
    }

    /// The same features cut into the segments for which a latent is held. `ends_line`: whether a
    /// token ends a line.
    pub fn with_segments(mut self, hold: Hold, ends_line: &dyn Fn(u32) -> bool) -> Result<Self> {
        self.cut = match hold {
            Hold::Token => None,
            held => Some(segments::cut(held, &self.next()?, &self.bounds, ends_line)),
        };
        Ok(self)
    }

    /// The gold next token of each row.
    pub fn next(&self) -> Result<Vec<u32>> {
        Ok(self.next.to_vec1()?)
    }

    /// Whether training scores candidates instead of the whole vocabulary.
    pub fn has_candidates(&self) -> bool {
        self.candidates.is_some()
    }

    /// Number of rows: answer tokens.
    pub fn len(&self) -> usize {
        self.bounds[self.bounds.len() - 1]
    }

    /// No rows at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// First row of each problem, and the number of rows at the end.
    pub fn bounds(&self) -> &[usize] {
        &self.bounds
    }

    /// Problems without rows: those that exceed the context.
    pub fn left_out(&self) -> usize {
        self.bounds.windows(2).filter(|bounds| bounds[0] == bounds[1]).count()
    }

    /// Number of segments.
    pub fn segments(&self) -> usize {
        self.cut.as_ref().map_or(self.len(), |cut| cut.len() - 1)
    }

    /// The rows of the given segments, one segment after the other.
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
        Segments::new(&lengths, self.hidden.device())
    }

    /// The rows of a segment.
    pub fn rows_of(&self, segment: u32) -> Range<u32> {
        match &self.cut {
            None => segment..segment + 1,
            Some(cut) => cut[segment as usize]..cut[segment as usize + 1],
        }
    }

    /// The given rows, each a segment.
    pub fn batch(&self, rows: &[u32]) -> Result<FeatureBatch> {
        let rows = Tensor::new(rows, self.hidden.device())?;
        Ok(FeatureBatch {
            segments: Segments::tokens(),
            hidden: self.hidden.index_select(&rows, 0)?.to_dtype(DType::F32)?,
            next: self.next.index_select(&rows, 0)?,
            candidates: self.candidates.as_ref().map(|all| all.batch(&rows)).transpose()?,
        })
    }
}

fn bounds(counts: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut bounds = vec![0];
    bounds.extend(counts.scan(0, |end, count| {
        *end += count;
        Some(*end)
    }));
    bounds
}

fn decode_row(row: &[u8], states: &mut Vec<f16>, next: &mut Vec<u32>) {
    let (state, token) = row.split_at(row.len() - 4);
    states.extend(state.chunks_exact(2).map(|pair| f16::from_le_bytes([pair[0], pair[1]])));
    next.push(u32::from_le_bytes([token[0], token[1], token[2], token[3]]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestPath;

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

    use crate::features::backbone::Example;

    /// A backbone of this many tokens.
    fn backbone(vocab: usize) -> Backbone {
        crate::testing::description(2, vocab).backbone
    }

    fn corpus() -> Corpus {
        let problem = |question: &str, answer: &str| Problem::new(question, answer);
        Corpus::new(vec![problem("ab", "cd"), problem("much too long", "x"), problem("e", "fg")])
    }

    fn open(name: &str) -> (Records, Corpus, TestPath) {
        let corpus = corpus();
        let about = crate::testing::description(2, 256);
        let path = crate::testing::folder(&format!("features-{name}"));
        (Records::open(&path, &header(&about, &corpus)).unwrap(), corpus, path)
    }

    #[test]
    fn rows_are_the_states_before_each_answer_token() {
        let (mut records, corpus, _file) = open("rows");
        extend(&mut records, &ByteSource, corpus.first(None), 2, &|_| ()).unwrap();
        let features = Features::load(&mut records, &backbone(256), 3, &Device::Cpu).unwrap();
        assert_eq!((features.bounds(), features.left_out()), (&[0, 3, 3, 6][..], 1));
        // A token that there is not: the letters of the answers are above 99.
        let damaged = Features::load(&mut records, &backbone(100), 3, &Device::Cpu);
        assert!(damaged.err().is_some_and(|error| error.to_string().contains("delete it")));
        let batch = features.batch(&[0, 1, 2, 5]).unwrap();
        let letter = |letter: u8, position| vec![f32::from(letter), position];
        let expected = [letter(b'b', 1.), letter(b'c', 2.), letter(b'd', 3.), letter(b'g', 2.)];
        assert_eq!(batch.hidden.to_vec2::<f32>().unwrap(), expected);
        assert_eq!(batch.next.to_vec1::<u32>().unwrap(), b"cd..".map(u32::from));
    }

    #[test]
    fn extending_runs_only_what_is_missing() {
        let (mut records, corpus, _file) = open("extend");
        let problems = std::cell::Cell::new(0);
        for limit in [1, 1, 3, 2] {
            extend(&mut records, &ByteSource, corpus.first(Some(limit)), 1, &|_| problems.set(problems.get() + 1))
                .unwrap();
        }
        assert_eq!((problems.get(), records.sequences()), (3, 3));
        let features = Features::load(&mut records, &backbone(256), 1, &Device::Cpu).unwrap();
        assert_eq!(features.len(), 3);
    }

    #[test]
    fn a_batch_of_segments_has_whole_lines() {
        let next = b"ab\ncd\n.e.".map(u32::from);
        let states = (0u8..9).flat_map(|row| [f16::from(row), f16::ONE]).collect();
        let features = Features::new(states, next.to_vec(), 2, vec![0, 7, 9], &Device::Cpu).unwrap();
        assert_eq!(features.segments(), 9);
        let features = features.with_segments(Hold::Line, &|token| token == u32::from(b'\n')).unwrap();
        assert_eq!(features.segments(), 4);
        let batch = features.segment_batch(&[3, 0]).unwrap();
        assert_eq!(batch.next.to_vec1::<u32>().unwrap(), b"e.ab\n".map(u32::from));
        let first = batch.segments.first(&batch.hidden).unwrap();
        assert_eq!(first.to_vec2::<f32>().unwrap(), [[7., 1.], [0., 1.]]);
    }

    #[test]
    fn a_state_beyond_f16_is_an_error() {
        assert!(matches!(encode_rows(&[1e9], &[0]), Err(Error::NonFinite { .. })));
    }
}
