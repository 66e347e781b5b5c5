//! Random numbers that depend on nothing but a seed, a stream's name and an index.
//!
//! Every random choice of a run (initial weights, the order of an epoch, the Gumbel noise of a
//! step) opens its own stream. So there is no generator state to save: a resumed run draws what the
//! uninterrupted run would have drawn, and the CPU and a GPU see the same numbers.

/// `SplitMix64` (Steele, Lea, Flood 2014): one addition and one mixing function a number.
pub struct Rng(u64);

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl Rng {
    /// The stream `name` of `seed`, at `index` (an epoch or a step).
    pub fn stream(seed: u64, name: &str, index: u64) -> Self {
        let named = crate::data::hash::fnv1a([name.as_bytes()]);
        Self(mix(mix(seed ^ named).wrapping_add(index.wrapping_mul(GOLDEN_GAMMA))))
    }

    /// 64 random bits: the seed of another generator.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        mix(self.0)
    }

    /// Uniform on the open interval (0, 1): safe to take a logarithm of.
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    /// Uniform on 0..n, by Lemire's multiply-and-shift (its bias, n / 2^64, is of no account here).
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// Standard normal, by Box and Muller (one of the pair is thrown away).
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        (radius * (std::f64::consts::TAU * self.unit()).cos()) as f32
    }

    /// Standard Gumbel: `argmax(logits + gumbel)` is a sample of `softmax(logits)`.
    pub fn gumbel(&mut self) -> f32 {
        -((-self.unit().ln()).ln()) as f32
    }

    /// A uniformly random order of 0..n (Fisher and Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        for last in (1..n).rev() {
            order.swap(last, self.below(last as u64 + 1) as usize);
        }
        order
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_repeats_and_differs_from_its_neighbours() {
        let draw = |seed, name, index| Rng::stream(seed, name, index).bits();
        assert_eq!(draw(1, "init", 0), draw(1, "init", 0));
        for other in [draw(2, "init", 0), draw(1, "order", 0), draw(1, "init", 1)] {
            assert_ne!(draw(1, "init", 0), other);
        }
    }

    #[test]
    fn permutation_holds_each_index_once() {
        let mut order = Rng::stream(7, "order", 3).permutation(1000);
        assert_ne!(order[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        order.sort_unstable();
        assert!(order.iter().copied().eq(0..1000));
    }

    #[test]
    fn normal_and_gumbel_have_their_moments() {
        let mut rng = Rng::stream(0, "moments", 0);
        let n = 100_000;
        let normals: Vec<f32> = (0..n).map(|_| rng.normal()).collect();
        let mean = normals.iter().sum::<f32>() / n as f32;
        let variance = normals.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n as f32;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "mean {mean}, variance {variance}");
        let gumbel_mean = (0..n).map(|_| rng.gumbel()).sum::<f32>() / n as f32;
        assert!((gumbel_mean - 0.5772).abs() < 0.02, "mean {gumbel_mean}");
    }
}
