//! Memory in lines of a cache, so that no vector straddles two, seen as values
//! of whatever type.

use crate::simd::LANES;

/// A line: one vector of floats.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [f32; LANES]);

impl Line {
    /// Zeros, whatever they are taken for.
    pub(crate) const ZERO: Self = Self([0.0; LANES]);
    /// Bytes of a line.
    pub(crate) const BYTES: usize = size_of::<Self>();
}

/// Types for which any bits are a value, and whose alignment a line has.
///
/// # Safety
/// That is so.
pub(crate) unsafe trait Bits: Copy + 'static {}
// SAFETY: integers and floats.
unsafe impl Bits for i8 {}
// SAFETY: as above.
unsafe impl Bits for u16 {}
// SAFETY: as above.
unsafe impl Bits for f32 {}

/// The values in the lines.
#[inline(always)]
pub(crate) fn values<T: Bits>(lines: &[Line]) -> &[T] {
    // SAFETY: `T` takes any bits and is no more aligned than a line.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines) / size_of::<T>()) }
}

/// The values in the lines.
#[inline(always)]
pub(crate) fn values_mut<T: Bits>(lines: &mut [Line]) -> &mut [T] {
    // SAFETY: as above; and any `T` leaves floats, as any bits are.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines) / size_of::<T>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes() {
        let mut lines = [Line::ZERO; 3];
        assert_eq!((values::<i8>(&lines).len(), values::<u16>(&lines).len()), (192, 96));
        values_mut::<u16>(&mut lines)[33] = 0x3f80; // the upper half of 1.0 where bytes are little-endian
        let one = f32::from_ne_bytes([[0; 2], 0x3f80u16.to_ne_bytes()].concat().try_into().unwrap());
        assert_eq!(lines[1].0[0], one);
    }
}
