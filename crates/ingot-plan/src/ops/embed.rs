//! `out[t] = scale * table[token[t]]`, straight from the stored rows.

use super::{Operation, Uses};
use crate::reference::Machine;
use crate::{Buf, Plan, Rows, WeightId};

/// Looks up the step's tokens in the embedding table.
#[derive(Clone, Debug, PartialEq)]
pub struct Embed {
    /// `[vocab, C]`
    pub table: WeightId,
    /// Factor on the values.
    pub scale: f32,
    /// `[T, C]`
    pub out: Buf,
}

impl Operation for Embed {
    const NAME: &'static str = "embed";

    fn uses(&self) -> Uses {
        Uses { writes: vec![self.out], weights: vec![self.table], ..Uses::default() }
    }

    fn check(&self, plan: &Plan) {
        let (table, out) = (plan.weight(self.table), plan.buffer(self.out));
        assert!(
            table.shape.len() == 2 && table.shape[1] == out.width && out.rows == Rows::Tokens,
            "embed: table {:?}, out [{:?}, {}]",
            table.shape,
            out.rows,
            out.width
        );
    }

    fn reference(&self, m: &mut Machine) {
        let tokens = m.step().tokens.clone();
        let out =
            tokens.iter().flat_map(|&id| m.row(self.table, id as usize)).map(|x| self.scale * x).collect();
        m.set(self.out, out);
    }

    fn parameters(&self) -> String {
        if self.scale == 1.0 { String::new() } else { format!("scale {}", self.scale) }
    }
}
