//! Rotary position embedding: pairs of a head's values are turned by an angle
//! `position * frequency`, both of the pair's values times `scale`.

use super::{Operation, Uses, same_shape};
use crate::reference::Machine;
use crate::{Buf, Plan};
use std::{fmt, sync::Arc};

/// Rotates queries or keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// `[T, H * N]`
    pub x: Buf,
    /// Number of heads, H.
    pub heads: usize,
    /// Which values are turned how far.
    pub rotary: Arc<Rotary>,
    /// `[T, H * N]`
    pub out: Buf,
}

/// A rotary embedding's constants, with every scaling already worked in.
#[derive(Clone, PartialEq)]
pub struct Rotary {
    /// Which two values make a pair.
    pub pairing: Pairing,
    /// Radians per position of each pair; twice as many values of a head are
    /// rotated, the rest pass unchanged.
    pub frequencies: Vec<f32>,
    /// Factor on sine and cosine.
    pub scale: f32,
}

/// Which values of a head make a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Values 2j and 2j + 1.
    Adjacent,
    /// Values j and j + half of the rotated ones ("NeoX").
    Halves,
}

impl fmt::Debug for Rotary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slowest = self.frequencies.last().unwrap_or(&0.0);
        write!(f, "{:?}, {} pairs down to {slowest:.3e} rad", self.pairing, self.frequencies.len())?;
        if self.scale == 1.0 { Ok(()) } else { write!(f, ", scale {}", self.scale) }
    }
}

impl Rotary {
    /// Indices of pair `j` within a head.
    pub fn pair(&self, j: usize) -> (usize, usize) {
        match self.pairing {
            Pairing::Adjacent => (2 * j, 2 * j + 1),
            Pairing::Halves => (j, j + self.frequencies.len()),
        }
    }

    /// (cos, sin) of every pair at a position, scale included.
    pub fn angles(&self, position: usize) -> impl Iterator<Item = (f32, f32)> + '_ {
        self.frequencies.iter().map(move |f| {
            let (sin, cos) = (position as f32 * f).sin_cos();
            (cos * self.scale, sin * self.scale)
        })
    }
}

impl Operation for Rope {
    const NAME: &'static str = "rope";

    fn uses(&self) -> Uses {
        Uses { reads: vec![self.x], writes: vec![self.out], ..Uses::default() }
    }

    fn check(&self, plan: &Plan) {
        same_shape(Self::NAME, plan, &[self.x, self.out]);
        let width = plan.buffer(self.x).width;
        assert!(
            width.is_multiple_of(self.heads) && 2 * self.rotary.frequencies.len() <= width / self.heads,
            "rope: {} heads in {width}, {} pairs",
            self.heads,
            self.rotary.frequencies.len()
        );
    }

    fn reference(&self, m: &mut Machine) {
        let width = m.plan().buffer(self.x).width;
        let positions: Vec<_> = m.step().positions().collect();
        let mut out = m.buffer(self.x).to_vec();
        for (row, position) in out.chunks_exact_mut(width).zip(positions) {
            for head in row.chunks_exact_mut(width / self.heads) {
                for (j, (cos, sin)) in self.rotary.angles(position).enumerate() {
                    let (a, b) = self.rotary.pair(j);
                    (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[a] * sin + head[b] * cos);
                }
            }
        }
        m.set(self.out, out);
    }

    fn parameters(&self) -> String {
        format!("heads {}, {:?}", self.heads, self.rotary)
    }
}
