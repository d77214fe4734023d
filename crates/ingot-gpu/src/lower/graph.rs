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

    /// Ops whose results a recurrence takes up, directly or through products and
    /// elementwise ops: the norm after it magnifies sums that nearly cancel.
    pub(super) fn before_recurrences(&self) -> Vec<bool> {
        let ops = self.plan.ops();
        let mut found = vec![false; ops.len()];
        let recurrent = |op: &Op| matches!(op, Op::Wkv7(_) | Op::Bonus(_));
        let mut pending: Vec<usize> = (0..ops.len()).filter(|&i| recurrent(&ops[i])).collect();
        while let Some(i) = pending.pop() {
            let producers = ops[i].uses().reads.into_iter().filter_map(|buf| self.producer(buf));
            for p in producers.collect::<Vec<_>>() {
                let passes = matches!(ops[p], Op::Linear(_) | Op::Blend(_) | Op::RwkvKeys(_));
                if passes && !found[p] {
                    found[p] = true;
                    pending.push(p);
                }
            }
        }
        found
    }

    /// Attentions whose result is normed before it is added to anything, directly or after a
    /// product: the norm brings it to the size of the rest, and so what was lost in it.
    pub(super) fn before_norms(&self) -> Vec<bool> {
        let ops = self.plan.ops();
        let mut found = vec![false; ops.len()];
        let norms = ops.iter().filter_map(|op| if let Op::RmsNorm(norm) = op { Some(norm.x) } else { None });
        for x in norms {
            let mut producer = self.producer(x);
            if let Some(Op::Linear(linear)) = producer.map(|i| &ops[i]) {
                producer = self.producer(linear.x);
            }
            if let Some(i) = producer.filter(|&i| matches!(ops[i], Op::Attention(_))) {
                found[i] = true;
            }
        }
        found
    }
}
