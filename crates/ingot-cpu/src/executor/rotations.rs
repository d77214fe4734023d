//! Cosines and sines for rotary embeddings, computed once a step.

use super::Machine;
use crate::shared::Out;
use ingot_plan::ops::Rotary;
use ingot_plan::{Op, Plan, Step};
use std::sync::Arc;

/// Cosines and sines of a step's positions, for each rotary embedding of a plan.
pub(super) struct Rotations {
    tables: Vec<(Arc<Rotary>, Vec<f32>)>,
}

impl Rotations {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut tables: Vec<(Arc<Rotary>, Vec<f32>)> = Vec::new();
        for op in plan.ops() {
            if let Op::Rope(op) = op
                && !tables.iter().any(|(rotary, _)| *rotary == op.rotary)
            {
                tables.push((op.rotary.clone(), Vec::new()));
            }
        }
        Self { tables }
    }

    /// Computes the tables for the step's rows.
    pub(super) fn turn_to(&mut self, step: &Step, machine: &Machine) {
        for (rotary, table) in &mut self.tables {
            let pairs = rotary.frequencies.len();
            if pairs == 0 {
                continue;
            }
            let len = 2 * pairs * step.rows();
            table.resize(table.len().max(len), 0.0);
            let out = Out::new(&mut table[..len], 2 * pairs);
            // A sine takes about as long as a hundred multiplications.
            machine.split(step.rows(), 100 * pairs, |range| {
                for (t, position) in step.positions().enumerate().skip(range.start).take(range.len()) {
                    // SAFETY: every row is in exactly one range.
                    let row = unsafe { out.part(t, 0, 2 * pairs) };
                    let (cos, sin) = row.split_at_mut(pairs);
                    for (j, angle) in rotary.angles(position).enumerate() {
                        (cos[j], sin[j]) = angle;
                    }
                }
            });
        }
    }

    /// All cosines, then all sines of row `t`.
    pub(super) fn row(&self, rotary: &Rotary, t: usize) -> (&[f32], &[f32]) {
        let pairs = rotary.frequencies.len();
        let (_, table) = self.tables.iter().find(|(r, _)| **r == *rotary).expect("a rotary of the plan");
        table[2 * pairs * t..][..2 * pairs].split_at(pairs)
    }
}
