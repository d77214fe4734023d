//! Writes the step's keys and values into the sequences' pages.

use super::{Operation, Uses, same_shape};
use crate::reference::Machine;
use crate::{Buf, PAGE, Plan, StateDecl, StateId};

/// Stores each row's key and value at its position.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreKv {
    /// `[T, KV * N]`
    pub k: Buf,
    /// `[T, KV * N]`
    pub v: Buf,
    /// The layer's cache.
    pub cache: StateId,
}

impl Operation for StoreKv {
    const NAME: &'static str = "store_kv";

    fn uses(&self) -> Uses {
        Uses { reads: vec![self.k, self.v], state: Some(self.cache), ..Uses::default() }
    }

    fn check(&self, plan: &Plan) {
        same_shape(Self::NAME, plan, &[self.k, self.v]);
        let (width, cache) = (plan.buffer(self.k).width, plan.states()[self.cache.index()]);
        assert!(cache == StateDecl::Kv { width }, "store_kv: keys of {width}, {cache:?}");
    }

    fn reference(&self, m: &mut Machine) {
        let width = m.plan().buffer(self.k).width;
        let base = m.plan().state_offset(self.cache);
        for s in m.step().sequences.clone() {
            for (i, t) in s.rows.clone().enumerate() {
                let position = s.past + i;
                let k = m.buffer(self.k)[t * width..][..width].to_vec();
                let v = m.buffer(self.v)[t * width..][..width].to_vec();
                let page = m.page(s.pages[position / PAGE]);
                page[base + position % PAGE * width..][..width].copy_from_slice(&k);
                page[base + (PAGE + position % PAGE) * width..][..width].copy_from_slice(&v);
            }
        }
    }
}
