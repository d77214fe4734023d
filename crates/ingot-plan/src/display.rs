//! Plans as text, one op a line, for people and for snapshot tests:
//!
//! ```text
//! %4 [T, 96] = linear(%3; blk.0.attn_q.weight Q8_0 [96, 128]) inputs F32
//! ```

use crate::{Buf, Op, Plan, Rows, StateDecl, WeightId};
use std::fmt;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, state) in self.states().iter().enumerate() {
            match state {
                StateDecl::Kv { width } => writeln!(f, "state {i}: keys and values of {width}")?,
                StateDecl::Recurrent { len } => writeln!(f, "state {i}: {len} recurrent values")?,
            }
        }
        self.ops().iter().try_for_each(|op| self.line(f, op))
    }
}

impl Plan {
    fn line(&self, f: &mut fmt::Formatter<'_>, op: &Op) -> fmt::Result {
        let uses = op.uses();
        let join = |parts: Vec<String>| parts.join(", ");
        if !uses.writes.is_empty() {
            write!(f, "{} = ", join(uses.writes.iter().map(|&b| self.shown(b)).collect()))?;
        }
        let mut arguments = vec![join(uses.reads.iter().map(|b| format!("%{}", b.index())).collect())];
        arguments.extend(self.shown_weights(&uses.weights));
        arguments.extend(uses.state.map(|s| format!("state {}", s.index())));
        arguments.retain(|a| !a.is_empty());
        write!(f, "{}({})", op.name(), arguments.join("; "))?;
        match op.parameters() {
            p if p.is_empty() => writeln!(f),
            p => writeln!(f, " {p}"),
        }
    }

    fn shown(&self, buf: Buf) -> String {
        let decl = self.buffer(buf);
        let rows = match decl.rows {
            Rows::Tokens => 'T',
            Rows::Outputs => 'O',
        };
        format!("%{} [{rows}, {}]", buf.index(), decl.width)
    }

    /// Of many alike that follow each other, as experts' are, only the first.
    fn shown_weights(&self, ids: &[WeightId]) -> Vec<String> {
        let alike = |a: &WeightId, b: &WeightId| {
            let (a, b) = (self.weight(*a), self.weight(*b));
            (a.dtype, &a.shape) == (b.dtype, &b.shape)
        };
        let shown = |run: &[WeightId]| match run {
            [first, others @ ..] if others.len() >= 8 => {
                vec![format!("{} and {} like it", self.shown_weight(*first), others.len())]
            }
            few => few.iter().map(|&id| self.shown_weight(id)).collect(),
        };
        ids.chunk_by(alike).flat_map(shown).collect()
    }

    fn shown_weight(&self, id: WeightId) -> String {
        let w = self.weight(id);
        format!("{} {} {:?}", w.name, w.dtype, w.shape)
    }
}
