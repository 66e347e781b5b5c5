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

/// Cosines and sines of `count` positions: `[count][size / 2]` each.
#[derive(Debug, Default)]
pub struct RopeTable {
    half: usize,
    count: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RopeTable {
    /// Fills the table for `positions`, for one frequency a pair (radians a position).
    pub fn fill(&mut self, frequencies: &[f32], positions: impl Iterator<Item = usize>) {
        (self.half, self.count) = (frequencies.len(), 0);
        self.cos.clear();
        self.sin.clear();
        for position in positions {
            self.count += 1;
            for &frequency in frequencies {
                let (sin, cos) = (position as f32 * frequency).sin_cos();
                self.cos.push(cos);
                self.sin.push(sin);
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
    fn a_quarter_turn_swaps_the_pair() {
        let mut table = RopeTable::default();
        table.fill(&[std::f32::consts::FRAC_PI_2, 0.0], std::iter::once(1));
        let mut adjacent = [1.0, 2.0, 3.0, 4.0, 5.0];
        rotate(&mut adjacent, &table, 0, RopePairing::Adjacent);
        let mut halves = [1.0, 2.0, 3.0, 4.0, 5.0];
        rotate(&mut halves, &table, 0, RopePairing::Halves);
        let close = |got: [f32; 5], want: [f32; 5]| got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close(adjacent, [-2.0, 1.0, 3.0, 4.0, 5.0]), "{adjacent:?}");
        assert!(close(halves, [-3.0, 2.0, 1.0, 4.0, 5.0]), "{halves:?}");
    }
}
