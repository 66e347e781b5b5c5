//! Causal depthwise convolution: each channel of a token is a weighted sum of itself and of the
//! same channel of the tokens before it.

use super::{Exec, for_each_row};

/// A causal depthwise convolution of a sequence.
#[derive(Clone, Copy, Debug)]
pub struct Convolution<'a> {
    /// The weights of the taps, the oldest first: `[taps][channels]`.
    pub kernel: &'a [f32],
    /// The inputs of the tokens before, the oldest first: `[taps - 1][channels]`; zeros before the
    /// first token.
    pub tail: &'a [f32],
    /// The inputs of the tokens: `[n][channels]`.
    pub inputs: &'a [f32],
    /// Channels of a token.
    pub channels: usize,
}

impl<'a> Convolution<'a> {
    /// `out[t] = sum over k of kernel[k] * input[t - (taps - 1) + k]`, `[n][channels]`, on all
    /// threads. The sum begins with the oldest tap: it has the same bits however a sequence is cut.
    ///
    /// # Panics
    /// If `out` and the inputs are not of one size, or the kernel is not one longer than the tail.
    pub fn run(self, exec: &Exec, out: &mut [f32]) {
        assert_eq!(out.len(), self.inputs.len(), "a convolution has as many outputs as inputs");
        assert_eq!(self.kernel.len(), self.tail.len() + self.channels, "a tail is a kernel without its last tap");
        for_each_row(&exec.pool, out, self.channels, |token, out| {
            out.fill(0.0);
            for (k, weights) in self.kernel.chunks_exact(self.channels).enumerate() {
                for ((sum, weight), x) in out.iter_mut().zip(weights).zip(self.row(token + k)) {
                    *sum += weight * x;
                }
            }
        });
    }

    /// Writes the tail after the first `tokens` of the inputs, `[taps - 1][channels]`, to `out`.
    ///
    /// # Panics
    /// If there are not so many inputs, or `out` has another size.
    pub fn tail_after(self, tokens: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.tail.len(), "a tail is as long as the one before");
        for (k, row) in out.chunks_exact_mut(self.channels).enumerate() {
            row.copy_from_slice(self.row(tokens + k));
        }
    }

    /// A row of the tail and the inputs together.
    fn row(self, index: usize) -> &'a [f32] {
        let start = index * self.channels;
        match start.checked_sub(self.tail.len()) {
            Some(start) => &self.inputs[start..start + self.channels],
            None => &self.tail[start..start + self.channels],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Isa, Pool};

    const CHANNELS: usize = 5;

    fn wave(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * seed) % 101) as f32 / 50.0 - 1.0).collect()
    }

    #[test]
    fn it_is_the_formula_however_the_sequence_is_cut() {
        for taps in [1, 2, 3, 4] {
            let (kernel, inputs) = (wave(taps * CHANNELS, 37), wave(12 * CHANNELS, 53));
            let at = |token: isize, channel: usize| {
                usize::try_from(token).map_or(0.0, |token| inputs[token * CHANNELS + channel])
            };
            let formula = |token: usize, channel: usize| {
                let tap =
                    |k: usize| kernel[k * CHANNELS + channel] * at((token + k + 1) as isize - taps as isize, channel);
                (0..taps).fold(0.0, |sum, k| sum + tap(k))
            };
            let want: Vec<f32> = (0..inputs.len()).map(|i| formula(i / CHANNELS, i % CHANNELS)).collect();
            for (threads, cut) in [(1, 12), (2, 1), (3, 5), (2, 2)] {
                let exec = Exec { isa: Isa::available()[0], pool: Pool::new(threads).unwrap() };
                let (mut got, mut tail) = (Vec::new(), vec![0.0; (taps - 1) * CHANNELS]);
                for inputs in inputs.chunks(cut * CHANNELS) {
                    let convolution = Convolution { kernel: &kernel, tail: &tail, inputs, channels: CHANNELS };
                    let mut out = vec![f32::NAN; inputs.len()];
                    convolution.run(&exec, &mut out);
                    let mut after = vec![f32::NAN; tail.len()];
                    convolution.tail_after(inputs.len() / CHANNELS, &mut after);
                    got.extend(out);
                    tail = after;
                }
                assert_eq!(got, want, "{taps} taps, {threads} threads, {cut} tokens at once");
            }
        }
    }
}
