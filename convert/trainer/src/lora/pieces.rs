//! Problems that pass through the network together, and what is learned from them.

use candle_core::{Tensor, Var};

use crate::data::tensor_file::Tensors;
use crate::error::{Error, Result};
use crate::features::backbone::Example;
use crate::features::head::OutputHead;
use crate::features::segments::Segments;
use crate::features::states::FeatureBatch;
use crate::lora::adapters::Adapters;
use crate::lora::network::{Network, Sequences};
use crate::lora::workers::WorkerPools;
use crate::ranks::Ranks;
use crate::ranks::tree::{self, TreeSum};

/// An answer that is made more probable, or less.
#[derive(Clone, Copy)]
pub struct Target<'e> {
    example: &'e Example,
    /// What each of its tokens counts: 1 where it is only learned, its advantage where it is
    /// reinforced.
    weight: f32,
}

impl<'e> Target<'e> {
    /// An answer to learn.
    pub fn of(example: &'e Example) -> Self {
        Self::weighted(example, 1.0)
    }

    /// An answer whose tokens count that much.
    pub fn weighted(example: &'e Example, weight: f32) -> Self {
        Self { example, weight }
    }
}

/// Problems that pass through the network together.
pub struct Piece {
    sequences: Sequences,
    /// The answer token after each row that is asked for.
    next: Vec<u32>,
    /// What each of them counts.
    weights: Vec<f32>,
}

/// Sums over a piece.
pub struct PieceScore {
    /// Of `-log p`.
    pub loss: f64,
    /// Answer tokens that are the likeliest ones.
    pub right: f64,
}

/// Puts problems together until there are `tokens` of them. The longest first, so that pieces are
/// of similar size.
pub fn pieces(mut targets: Vec<Target<'_>>, tokens: usize) -> Vec<Piece> {
    targets.sort_by_key(|target| std::cmp::Reverse(target.example.tokens.len()));
    let mut pieces: Vec<Piece> = Vec::new();
    for target in targets {
        let fits = |piece: &Piece| piece.sequences.tokens.len() + target.example.tokens.len() <= tokens;
        if !pieces.last().is_some_and(fits) {
            pieces.push(Piece { sequences: Sequences::default(), next: Vec::new(), weights: Vec::new() });
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push(target);
        }
    }
    pieces
}

/// Tokens that run through the network.
pub fn total(pieces: &[Piece]) -> usize {
    pieces.iter().map(|piece| piece.sequences.tokens.len()).sum()
}

/// The loss, `-sum w log p / tokens` over the answers' tokens with their weights w, and its
/// gradients: the same for any number of workers and ranks, which share the pieces.
pub fn learn(
    pieces: &[Piece],
    tokens: usize,
    network: &Network,
    head: &OutputHead,
    adapters: &Adapters,
    workers: &WorkerPools,
    ranks: &Ranks,
) -> Result<(f64, Tensors)> {
    let mine = &pieces[ranks.share(pieces.len())];
    let (mut losses, mut gradients) = (Vec::new(), TreeSum::new(mine.len()));
    let work = |piece: &Piece| piece.learn(network, head, adapters, tokens);
    workers.each(mine, work, |(loss, gradient)| {
        losses.push(loss);
        gradients.push(gradient, tree::add)
    })?;
    Ok((ranks.gather_numbers(&losses)?.iter().sum(), ranks.sum(pieces.len(), gradients)?))
}

impl Piece {
    /// Answer tokens.
    pub fn rows(&self) -> usize {
        self.next.len()
    }

    fn push(&mut self, Target { example, weight }: Target<'_>) {
        let Example { tokens, answer_start } = example;
        self.sequences.push(&tokens[..tokens.len() - 1], answer_start - 1);
        self.next.extend(&tokens[*answer_start..]);
        self.weights.resize(self.next.len(), weight);
    }

    fn batch(&self, hidden: &Tensor) -> Result<FeatureBatch> {
        let next = Tensor::new(self.next.as_slice(), hidden.device())?;
        Ok(FeatureBatch { hidden: hidden.clone(), next, candidates: None, segments: Segments::tokens() })
    }

    /// The loss, as this piece's part of that over `tokens`, and its gradients.
    fn learn(
        &self,
        network: &Network,
        head: &OutputHead,
        adapters: &Adapters,
        tokens: usize,
    ) -> Result<(f64, Tensors)> {
        let (hidden, tape) = network.forward(&self.sequences)?;
        let hidden = Var::from_tensor(&hidden)?;
        let log_prob = head.log_prob(&hidden.unsqueeze(1)?, &self.batch(&hidden)?)?.squeeze(1)?;
        let weights = Tensor::new(self.weights.as_slice(), hidden.device())?;
        let loss = ((log_prob * weights)?.sum_all()? * -(tokens as f64).recip())?;
        let mut gradients = Tensors::new();
        if let Some(gradient) = loss.backward()?.get(&hidden) {
            network.backward(tape, gradient, &mut |matrix, x, gradient| {
                adapters.add_gradients(matrix, x, gradient, &mut gradients)
            })?;
        }
        Ok((f64::from(loss.to_scalar::<f32>()?), gradients))
    }

    /// How probable the answers are.
    pub fn score(&self, network: &Network, head: &OutputHead) -> Result<PieceScore> {
        let (hidden, _) = network.forward(&self.sequences)?;
        let (options, batch) = (hidden.unsqueeze(1)?, self.batch(&hidden)?);
        let sum = |tensor: Tensor| Ok::<_, Error>(f64::from(tensor.sum_all()?.to_scalar::<f32>()?));
        let loss = -sum(head.log_prob(&options, &batch)?)?;
        Ok(PieceScore { loss, right: sum(head.is_first(&options, &batch)?)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::counting_problems;

    #[test]
    fn pieces_are_full_and_hold_each_problem_once() {
        let problems = counting_problems(9, 1);
        let pieces = pieces(problems.iter().map(Target::of).collect(), 25);
        assert_eq!(pieces.iter().map(|piece| piece.sequences.ranges.len()).sum::<usize>(), 9);
        assert!(pieces.len() < 9 && pieces.iter().all(|piece| piece.sequences.tokens.len() <= 25));
        for piece in &pieces {
            let rows = piece.sequences.rows.iter().map(|&row| piece.sequences.tokens.get(row as usize + 1));
            let inside = rows.zip(&piece.next).filter(|(token, next)| *token == Some(next)).count();
            assert_eq!(inside, piece.next.len() - piece.sequences.ranges.len(), "all but each answer's last token");
        }
        let long = super::pieces(problems.iter().map(Target::of).collect(), 1);
        assert_eq!(long.len(), 9, "a problem longer than a pass is one of its own");
    }
}
