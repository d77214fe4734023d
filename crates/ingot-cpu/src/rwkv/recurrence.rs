//! RWKV-7's recurrence. Per head, with state S `[N values, N keys]`:
//!
//! `S = S diag(decay) - (S removal) (removal * a)^T + v key^T`, with the old S
//! on the right, then `y = S r`.
//!
//! The state is kept transposed, so that a lane is a value and both sums over
//! keys run down the rows: nothing is ever summed across lanes. While a token
//! updates a row, its part of the next token's `S removal` is added up as well,
//! so that a prompt reads the state once a token. Five multiplications a value
//! of the state are left, and they are what the time goes into: chunks of
//! tokens as small dense products would save the fifth of them that decays,
//! and pay for it with products within the chunk and results that depend on how
//! a prompt is cut.

use super::{load_at, store_at};
use crate::shared::Out;
use crate::simd::{Kernel, LANES, Simd};
use std::ops::Range;

/// Tokens that are prepared before the state meets them: with the state of a
/// head they fit the first-level cache.
const PIECE: usize = 8;

/// What one head needs for one token, each `[N]` and padded with zeros.
pub(crate) struct Token<'a> {
    /// May be anything finite in the padding.
    pub(crate) decay: &'a mut [f32],
    /// Removal key.
    pub(crate) removal: &'a mut [f32],
    /// Removal key times learning rate.
    pub(crate) rate: &'a mut [f32],
    /// Replacement key.
    pub(crate) key: &'a mut [f32],
    /// Receptance.
    pub(crate) r: &'a mut [f32],
    /// Value.
    pub(crate) v: &'a mut [f32],
    /// The result.
    pub(crate) y: &'a mut [f32],
}

/// Where tokens come from and where results go.
pub(crate) trait Ends: Sync {
    /// Fills in all but the result for row `t` and the channels `head`.
    fn feed<S: Simd>(&self, s: S, t: usize, head: Range<usize>, token: &mut Token);
    /// Takes the result, and may change the token.
    fn finish<S: Simd>(&self, s: S, t: usize, head: Range<usize>, token: &mut Token);
}

/// Some heads of one sequence.
pub(crate) struct Heads<'a, E> {
    pub(crate) ends: &'a E,
    /// Its rows in the step.
    pub(crate) rows: Range<usize>,
    pub(crate) heads: Range<usize>,
    /// N
    pub(crate) size: usize,
    /// `[H, N * N]`, key by value. Whoever makes one promises that nobody else
    /// uses these heads.
    pub(crate) state: Out,
}

impl<E: Ends> Kernel for Heads<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (n, padded) = (self.size, self.size.next_multiple_of(LANES));
        let mut tokens = Tokens::new(padded, self.rows.len().min(PIECE));
        let mut square = vec![0.0; if n < padded { padded * padded } else { 0 }];
        // Heads within pieces: neighbouring heads are read and written together.
        let pieces = self.rows.clone().step_by(PIECE);
        for (first, h) in pieces.flat_map(|first| self.heads.clone().map(move |h| (first, h))) {
            let (piece, head) = (first..self.rows.end.min(first + PIECE), h * n..(h + 1) * n);
            for (i, t) in piece.clone().enumerate() {
                self.ends.feed(s, t, head.clone(), &mut tokens.get(i));
            }
            // SAFETY: by the promise of whoever made this.
            let state = unsafe { self.state.part(h, 0, n * n) };
            if n == padded {
                tokens.meet(s, state, piece.len());
            } else {
                resize(state, n, &mut square, padded);
                tokens.meet(s, &mut square, piece.len());
                resize(&square, padded, state, n);
            }
            for (i, t) in piece.enumerate() {
                self.ends.finish(s, t, head.clone(), &mut tokens.get(i));
            }
        }
    }
}

/// Copies what both squares have in common.
fn resize(from: &[f32], n: usize, to: &mut [f32], m: usize) {
    let common = n.min(m);
    for (from, to) in from.chunks_exact(n).zip(to.chunks_exact_mut(m)) {
        to[..common].copy_from_slice(&from[..common]);
    }
}

/// Prepared tokens: `[PIECE, 7, N]`, N a multiple of 16.
struct Tokens {
    values: Vec<f32>,
    n: usize,
}

impl Tokens {
    fn new(n: usize, tokens: usize) -> Self {
        Self { values: vec![0.0; 7 * n * tokens], n }
    }

    #[inline(always)]
    fn get(&mut self, i: usize) -> Token<'_> {
        let all = &mut self.values[7 * self.n * i..][..7 * self.n];
        let (decay, all) = all.split_at_mut(self.n);
        let (removal, all) = all.split_at_mut(self.n);
        let (rate, all) = all.split_at_mut(self.n);
        let (key, all) = all.split_at_mut(self.n);
        let (r, all) = all.split_at_mut(self.n);
        let (v, y) = all.split_at_mut(self.n);
        Token { decay, removal, rate, key, r, v, y }
    }

    /// Part `which` of token `i`.
    #[inline(always)]
    fn part(&self, i: usize, which: usize) -> &[f32] {
        &self.values[(7 * i + which) * self.n..][..self.n]
    }

    /// Runs the first `count` tokens over a state `[N, N]`.
    #[inline(always)]
    fn meet<S: Simd>(&mut self, s: S, state: &mut [f32], count: usize) {
        let (rows, groups) = (state.as_chunks_mut().0, self.n / LANES);
        let mut first = 0;
        while first < groups {
            // As many sums, old and new, as there are registers for.
            first += match groups - first {
                4.. if S::REGISTERS >= 32 => self.values::<S, 4>(s, rows, first, count),
                2.. if S::REGISTERS >= 32 => self.values::<S, 2>(s, rows, first, count),
                _ => self.values::<S, 1>(s, rows, first, count),
            };
        }
    }

    /// The same for G vectors of values; G.
    #[inline(always)]
    fn values<S: Simd, const G: usize>(
        &mut self,
        s: S,
        state: &mut [[f32; LANES]],
        first: usize,
        count: usize,
    ) -> usize {
        let groups = self.n / LANES;
        assert!(state.len() == self.n * groups && first + G <= groups, "a state [N, N]");
        let mut removed = [[s.splat_f(0.0); G]; 2];
        let removal = self.part(0, 1);
        for pair in 0..self.n / 2 {
            for half in 0..2 {
                let j = 2 * pair + half;
                // SAFETY: j < N, and rows hold `groups` vectors.
                let (row, removal) = unsafe {
                    (&*state.as_ptr().add(j * groups + first).cast::<[_; G]>(), *removal.get_unchecked(j))
                };
                let removal = s.splat_f(removal);
                for g in 0..G {
                    removed[half][g] = s.fma(s.load_f(&row[g]), removal, removed[half][g]);
                }
            }
        }
        for i in 0..count {
            let (y, next) = if i + 1 < count {
                self.token::<S, G, true>(s, state, first, i, halves(s, removed))
            } else {
                self.token::<S, G, false>(s, state, first, i, halves(s, removed))
            };
            removed = next;
            let at = (7 * i + 6) * self.n + first * LANES;
            let out = &mut self.values[at..][..G * LANES];
            let y = halves(s, y);
            for g in 0..G {
                store_at(s, y[g], out, g * LANES);
            }
        }
        G
    }

    /// Updates G vectors of each row by token `i`, of which `removed` is taken away;
    /// the results, and with NEXT what the next token takes away, in sums over
    /// even and odd keys.
    #[inline(always)]
    #[allow(clippy::type_complexity)] // two sums
    fn token<S: Simd, const G: usize, const NEXT: bool>(
        &self,
        s: S,
        state: &mut [[f32; LANES]],
        first: usize,
        i: usize,
        removed: [S::F; G],
    ) -> ([[S::F; G]; 2], [[S::F; G]; 2]) {
        let groups = self.n / LANES;
        assert!(state.len() == self.n * groups && first + G <= groups, "a state [N, N]");
        let (decay, rate, key) = (self.part(i, 0), self.part(i, 2), self.part(i, 3));
        let (r, ahead) = (self.part(i, 4), self.part(if NEXT { i + 1 } else { i }, 1));
        let value = self.part(i, 5);
        let mut v = [s.splat_f(0.0); G];
        for g in 0..G {
            v[g] = load_at(s, value, (first + g) * LANES);
        }
        let (mut y, mut next) = ([[s.splat_f(0.0); G]; 2], [[s.splat_f(0.0); G]; 2]);
        for pair in 0..self.n / 2 {
            for half in 0..2 {
                let j = 2 * pair + half;
                // SAFETY: j < N, the length of all parts, and rows hold `groups` vectors.
                let (row, [decay, rate, key, r, ahead]) = unsafe {
                    (
                        &mut *state.as_mut_ptr().add(j * groups + first).cast::<[_; G]>(),
                        [
                            *decay.get_unchecked(j),
                            *rate.get_unchecked(j),
                            *key.get_unchecked(j),
                            *r.get_unchecked(j),
                            *ahead.get_unchecked(j),
                        ],
                    )
                };
                let (decay, rate, key) = (s.splat_f(decay), s.splat_f(rate), s.splat_f(key));
                let (r, ahead) = (s.splat_f(r), s.splat_f(ahead));
                for g in 0..G {
                    let old = s.mul(s.load_f(&row[g]), decay);
                    let new = s.fma(v[g], key, s.fnma(removed[g], rate, old));
                    s.store_f(new, &mut row[g]);
                    y[half][g] = s.fma(new, r, y[half][g]);
                    if NEXT {
                        next[half][g] = s.fma(new, ahead, next[half][g]);
                    }
                }
            }
        }
        (y, next)
    }
}

/// Sums over even and odd keys in one.
#[inline(always)]
fn halves<S: Simd, const G: usize>(s: S, [mut even, odd]: [[S::F; G]; 2]) -> [S::F; G] {
    for g in 0..G {
        even[g] = s.add(even[g], odd[g]);
    }
    even
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Enabled, Isa};

    /// Made-up tokens of any number of rows and channels.
    struct MadeUp {
        out: Out,
    }

    fn value(t: usize, c: usize, which: usize) -> f32 {
        let x = ((t * 131 + c * 37 + which * 17) as f32).sin();
        match which {
            0 if c.is_multiple_of(5) => [0.0, 1.0, 1e-30, f32::MIN_POSITIVE / 8.0][t % 4], // decay
            0 => 0.8 + 0.2 * x,
            1 => 0.2 * x,
            2 => 0.1 * x.abs(),
            _ => x,
        }
    }

    impl Ends for MadeUp {
        #[inline(always)]
        fn feed<S: Simd>(&self, _: S, t: usize, head: Range<usize>, token: &mut Token) {
            for (i, c) in head.enumerate() {
                token.decay[i] = value(t, c, 0);
                token.removal[i] = value(t, c, 1);
                token.rate[i] = value(t, c, 2);
                token.key[i] = value(t, c, 3);
                token.r[i] = value(t, c, 4);
                token.v[i] = value(t, c, 5);
            }
        }
        #[inline(always)]
        fn finish<S: Simd>(&self, _: S, t: usize, head: Range<usize>, token: &mut Token) {
            // SAFETY: one thread.
            unsafe { self.out.part(t, head.start, head.len()) }.copy_from_slice(&token.y[..head.len()]);
        }
    }

    const HEADS: usize = 2;
    const TOKENS: usize = 2 * PIECE + 3;

    /// Results `[T, H * N]` and states after feeding tokens in such chunks.
    fn run(isa: Isa, n: usize, chunks: &[usize]) -> (Vec<f32>, Vec<f32>) {
        let mut out = vec![0.0; TOKENS * HEADS * n];
        let mut state: Vec<f32> = (0..HEADS * n * n).map(|i| (i as f32 * 0.3).cos()).collect();
        let ends = MadeUp { out: Out::new(&mut out, HEADS * n) };
        let mut first = 0;
        for chunk in chunks {
            let (rows, state) = (first..first + chunk, Out::new(&mut state, n * n));
            Enabled::new(isa).unwrap().run(Heads { ends: &ends, rows, heads: 0..HEADS, size: n, state });
            first += chunk;
        }
        assert_eq!(first, TOKENS);
        (out, state)
    }

    /// The same by the formula, in doubles.
    fn by_formula(n: usize) -> (Vec<f64>, Vec<f64>) {
        let mut state: Vec<f64> = (0..HEADS * n * n).map(|i| f64::from((i as f32 * 0.3).cos())).collect();
        let mut out = Vec::new();
        for t in 0..TOKENS {
            for (h, state) in state.chunks_exact_mut(n * n).enumerate() {
                let x = |i: usize, which| f64::from(value(t, h * n + i, which));
                for i in 0..n {
                    let removed: f64 = (0..n).map(|j| state[j * n + i] * x(j, 1)).sum();
                    for j in 0..n {
                        let old = state[j * n + i] * x(j, 0);
                        state[j * n + i] = old - removed * x(j, 2) + x(i, 5) * x(j, 3);
                    }
                    out.push((0..n).map(|j| state[j * n + i] * x(j, 4)).sum());
                }
            }
        }
        (out, state)
    }

    #[test]
    fn sizes_chunks_and_instruction_sets() {
        for n in [1, 8, 16, 31, 37, 48, 64, 80, 128] {
            let (want, want_state) = by_formula(n);
            let whole = run(Isa::Scalar, n, &[TOKENS]);
            for (got, want) in [(&whole.0, want), (&whole.1, want_state)] {
                let largest = want.iter().fold(0.0f64, |m, x| m.max(x.abs()));
                for (got, want) in got.iter().zip(want) {
                    assert!((f64::from(*got) - want).abs() < 1e-5 * largest, "{n}: {got} for {want}");
                }
            }
            for isa in Isa::available() {
                for chunks in [&[TOKENS][..], &[1; TOKENS], &[7, 1, 9, 2], &[8, 8, 3]] {
                    assert!(run(isa, n, chunks) == whole, "{isa}, heads of {n} in {chunks:?}");
                }
            }
        }
    }
}
