//! Who writes and who reads each buffer of a plan.

use ingot_plan::{Buf, Op, Plan};

pub(super) struct Graph<'a> {
    pub(super) plan: &'a Plan,
    producer: Vec<Option<usize>>,
    readers: Vec<Vec<usize>>,
}

impl<'a> Graph<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        let n = plan.buffers().len();
        let mut graph = Self { plan, producer: vec![None; n], readers: vec![Vec::new(); n] };
        for (i, op) in plan.ops().iter().enumerate() {
            let uses = op.uses();
            uses.writes.iter().for_each(|b| graph.producer[b.index()] = Some(i));
            for b in uses.reads {
                // An op that reads a buffer twice is one reader.
                let readers = &mut graph.readers[b.index()];
                if readers.last() != Some(&i) {
                    readers.push(i);
                }
            }
        }
        graph
    }

    pub(super) fn op(&self, i: usize) -> &'a Op {
        &self.plan.ops()[i]
    }

    /// The op that writes a buffer.
    pub(super) fn producer(&self, buf: Buf) -> Option<usize> {
        self.producer[buf.index()]
    }

    /// All ops that read a buffer.
    pub(super) fn readers(&self, buf: Buf) -> &[usize] {
        &self.readers[buf.index()]
    }

    /// The only op that reads a buffer; none if the buffer is the plan's result.
    pub(super) fn sole_reader(&self, buf: Buf) -> Option<usize> {
        match self.readers(buf) {
            [one] if buf != self.plan.logits() => Some(*one),
            _ => None,
        }
    }

    /// The op that writes `buf`, if `reader` is the only one to read it.
    pub(super) fn private_producer(&self, buf: Buf, reader: usize) -> Option<usize> {
        (self.sole_reader(buf) == Some(reader)).then(|| self.producer(buf)).flatten()
    }
}
