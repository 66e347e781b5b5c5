//! Mirostat 2: a draw whose surprise is steered.

use ollm_kernels::logits::LogitsError;

use super::options::Mirostat;
use super::pool::Pool;

/// The largest surprise that is allowed, in bits, after the tokens at these places (ascending).
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Surprise(Vec<(u64, f64)>);

impl Surprise {
    /// Draws a token from what is surprising at most so much, and steers the bound towards `tau`.
    /// What is remembered of this place and later ones is forgotten.
    pub(super) fn draw(
        &mut self,
        pool: &mut Pool,
        mirostat: Mirostat,
        seed: u64,
        place: u64,
    ) -> Result<u32, LogitsError> {
        let Mirostat { tau, eta } = mirostat;
        let kept = self.0.partition_point(|(earlier, _)| *earlier < place);
        self.0.truncate(kept);
        let bound = self.0.last().map_or(2.0 * f64::from(tau), |(_, bound)| *bound);
        pool.keep_unsurprising(bound)?;
        let token = pool.draw(seed, place)?;
        let error = pool.surprise(token)? - f64::from(tau);
        self.0.push((place, bound - f64::from(eta) * error));
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ollm_kernels::random::Random;

    const MIROSTAT: Mirostat = Mirostat { tau: 1.5, eta: 0.3 };

    fn logits(place: u64) -> Vec<f32> {
        let mut random = Random::at(9, place * 100);
        (0..20).map(|_| (random.unit() * 6.0) as f32).collect()
    }

    fn draw(surprise: &mut Surprise, place: u64) -> u32 {
        let mut pool = Pool::default();
        pool.fill(&logits(place)).unwrap();
        surprise.draw(&mut pool, MIROSTAT, 4, place).unwrap()
    }

    /// A plain program, in the order of the paper's algorithm 2.
    #[test]
    fn tokens_and_bounds_are_those_of_a_plain_program() {
        let (mut surprise, mut bound) = (Surprise::default(), 3.0);
        for place in 0..200 {
            let logits = logits(place);
            let total: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
            let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let bits = |l: f32, total: f64| -(f64::from(l).exp() / total).log2();
            let keep = |l: f32| l >= best || bits(l, total) <= bound;
            let kept: Vec<(usize, f32)> = logits.iter().copied().enumerate().filter(|(_, l)| keep(*l)).collect();
            let rest: f64 = kept.iter().map(|(_, l)| f64::from(*l).exp()).sum();
            let token = draw(&mut surprise, place);
            let found = kept.iter().find(|(i, _)| *i == token as usize);
            let (_, logit) = found.unwrap_or_else(|| panic!("{token} was left out at {place}"));
            bound -= f64::from(MIROSTAT.eta) * (bits(*logit, rest) - f64::from(MIROSTAT.tau));
            assert!((surprise.0.last().unwrap().1 - bound).abs() < 1e-9);
        }
    }

    #[test]
    fn a_rewound_text_goes_on_as_before() {
        let mut surprise = Surprise::default();
        let first: Vec<u32> = (0..60).map(|place| draw(&mut surprise, place)).collect();
        let mut fork = surprise.clone();
        assert_eq!((20..60).map(|place| draw(&mut surprise, place)).collect::<Vec<_>>(), first[20..]);
        assert_eq!((20..60).map(|place| draw(&mut fork, place)).collect::<Vec<_>>(), first[20..]);
        assert_eq!(surprise, fork);
    }
}
