//! Segments: runs of tokens that share a latent. A latent may be held for a token, a line, or a
//! whole answer.
//!
//! A new latent is taken where the runtime takes one: at the first token of an answer, and, held
//! for lines, after each token whose text has a line feed.

use candle_core::{Device, Tensor};
use serde::Serializer;

use crate::error::Result;

pub use ollm_runtime::plugin::Hold;

/// As checkpoints and cached answers name it: they say "answer" where a latent is held for all of
/// it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
pub(crate) fn serialize_hold<S: Serializer>(hold: &Hold, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&if *hold == Hold::All { "answer".to_owned() } else { hold.to_string() })
}

/// The first row of each segment, and the number of rows at the end.
///
/// Row t predicts the token `next[t]`; `bounds` holds the first row of each problem, and the number
/// of rows at the end.
pub fn cut(hold: Hold, next: &[u32], bounds: &[usize], ends_line: &dyn Fn(u32) -> bool) -> Vec<u32> {
    let problems = bounds.windows(2).map(|problem| problem[0]..problem[1]);
    let last = problems.flat_map(|rows| {
        let ends = move |&row: &usize| match hold {
            Hold::Token => true,
            Hold::Tokens(count) => (row + 1 - rows.start).is_multiple_of(count.get() as usize),
            Hold::Line => ends_line(next[row]),
            Hold::All => false,
        };
        let end = rows.end;
        rows.clone().filter(move |row| row + 1 == end || ends(row))
    });
    std::iter::once(0).chain(last.map(|row| row as u32 + 1)).collect()
}

/// The segments of a batch, whose rows follow one another segment by segment.
pub struct Segments(Option<Spans>);

struct Spans {
    /// The first row of each segment. `[S]`, u32.
    starts: Tensor,
    /// The segment of each row. `[B]`, u32.
    owner: Tensor,
}

impl Segments {
    /// Each row is a segment.
    pub fn tokens() -> Self {
        Self(None)
    }

    /// Segments of these numbers of rows.
    pub fn new(lengths: &[u32], device: &Device) -> Result<Self> {
        let starts: Vec<u32> =
            lengths.iter().scan(0, |end, length| Some(std::mem::replace(end, *end + length))).collect();
        let owner = lengths.iter().zip(0u32..).flat_map(|(&length, segment)| (0..length).map(move |_| segment));
        let owner: Vec<u32> = owner.collect();
        Ok(Self(Some(Spans { starts: Tensor::new(starts, device)?, owner: Tensor::new(owner, device)? })))
    }

    /// Each segment's first row. `[B, n]` -> `[S, n]`.
    pub fn first(&self, rows: &Tensor) -> Result<Tensor> {
        Ok(match &self.0 {
            None => rows.clone(),
            Some(spans) => rows.index_select(&spans.starts, 0)?,
        })
    }

    /// The sum of each segment's rows. `[B, n]` -> `[S, n]`.
    pub fn sum(&self, rows: &Tensor) -> Result<Tensor> {
        let Some(spans) = &self.0 else { return Ok(rows.clone()) };
        let zeros = Tensor::zeros((spans.starts.dim(0)?, rows.dim(1)?), rows.dtype(), rows.device())?;
        Ok(zeros.index_add(&spans.owner, rows, 0)?)
    }

    /// What a segment has, for each of its rows. `[S, n]` -> `[B, n]`.
    pub fn spread(&self, segments: &Tensor) -> Result<Tensor> {
        Ok(match &self.0 {
            None => segments.clone(),
            Some(spans) => segments.index_select(&spans.owner, 0)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_ends_with_the_token_that_ends_its_line_and_never_spans_problems() {
        let (line_feed, bounds) = (|token| token == 9, [0, 4, 4, 7, 9]);
        let next = [1, 9, 9, 2, 9, 3, 9, 4, 5];
        assert_eq!(cut(Hold::Token, &next, &bounds, &line_feed), (0..=9).collect::<Vec<u32>>());
        assert_eq!(cut(Hold::Line, &next, &bounds, &line_feed), [0, 2, 3, 4, 5, 7, 9]);
        assert_eq!(cut(Hold::Tokens(3.try_into().unwrap()), &next, &bounds, &line_feed), [0, 3, 4, 7, 9]);
        assert_eq!(cut(Hold::All, &next, &bounds, &line_feed), [0, 4, 7, 9]);
    }

    #[test]
    fn rows_are_gathered_summed_and_spread_by_segment() {
        let device = Device::Cpu;
        let rows = Tensor::new(&[[1f32, 10.], [2., 20.], [3., 30.], [4., 40.]], &device).unwrap();
        let segments = Segments::new(&[1, 3], &device).unwrap();
        assert_eq!(segments.first(&rows).unwrap().to_vec2::<f32>().unwrap(), [[1., 10.], [2., 20.]]);
        let sums = segments.sum(&rows).unwrap();
        assert_eq!(sums.to_vec2::<f32>().unwrap(), [[1., 10.], [9., 90.]]);
        let spread = segments.spread(&sums).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(spread, [[1., 10.], [9., 90.], [9., 90.], [9., 90.]]);
        for same in [Segments::tokens().first(&rows), Segments::tokens().sum(&rows), Segments::tokens().spread(&rows)] {
            assert_eq!(same.unwrap().to_vec2::<f32>().unwrap(), rows.to_vec2::<f32>().unwrap());
        }
    }
}
