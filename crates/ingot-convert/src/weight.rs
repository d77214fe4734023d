//! A tensor of the file to be: where its rows come from, and what is done to them
//! on the way.

use crate::lora::Delta;
use crate::{Error, Result};
use ingot_format::{DType, Tensor};
use std::ops::Range;

/// A tensor under its GGUF name. Nothing of it is in memory.
#[derive(Clone, Debug)]
pub struct Weight {
    name: String,
    shape: Vec<usize>,
    /// The rows, one tensor after the other.
    stored: Vec<Tensor>,
    order: Order,
    deltas: Vec<Delta>,
    /// The smallest float type in which nothing that runs models expects less.
    needs_f32: bool,
}

/// Which stored row is which row of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The same.
    AsStored,
    /// Each head's rows are stored in halves and wanted in pairs: one of the first
    /// half, then its partner of the second (rotary embeddings turn pairs).
    Pairs {
        /// Rows of a head, an even number.
        head: usize,
    },
    /// The other way round: stored in pairs, wanted in halves.
    Halves {
        /// Rows of a head, an even number.
        head: usize,
    },
}

impl Order {
    /// The stored row that becomes row `i`.
    pub(crate) fn stored(self, i: usize) -> usize {
        match self {
            Self::AsStored => i,
            Self::Pairs { head } => {
                let within = i % head;
                i - within + within % 2 * (head / 2) + within / 2
            }
            Self::Halves { head } => {
                let within = i % head;
                i - within + within % (head / 2) * 2 + within / (head / 2)
            }
        }
    }

    /// Which row of the result is which stored row.
    fn inverse(self) -> Self {
        match self {
            Self::AsStored => Self::AsStored,
            Self::Pairs { head } => Self::Halves { head },
            Self::Halves { head } => Self::Pairs { head },
        }
    }
}

impl Weight {
    /// A tensor whose rows are those of `stored`, one after the other; all of them
    /// have the same type and length of rows.
    pub(crate) fn new(name: impl Into<String>, shape: Vec<usize>, stored: Vec<Tensor>) -> Result<Self> {
        let name = name.into();
        let first = stored.first().ok_or_else(|| Error::refused(format!("tensor '{name}' has no parts")))?;
        let fits =
            |t: &Tensor| t.dtype() == first.dtype() && t.cols() == first.cols() && t.rows() == first.rows();
        let len = stored.iter().map(Tensor::len).sum::<usize>();
        // Rows that are cut or joined by a new shape are rows of numbers, not of blocks.
        let cols = shape.last().copied().unwrap_or(1);
        let whole = cols == first.cols() || first.dtype().block_len() == 1 && stored.len() == 1;
        if !stored.iter().all(fits) || len != shape.iter().product::<usize>() || !whole {
            return Err(Error::refused(format!("tensor '{name}': the parts do not make up {shape:?}")));
        }
        Ok(Self { name, shape, stored, order: Order::AsStored, deltas: Vec::new(), needs_f32: false })
    }

    /// The tensor as it is in a GGUF file.
    pub(crate) fn as_stored(tensor: &Tensor) -> Self {
        Self {
            name: tensor.name().into(),
            shape: tensor.shape().to_vec(),
            stored: vec![tensor.clone()],
            order: Order::AsStored,
            deltas: Vec::new(),
            needs_f32: false,
        }
    }

    pub(crate) fn with_order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Marks a tensor that is kept in F32 in files of whatever type.
    pub(crate) fn in_f32(mut self) -> Self {
        self.needs_f32 = true;
        self
    }

    pub(crate) fn add(&mut self, delta: Delta) {
        self.deltas.push(delta);
    }

    /// The name in GGUF.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How the values are stored now.
    pub fn dtype(&self) -> DType {
        self.stored[0].dtype()
    }

    /// The type it has if it is not quantized: its own, or F32 where files of all
    /// types have that.
    pub fn kept(&self) -> DType {
        if self.needs_f32 { DType::F32 } else { self.dtype() }
    }

    /// Length of a row.
    pub fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.shape.iter().rev().skip(1).product()
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of it as a type, or `None` if its rows are not whole blocks of that.
    pub fn bytes_as(&self, dtype: DType) -> Option<usize> {
        dtype.row_bytes(self.cols())?.checked_mul(self.rows())
    }

    /// True if adapters change it.
    pub fn is_merged(&self) -> bool {
        !self.deltas.is_empty()
    }

    /// The same rows as they are stored, under the stored name: what can take the
    /// place of the stored tensor. `None` if it is made of several, or adapters
    /// count its rows in yet another way.
    pub(crate) fn as_it_lies(&self) -> Option<Self> {
        let [stored] = &self.stored[..] else { return None };
        let mut lying = Self::as_stored(stored);
        for delta in &self.deltas {
            let order = match (self.order, delta.order()) {
                (order, same) if order == same => Order::AsStored,
                (Order::AsStored, order) => order,
                (order, Order::AsStored) => order.inverse(),
                _ => return None,
            };
            lying.add(delta.in_order(order));
        }
        (self.shape == lying.shape).then_some(lying)
    }

    /// The tensor that [`Weight::as_it_lies`] would replace.
    pub(crate) fn first_stored(&self) -> &Tensor {
        &self.stored[0]
    }

    /// The stored bytes of the rows, if they are wanted exactly as they are.
    pub(crate) fn verbatim(&self) -> Option<impl Iterator<Item = &[u8]>> {
        let same = self.order == Order::AsStored && self.deltas.is_empty();
        same.then(|| self.stored.iter().map(|t| &t.data()[..]))
    }

    /// False if a file was cut while it was read.
    pub(crate) fn is_intact(&self) -> bool {
        self.stored.iter().all(|t| t.data().is_intact())
    }

    /// Tells the system that it may drop the file's pages.
    pub(crate) fn forget_pages(&self) {
        self.stored.iter().for_each(|t| t.data().forget_pages());
    }

    /// Gets ready to read rows: what adapters add is unpacked.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { weight: self, deltas: self.deltas.iter().map(Delta::unpack).collect() }
    }
}

/// Reads rows of a weight as numbers.
pub(crate) struct Reader<'a> {
    weight: &'a Weight,
    deltas: Vec<crate::lora::Unpacked>,
}

impl Reader<'_> {
    /// Fills `out` with these rows.
    pub(crate) fn read(&self, rows: Range<usize>, out: &mut [f32]) {
        let w = self.weight;
        let cols = w.cols();
        match w.order {
            Order::AsStored => self.stored(rows.start * cols, out),
            // A bias has a value per row.
            order if w.shape.len() == 1 => {
                for (i, x) in out.iter_mut().enumerate() {
                    self.stored(order.stored(i), std::slice::from_mut(x));
                }
            }
            order => {
                for (i, out) in rows.clone().zip(out.chunks_exact_mut(cols)) {
                    self.stored(order.stored(i) * cols, out);
                }
            }
        }
        for delta in &self.deltas {
            for (i, out) in rows.clone().zip(out.chunks_exact_mut(cols)) {
                delta.add_row(i, out);
            }
        }
    }

    /// Values of the parts as they are stored, from value `at` on. Both ends are
    /// those of blocks.
    fn stored(&self, mut at: usize, mut out: &mut [f32]) {
        let w = self.weight;
        let (dtype, len) = (w.dtype(), w.stored[0].len());
        let byte = |value: usize| value / dtype.block_len() * dtype.block_bytes();
        while !out.is_empty() {
            let (part, from) = (&w.stored[at / len], at % len);
            let n = out.len().min(len - from);
            let (now, later) = out.split_at_mut(n);
            dtype.dequantize(&part.data()[byte(from)..byte(from + n)], now);
            (at, out) = (at + n, later);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ingot_format::Bytes;

    fn tensor(name: &str, shape: &[usize], first: f32) -> Tensor {
        let len: usize = shape.iter().product();
        let bytes: Vec<u8> = (0..len).flat_map(|i| (first + i as f32).to_le_bytes()).collect();
        Tensor::new(name, DType::F32, shape.to_vec(), Bytes::from(bytes)).unwrap()
    }

    fn values(weight: &Weight, rows: Range<usize>) -> Vec<f32> {
        let mut out = vec![0.0; rows.len() * weight.cols()];
        weight.reader().read(rows, &mut out);
        out
    }

    #[test]
    fn halves_become_pairs() {
        let order = Order::Pairs { head: 4 };
        assert_eq!((0..8).map(|i| order.stored(i)).collect::<Vec<_>>(), [0, 2, 1, 3, 4, 6, 5, 7]);
        let order = Order::Pairs { head: 6 };
        assert_eq!((0..6).map(|i| order.stored(i)).collect::<Vec<_>>(), [0, 3, 1, 4, 2, 5]);
        assert!((0..18).all(|i| order.inverse().stored(order.stored(i)) == i));
        let order = Order::Pairs { head: 4 };
        let matrix = Weight::new("w", vec![4, 2], vec![tensor("w", &[4, 2], 0.0)]).unwrap().with_order(order);
        assert_eq!(values(&matrix, 0..4), [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
        assert_eq!(values(&matrix, 1..3), [4.0, 5.0, 2.0, 3.0]);
        let bias = Weight::new("b", vec![4], vec![tensor("b", &[4], 0.0)]).unwrap().with_order(order);
        assert_eq!(values(&bias, 0..1), [0.0, 2.0, 1.0, 3.0]);
        assert!(matrix.verbatim().is_none());
    }

    #[test]
    fn parts_follow_each_other() {
        let parts = vec![tensor("a", &[2, 2], 0.0), tensor("b", &[2, 2], 10.0)];
        let weight = Weight::new("w", vec![2, 2, 2], parts.clone()).unwrap();
        assert_eq!(values(&weight, 1..4), [2.0, 3.0, 10.0, 11.0, 12.0, 13.0]);
        assert!(Weight::new("w", vec![2, 2], parts).is_err());
        assert!(Weight::new("w", vec![], vec![]).is_err());
    }
}
