//! The vector trait that every kernel is written against.
//!
//! All kernels see one virtual vector of 512 bits: sixteen floats ([`Simd::F`])
//! or sixteen 32-bit integers that can also be taken as sixty-four bytes
//! ([`Simd::V`]). An instruction set implements it with one, two or four of its
//! registers. Because the virtual width and the order of every reduction are
//! part of the trait, a kernel gives the same bits on all of them.
//!
//! A value of an implementing type is proof that the machine has the
//! instructions: it is only made by [`crate::Isa::run`].

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
mod tile;

pub(crate) use tile::{Packed, Rows, Tile};

/// Lanes of a vector of floats or 32-bit integers.
pub(crate) const LANES: usize = 16;

/// A computation that runs with one instruction set enabled throughout.
///
/// `run` and everything it calls must be `#[inline(always)]`, so that it is
/// compiled inside the function that enables the instructions.
pub(crate) trait Kernel {
    /// What it returns.
    type Output;
    /// The computation.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// Vector operations; see the module's header.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Sixteen 32-bit integers or sixty-four bytes.
    type V: Copy;
    /// Sixteen floats.
    type F: Copy;

    /// What [`signed`](Self::signed) adds to every byte.
    const SIGNED_OFFSET: i32;
    /// How many vectors the registers hold.
    const REGISTERS: usize;

    // Integers.

    /// All lanes `x`.
    fn splat(self, x: i32) -> Self::V;
    /// All bytes `x`.
    #[inline(always)]
    fn splat_u8(self, x: u8) -> Self::V {
        self.splat(i32::from_ne_bytes([x; 4]))
    }
    /// Sixty-four bytes.
    fn load(self, bytes: &[u8; 64]) -> Self::V;
    /// Sixty-four bytes.
    fn store(self, v: Self::V, bytes: &mut [u8; 64]);
    /// Bitwise and.
    fn and(self, a: Self::V, b: Self::V) -> Self::V;
    /// Bitwise or.
    fn or(self, a: Self::V, b: Self::V) -> Self::V;
    /// Lanes shifted left by `n` < 32.
    fn shl(self, a: Self::V, n: u32) -> Self::V;
    /// Lanes shifted right by `n` < 32, zeros enter.
    fn shr(self, a: Self::V, n: u32) -> Self::V;
    /// Lanes shifted right by `n` < 32, the sign enters.
    fn sar(self, a: Self::V, n: u32) -> Self::V;
    /// Lane-wise sum, wrapping.
    fn add_i32(self, a: Self::V, b: Self::V) -> Self::V;
    /// Lane-wise larger value.
    fn max_i32(self, a: Self::V, b: Self::V) -> Self::V;
    /// Lane-wise smaller value.
    fn min_i32(self, a: Self::V, b: Self::V) -> Self::V;
    /// Sixteen bytes, zero-extended.
    #[inline(always)]
    fn widen_bytes(self, bytes: &[u8; LANES]) -> Self::V {
        let mut words = [0; 4 * LANES];
        for i in 0..LANES {
            words[4 * i] = bytes[i];
        }
        self.load(&words)
    }
    /// Byte-wise `table[index]` for indices < 16.
    fn lookup(self, table: &[u8; 16], index: Self::V) -> Self::V;
    /// Byte-wise 255 where `a & mask` is `mask`, else 0.
    fn test(self, a: Self::V, mask: Self::V) -> Self::V;
    /// Adds `bit`, which `q` does not have, to the bytes where `a` has the one
    /// bit of `mask`.
    #[inline(always)]
    fn add_where(self, q: Self::V, a: Self::V, mask: Self::V, bit: u8) -> Self::V {
        self.or(q, self.and(self.test(a, mask), self.splat_u8(bit)))
    }
    /// Bytes of four columns to words of rows: byte `c` of lane `4l + j` of vector `k`
    /// is byte `16l + 4k + j` of vector `c`. The digits `c`, `k` and `j` change
    /// places in a ring, so twice more is the way back.
    fn turn_bytes(self, v: [Self::V; 4]) -> [Self::V; 4];
    /// Byte `j` of each lane, repeated four times.
    fn spread_byte(self, a: Self::V, j: u32) -> Self::V;
    /// Lane `i` is the little-endian word at `offset` of row `i`.
    ///
    /// # Safety
    /// Four bytes at `offset` are inside every row.
    unsafe fn gather(self, rows: Rows, offset: usize) -> Self::V;
    /// Four vectors; lane `i` of vector `j` is word `j` of the sixteen bytes at
    /// `offset` of row `i`.
    ///
    /// # Safety
    /// Sixteen bytes at `offset` are inside every row.
    unsafe fn gather4(self, rows: Rows, offset: usize) -> [Self::V; 4];

    /// Asks for the cache line of an address, which need not be readable. Reads
    /// of memory stay before or after it as they are written: compilers like to
    /// gather what is independent, and many of these in a row hold up the rest.
    #[inline(always)]
    fn prefetch(self, _p: *const u8) {}

    // Dot products of bytes. Lane `i` gains the products of the four bytes of
    // lane `i` of `w` with the four bytes of `x`, which are signed, above -128.

    /// `w` unsigned, at most 127.
    fn dot(self, acc: Self::V, w: Self::V, x: i32) -> Self::V;
    /// Signed bytes in the form that [`dot_signed`](Self::dot_signed) wants.
    fn signed(self, w: Self::V) -> Self::V;
    /// `w` from [`signed`](Self::signed): every byte counts [`SIGNED_OFFSET`](Self::SIGNED_OFFSET) more.
    fn dot_signed(self, acc: Self::V, w: Self::V, x: i32) -> Self::V;

    // The same for two tokens at a time, for instructions that multiply small
    // matrices: they want eight bytes of a row side by side, and leave the sums
    // of both tokens in one register.

    /// Whether [`dot_pair`](Self::dot_pair) is the better way to multiply.
    const PAIRS: bool = false;

    /// Two neighbouring vectors of weights in the order that
    /// [`dot_pair`](Self::dot_pair) wants.
    #[inline(always)]
    fn interleave(self, w: [Self::V; 2]) -> [Self::V; 2] {
        w
    }
    /// Four vectors of interleaved weights, signed or not, with four words of
    /// each of two tokens. The sums are not to be read before
    /// [`split_pair`](Self::split_pair).
    #[inline(always)]
    fn dot_pair(
        self,
        mut acc: [Self::V; 2],
        w: [Self::V; 4],
        x: [&[i32; 4]; 2],
        signed: bool,
    ) -> [Self::V; 2] {
        for i in 0..4 {
            for t in 0..2 {
                acc[t] = if signed {
                    self.dot_signed(acc[t], w[i], x[t][i])
                } else {
                    self.dot(acc[t], w[i], x[t][i])
                };
            }
        }
        acc
    }
    /// The sums of either token.
    #[inline(always)]
    fn split_pair(self, acc: [Self::V; 2]) -> [Self::V; 2] {
        acc
    }

    // Floats.

    /// All lanes `x`.
    fn splat_f(self, x: f32) -> Self::F;
    /// Sixteen floats.
    fn load_f(self, x: &[f32; LANES]) -> Self::F;
    /// Sixteen floats.
    fn store_f(self, v: Self::F, x: &mut [f32; LANES]);
    /// Sixteen half-precision floats at any address.
    ///
    /// # Safety
    /// Thirty-two bytes can be read.
    unsafe fn read_f16(self, p: *const u8) -> Self::F;
    /// Sixteen 16-bit integers at any address, zero-extended.
    ///
    /// # Safety
    /// Thirty-two bytes can be read.
    unsafe fn read_u16(self, p: *const u8) -> Self::V;
    /// Sixteen half-precision floats.
    #[inline(always)]
    fn load_f16(self, x: &[u16; LANES]) -> Self::F {
        // SAFETY: the reference is thirty-two bytes.
        unsafe { self.read_f16(x.as_ptr().cast()) }
    }
    /// Sixteen floats, rounded to nearest half precision.
    fn store_f16(self, v: Self::F, x: &mut [u16; LANES]);
    /// `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `c + a * b`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c - a * b`, rounded once.
    fn fnma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The larger; unspecified which if one is not a number.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The smaller; unspecified which if one is not a number.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// Without the sign.
    fn abs(self, a: Self::F) -> Self::F;

    // Between the two.

    /// Integers to floats.
    fn to_f(self, a: Self::V) -> Self::F;
    /// Floats to the nearest integers, ties to even; within 32 bits.
    fn to_i32(self, a: Self::F) -> Self::V;
    /// The bits of floats.
    fn bits(self, a: Self::F) -> Self::V;
    /// Floats of bits.
    fn as_floats(self, a: Self::V) -> Self::F;
    /// The low halves of the lanes as half-precision floats.
    fn low_f16(self, a: Self::V) -> Self::F;
    /// The high halves of the lanes as half-precision floats.
    #[inline(always)]
    fn high_f16(self, a: Self::V) -> Self::F {
        self.low_f16(self.shr(a, 16))
    }
    /// Sixteen signed bytes, each widened to a lane.
    fn load_i8(self, x: &[i8; LANES]) -> Self::V;
    /// The low bytes of the lanes.
    fn store_low_bytes(self, a: Self::V, bytes: &mut [i8; LANES]);

    // Across lanes: lane `i` meets `i + 8`, then `i + 4`, `i + 2`, `i + 1`.

    /// Sum of the lanes.
    #[inline(always)]
    fn sum(self, a: Self::F) -> f32 {
        let mut x = [0.0; LANES];
        self.store_f(a, &mut x);
        fold(x, |a, b| a + b)
    }
    /// Largest lane.
    #[inline(always)]
    fn largest(self, a: Self::F) -> f32 {
        let mut x = [0.0; LANES];
        self.store_f(a, &mut x);
        fold(x, f32::max)
    }
}

/// The order of reductions that all instruction sets share.
#[inline(always)]
pub(crate) fn fold(mut x: [f32; LANES], op: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            x[i] = op(x[i], x[i + half]);
        }
        half /= 2;
    }
    x[0]
}

/// Turns one-line method bodies of intrinsics into inlined trait methods. The
/// one reason that makes them all sound: the receiver proves that the machine
/// has the instructions.
macro_rules! shims {
    ($($(#[$meta:meta])* fn $name:ident($this:ident $(, $arg:ident: $ty:ty)*) $(-> $ret:ty)? { $($body:tt)* })*) => {$(
        $(#[$meta])*
        #[inline(always)]
        #[allow(unused_unsafe)] // some bodies only call other methods
        fn $name($this $(, $arg: $ty)*) $(-> $ret)? {
            // SAFETY: a value of `Self` exists only where the instructions do;
            // loads and stores go through references of the full size.
            unsafe { $($body)* }
        }
    )*};
}
pub(crate) use shims;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Enabled, Isa};

    /// Rows of eight words' worth of bytes times two tokens.
    struct Pair {
        w: [[u8; 64]; 4],
        x: [[i32; 4]; 2],
    }

    impl Kernel for Pair {
        type Output = [[f32; LANES]; 2];
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let [a, b, c, d] = self.w.map(|w| s.load(&w));
            let ([a, b], [c, d]) = (s.interleave([a, b]), s.interleave([c, d]));
            let acc = s.dot_pair([s.splat(0); 2], [a, b, c, d], [&self.x[0], &self.x[1]], false);
            s.split_pair(acc).map(|sums| {
                let mut out = [0.0; LANES];
                s.store_f(s.to_f(sums), &mut out);
                out
            })
        }
    }

    /// Columns whose bytes name their places, to words and back.
    struct Turn;

    impl Kernel for Turn {
        type Output = [[[u8; 64]; 4]; 2];
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let columns = [0, 1, 2, 3].map(|c: u8| std::array::from_fn(|p| 64 * c + p as u8));
            let words = s.turn_bytes(columns.map(|c| s.load(&c)));
            [words, s.turn_bytes(s.turn_bytes(words))].map(|v| {
                v.map(|v| {
                    let mut bytes = [0; 64];
                    s.store(v, &mut bytes);
                    bytes
                })
            })
        }
    }

    #[test]
    fn bytes_turn_in_a_ring() {
        for isa in Isa::available() {
            let [words, back] = Enabled::new(isa).unwrap().run(Turn);
            for k in 0..4 {
                for p in 0..64 {
                    let (l, j, c) = (p / 16, p / 4 % 4, p % 4);
                    assert_eq!(usize::from(words[k][p]), 64 * c + 16 * l + 4 * k + j, "{isa}");
                    assert_eq!(usize::from(back[k][p]), 64 * k + p, "{isa}");
                }
            }
        }
    }

    struct Widen([i8; LANES]);

    impl Kernel for Widen {
        type Output = [f32; LANES];
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let mut out = [0.0; LANES];
            s.store_f(s.to_f(s.load_i8(&self.0)), &mut out);
            out
        }
    }

    #[test]
    fn bytes_are_widened_with_their_sign() {
        let x = std::array::from_fn(|i| [-128, -127, -1, 0, 1, 127, 64, i as i8][i % 8]);
        for isa in Isa::available() {
            assert_eq!(Enabled::new(isa).unwrap().run(Widen(x)), x.map(f32::from), "{isa}");
        }
    }

    #[test]
    fn pairs_are_multiplied_like_single_tokens() {
        // Row r has weight 8r + v in every byte of vector v; the extremes of
        // activations, and words that tell the vectors apart.
        let w = [0, 1, 2, 3].map(|v| std::array::from_fn(|i| (i / 4 * 8 + v) as u8));
        let word = |b: [i8; 4]| i32::from_le_bytes(b.map(|b| b as u8));
        let x = [
            [word([127; 4]), word([-127; 4]), word([1, 2, 3, 4]), word([0, -5, 0, 0])],
            [word([0, 0, 0, 1]), word([100, 0, 0, 0]), word([0, -10, 0, 0]), word([0, 0, 7, 0])],
        ];
        for isa in Isa::available() {
            let got = Enabled::new(isa).unwrap().run(Pair { w, x });
            for r in 0..LANES {
                let w = |v: i32| (8 * r) as i32 + v;
                let first = 508 * w(0) - 508 * w(1) + 10 * w(2) - 5 * w(3);
                let second = w(0) + 100 * w(1) - 10 * w(2) + 7 * w(3);
                assert_eq!([got[0][r], got[1][r]], [first as f32, second as f32], "row {r}, {isa}");
            }
        }
    }
}
