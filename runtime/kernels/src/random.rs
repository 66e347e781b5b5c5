//! Pseudo-random numbers that are the same on every platform: choices of tokens and latents follow
//! from their seed.

/// The step of the sequence.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA
/// 2014): one addition and a finalizer, a full period of 2^64, and any seed is a good one.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator whose whole sequence follows from `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The generator of a place in a text, where the number of draws before it does not matter: its
    /// first output is number `place` (from 0) of the sequence of `seed`.
    pub const fn at(seed: u64, place: u64) -> Self {
        Self { state: seed.wrapping_add(GAMMA.wrapping_mul(place)) }
    }

    /// The next 64 random bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0.0..1.0`, one of 2^53 equally spaced ones.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    ///
    /// The high half of a 128-bit product (Lemire, "Fast random integer generation in an interval",
    /// 2019), without its rejection step: a bias below `bound / 2^64` is of no consequence here.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    /// The first outputs for seed 1234567, as the reference implementation prints them (Rosetta
    /// Code, `SplitMix64`).
    #[test]
    fn the_sequence_is_the_published_one() {
        let mut random = Random::new(1_234_567);
        let first: Vec<u64> = (0..5).map(|_| random.next_u64()).collect();
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(first, published);
        let at: Vec<u64> = (0..5).map(|place| Random::at(1_234_567, place).next_u64()).collect();
        assert_eq!(at, published);
    }

    #[test]
    fn numbers_stay_in_their_range() {
        let mut random = Random::new(7);
        assert!((0..10_000).map(|_| random.unit()).all(|u| (0.0..1.0).contains(&u)));
        assert!((0..10_000).map(|_| random.below(10)).all(|n| n < 10));
        assert_eq!(random.below(0), 0);
    }
}
