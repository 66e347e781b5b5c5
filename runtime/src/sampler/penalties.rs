//! What makes tokens of the history less likely.

use std::collections::BTreeMap;

use ollm_kernels::logits::LogitsError;

use super::options::{Dry, SamplerOptions};
use super::pool::Pool;

/// The repetition, presence and frequency penalties: of each distinct recent token.
pub(super) fn penalise(pool: &mut Pool, options: &SamplerOptions, history: &[u32]) -> Result<(), LogitsError> {
    let mut counts = BTreeMap::new();
    for &token in recent(history, options.repeat_last_n) {
        *counts.entry(token).or_insert(0_u32) += 1;
    }
    pool.change(&counts, |logit, &count| {
        let factor = options.repeat_penalty;
        // Whichever the sign: towards "less likely".
        let logit = if logit > 0.0 { logit / factor } else { logit * factor };
        logit - count as f32 * options.frequency_penalty - options.presence_penalty
    })
}

/// [`Dry`]: of each token that would go on with a repetition.
pub(super) fn dry(pool: &mut Pool, dry: &Dry, history: &[u32]) -> Result<(), LogitsError> {
    let repeated = repeated(recent(history, dry.last_n), &dry.breakers);
    let penalised = repeated.into_iter().filter(|(_, length)| *length >= dry.allowed_length);
    pool.change(&penalised.collect(), |logit, length| {
        // Multiplied out, as each platform does it alike; what is larger than all logits is enough.
        let mut penalty = dry.multiplier;
        for _ in dry.allowed_length..*length {
            penalty *= dry.base;
            if penalty > f32::MAX / 2.0 || dry.base <= 1.0 {
                break;
            }
        }
        logit - penalty
    })
}

/// For each token that followed an earlier occurrence of the end of `history`: the tokens of the
/// longest such end.
fn repeated(history: &[u32], breakers: &[u32]) -> BTreeMap<u32, usize> {
    let breaks = |token: &u32| breakers.binary_search(token).is_ok();
    let backwards: Vec<u32> = history.iter().rev().copied().collect();
    let most = backwards.iter().position(breaks).unwrap_or(backwards.len());
    let mut repeated = BTreeMap::new();
    for (&next, length) in backwards.iter().zip(&common_beginnings(&backwards)[1.min(backwards.len())..]) {
        let length = (*length).min(most);
        if length > 0 && !breaks(&next) {
            let longest = repeated.entry(next).or_insert(0);
            *longest = length.max(*longest);
        }
    }
    repeated
}

/// For each place, how many tokens from there on are those of the beginning (the Z function;
/// Gusfield 1997), in linear time.
fn common_beginnings(tokens: &[u32]) -> Vec<usize> {
    let mut lengths = vec![0; tokens.len()];
    // The part that is known to be a beginning and reaches farthest.
    let (mut start, mut end) = (0, 0);
    for i in 1..tokens.len() {
        let known = if i < end { lengths[i - start].min(end - i) } else { 0 };
        let more = tokens[i + known..].iter().zip(&tokens[known..]).take_while(|(a, b)| a == b).count();
        lengths[i] = known + more;
        if i + lengths[i] > end {
            (start, end) = (i, i + lengths[i]);
        }
    }
    lengths
}

fn recent(history: &[u32], n: usize) -> &[u32] {
    &history[history.len().saturating_sub(n)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_beginnings_are_counted() {
        let random = &mut ollm_kernels::random::Random::new(5);
        for length in 0..40 {
            let tokens: Vec<u32> = (0..length).map(|_| random.below(2) as u32).collect();
            let slow = |i: usize| tokens[i..].iter().zip(&tokens).take_while(|(a, b)| a == b).count();
            let expected: Vec<usize> = (0..length).map(|i| if i == 0 { 0 } else { slow(i) }).collect();
            assert_eq!(common_beginnings(&tokens), expected, "{tokens:?}");
        }
    }

    #[test]
    fn repetitions_are_found_and_do_not_reach_across_a_breaker() {
        let lengths = |history: &[u32], breakers: &[u32]| repeated(history, breakers).into_iter().collect::<Vec<_>>();
        // 1 2 3 .. 2 3 .. 1 2 3: 4 followed three tokens, 9 two.
        let history = [1, 2, 3, 4, 7, 2, 3, 9, 1, 2, 3];
        assert_eq!(lengths(&history, &[]), [(4, 3), (9, 2)]);
        assert_eq!(lengths(&history, &[2]), [(4, 1), (9, 1)]);
        assert_eq!(lengths(&history, &[3]), []);
        assert_eq!(lengths(&history, &[4]), [(9, 2)]);
        assert_eq!(lengths(&[], &[]), []);
        assert_eq!(lengths(&[5], &[]), []);
    }
}
