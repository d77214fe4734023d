//! Blocks of 32 with one half-precision scale: Q4_0, Q5_0, Q8_0, and with an
//! offset Q4_1, Q5_1.
//!
//! ```text
//! Q4_0  d          nibbles[16]    x = d (q - 8)
//! Q4_1  d m        nibbles[16]    x = d q + m
//! Q5_0  d   high4  nibbles[16]    x = d (q - 16)
//! Q5_1  d m high4  nibbles[16]    x = d q + m
//! Q8_0  d   q[32]                 x = d q
//! ```
//! `d` and `m` take two bytes; bit `j` of the four bytes `high4` is the fifth bit
//! of code `j`.

use super::{Block, f16_at, pack_nibbles, put_f16, search, unpack_nibbles};

pub(super) struct Q8_0;

impl Block<32, 34> for Q8_0 {
    fn decode(src: &[u8; 34], dst: &mut [f32; 32]) {
        let d = f16_at(src, 0);
        for (x, &q) in dst.iter_mut().zip(&src[2..]) {
            *x = f32::from(q as i8) * d;
        }
    }

    /// With 8 bits a search gains nothing worth its time.
    fn encode(src: &[f32; 32], _: Option<&[f32; 32]>, dst: &mut [u8; 34]) {
        let largest = src.iter().fold(0.0, |max: f32, v| max.max(v.abs()));
        let d = put_f16(dst, 0, largest / 127.0);
        for (q, &x) in dst[2..].iter_mut().zip(src) {
            *q = search::nearest(search::ratio(x, d), -127.0, 127.0) as i8 as u8;
        }
    }
}

/// Where a type with `BITS` bits keeps its codes: after `params` bytes.
fn codes<const BITS: usize>(src: &[u8], params: usize) -> [u8; 32] {
    if BITS == 4 {
        return unpack_nibbles(&src[params..]);
    }
    let high = u32::from_le_bytes(src[params..params + 4].try_into().expect("four bytes"));
    let mut codes = unpack_nibbles(&src[params + 4..]);
    for (j, code) in codes.iter_mut().enumerate() {
        *code |= ((high >> j & 1) << 4) as u8;
    }
    codes
}

fn put_codes<const BITS: usize>(codes: &[u8; 32], dst: &mut [u8], params: usize) {
    if BITS == 4 {
        return pack_nibbles(codes, &mut dst[params..]);
    }
    let high = codes.iter().enumerate().fold(0, |bits, (j, &code)| bits | u32::from(code >> 4) << j);
    dst[params..params + 4].copy_from_slice(&high.to_le_bytes());
    pack_nibbles(codes, &mut dst[params + 4..]);
}

/// A scale, codes centered around zero.
struct Symmetric<const BITS: usize>;

impl<const BITS: usize> Symmetric<BITS> {
    const ZERO: i32 = 1 << (BITS - 1);

    fn decode(src: &[u8], dst: &mut [f32; 32]) {
        let d = f16_at(src, 0);
        for (x, q) in dst.iter_mut().zip(codes::<BITS>(src, 2)) {
            *x = (i32::from(q) - Self::ZERO) as f32 * d;
        }
    }

    fn encode(src: &[f32; 32], importance: Option<&[f32; 32]>, dst: &mut [u8]) {
        let zero = Self::ZERO as f32;
        let d = put_f16(dst, 0, search::symmetric(src, importance, -zero));
        let code = |x| (search::nearest(search::ratio(x, d), -zero, zero - 1.0) + zero) as u8;
        put_codes::<BITS>(&src.map(code), dst, 2);
    }
}

/// A scale and an offset.
struct Affine<const BITS: usize>;

impl<const BITS: usize> Affine<BITS> {
    const MAX: f32 = ((1 << BITS) - 1) as f32;

    fn decode(src: &[u8], dst: &mut [f32; 32]) {
        let (d, m) = (f16_at(src, 0), f16_at(src, 2));
        for (x, q) in dst.iter_mut().zip(codes::<BITS>(src, 4)) {
            *x = f32::from(q) * d + m;
        }
    }

    fn encode(src: &[f32; 32], importance: Option<&[f32; 32]>, dst: &mut [u8]) {
        let (d, m) = search::affine(src, importance, Self::MAX, f32::INFINITY);
        let (d, m) = (put_f16(dst, 0, d), put_f16(dst, 2, m));
        let code = |x| search::nearest(search::ratio(x - m, d), 0.0, Self::MAX) as u8;
        put_codes::<BITS>(&src.map(code), dst, 4);
    }
}

macro_rules! blocks {
    ($($name:ident: $layout:ty, $bytes:literal;)*) => {$(
        #[allow(non_camel_case_types)] // the format's own name
        pub(super) struct $name;

        impl Block<32, $bytes> for $name {
            fn decode(src: &[u8; $bytes], dst: &mut [f32; 32]) {
                <$layout>::decode(src, dst);
            }
            fn encode(src: &[f32; 32], importance: Option<&[f32; 32]>, dst: &mut [u8; $bytes]) {
                <$layout>::encode(src, importance, dst);
            }
        }
    )*};
}
blocks! {
    Q4_0: Symmetric<4>, 18;
    Q4_1: Affine<4>, 20;
    Q5_0: Symmetric<5>, 22;
    Q5_1: Affine<5>, 24;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q5_1_by_hand() {
        let mut block = [0; 24];
        put_f16(&mut block, 0, 0.5);
        put_f16(&mut block, 2, -1.0);
        block[4] = 0b10; // fifth bit of value 1
        block[8 + 1] = 0x73; // value 1: 3 + 16, value 17: 7
        let mut x = [0.0; 32];
        Q5_1::decode(&block, &mut x);
        assert_eq!((x[0], x[1], x[17]), (-1.0, 8.5, 2.5));
    }

    #[test]
    fn q8_0_by_hand() {
        let mut x = [0.0; 32];
        (x[0], x[1], x[31]) = (127.0, -127.0, 3.4);
        let mut block = [0; 34];
        Q8_0::encode(&x, None, &mut block);
        assert_eq!(f16_at(&block, 0), 1.0);
        assert_eq!((block[2] as i8, block[3] as i8, block[33]), (127, -127, 3));
    }
}
