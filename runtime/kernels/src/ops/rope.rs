//! Rotary position embedding (Su et al. 2021, arXiv 2104.09864).

use crate::memory::{self, OutOfMemory};

/// Which two elements of a head are rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairing {
    /// `2i` and `2i + 1` (llama files of ggml, whose rows were permuted for it).
    Adjacent,
    /// `i` and `i + size / 2` (GPT-NeoX; qwen2, qwen3, gemma).
    Halves,
}

/// How the heads of a layer are rotated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rotation {
    /// Radians a position, for each rotated pair of a head.
    pub frequencies: Vec<f32>,
    /// What cosines and sines are multiplied by: the attention factor of `YaRN` (Peng et al. 2023,
    /// arXiv 2309.00071, section 3.4); 1 for most models.
    pub magnitude: f32,
}

/// Cosines and sines of `count` positions: `[count][size / 2]` each.
#[derive(Debug, Default)]
pub struct RopeTable {
    half: usize,
    count: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RopeTable {
    /// Empties the table, for rotations of `half` frequencies.
    pub fn begin(&mut self, half: usize) {
        (self.half, self.count) = (half, 0);
        self.cos.clear();
        self.sin.clear();
    }

    /// Adds `positions`, rotated so.
    pub fn extend(&mut self, rotation: &Rotation, positions: impl Iterator<Item = usize>) {
        debug_assert_eq!(rotation.frequencies.len(), self.half);
        for position in positions {
            self.count += 1;
            for &frequency in &rotation.frequencies {
                let (sin, cos) = sin_cos(position as f32 * frequency);
                self.cos.push(cos * rotation.magnitude);
                self.sin.push(sin * rotation.magnitude);
            }
        }
    }

    /// Makes room for `count` positions of `half` frequencies.
    ///
    /// # Errors
    /// [`OutOfMemory`] if it cannot be had.
    pub fn reserve(&mut self, half: usize, count: usize) -> Result<(), OutOfMemory> {
        memory::reserve(&mut self.cos, half * count)?;
        memory::reserve(&mut self.sin, half * count)
    }

    /// Positions in the table.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the table holds no position.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The cosines and sines of the `i`-th position of the table.
    fn row(&self, i: usize) -> impl Iterator<Item = (&f32, &f32)> {
        let range = i * self.half..(i + 1) * self.half;
        self.cos[range.clone()].iter().zip(&self.sin[range])
    }
}

/// Sine and cosine of an angle (radians), within a unit in the last place, in operations that IEEE
/// 754 defines to the last bit: those of the standard library depend on the platform's C library.
///
/// Range reduction to a quarter turn (angles of up to `2^28`), and the polynomials of FreeBSD's
/// `k_sinf.c` and `k_cosf.c` (Sun Microsystems, netlib's fdlibm).
fn sin_cos(angle: f32) -> (f32, f32) {
    const SIN: [f64; 4] =
        [-0.166_666_666_416_265_24, 0.008_333_329_385_889_463, -0.000_198_393_348_360_966_32, 2.718_311_493_989_822e-6];
    const COS: [f64; 4] =
        [-0.499_999_997_251_031, 0.041_666_623_323_739_06, -0.001_388_676_377_460_993, 2.439_044_879_627_741e-5];
    // Pi / 2 in two parts, the first with so few bits that its product with n is exact.
    const QUARTER_HIGH: f64 = 1.570_796_310_901_641_8;
    const QUARTER_LOW: f64 = 1.589_325_477_352_819_6e-8;
    let angle = f64::from(angle);
    let n = (angle * std::f64::consts::FRAC_2_PI).round_ties_even();
    let r = (angle - n * QUARTER_HIGH) - n * QUARTER_LOW;
    let square = r * r;
    let horner = |c: [f64; 4]| ((c[3] * square + c[2]) * square + c[1]) * square + c[0];
    let (sin, cos) = ((r + r * square * horner(SIN)) as f32, (1.0 + square * horner(COS)) as f32);
    match n as i64 & 3 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

/// Rotates the first elements of `head` in place, by the `i`-th position of `table`.
pub fn rotate(head: &mut [f32], table: &RopeTable, i: usize, pairing: RopePairing) {
    let turn =
        |x: &mut f32, y: &mut f32, (cos, sin): (&f32, &f32)| (*x, *y) = (*x * cos - *y * sin, *x * sin + *y * cos);
    let (turned, _) = head.split_at_mut(2 * table.half);
    match pairing {
        RopePairing::Adjacent => {
            turned.as_chunks_mut().0.iter_mut().zip(table.row(i)).for_each(|([x, y], angle)| turn(x, y, angle));
        }
        RopePairing::Halves => {
            let (first, second) = turned.split_at_mut(table.half);
            first.iter_mut().zip(second).zip(table.row(i)).for_each(|((x, y), angle)| turn(x, y, angle));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sine_and_cosine_are_those_of_the_library() {
        for i in 0..1_000_000 {
            let angle = (i as f32 * 0.37).powi(2) * 1e-4 * if i % 2 == 0 { 1.0 } else { -1.0 };
            let (got, want) = (sin_cos(angle), f64::from(angle).sin_cos());
            let off = |got: f32, want: f64| (f64::from(got) - want).abs() > 6e-8 * want.abs() + 1e-12;
            assert!(!off(got.0, want.0) && !off(got.1, want.1), "{angle}: {got:?} for {want:?}");
        }
        let (sin, cos) = sin_cos(f32::NAN);
        assert!(sin.is_nan() && cos.is_nan());
    }

    #[test]
    fn a_quarter_turn_swaps_the_pair() {
        let mut table = RopeTable::default();
        let rotation = Rotation { frequencies: vec![std::f32::consts::FRAC_PI_2, 0.0], magnitude: 1.0 };
        table.begin(2);
        table.extend(&rotation, std::iter::once(1));
        let mut adjacent = [1.0, 2.0, 3.0, 4.0, 5.0];
        rotate(&mut adjacent, &table, 0, RopePairing::Adjacent);
        let mut halves = [1.0, 2.0, 3.0, 4.0, 5.0];
        rotate(&mut halves, &table, 0, RopePairing::Halves);
        let close = |got: [f32; 5], want: [f32; 5]| got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close(adjacent, [-2.0, 1.0, 3.0, 4.0, 5.0]), "{adjacent:?}");
        assert!(close(halves, [-3.0, 2.0, 1.0, 4.0, 5.0]), "{halves:?}");
    }
}
