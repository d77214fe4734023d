//! `embed`: rows of the embedding table for the step's tokens.

use super::block_types::{UnsupportedType, block};
use super::{Norm, Shape};
use crate::launch::{Kernel, Launch, Operand, What};
use ingot_plan::{Buf, Plan, WeightId};

/// Threads of a row.
const SIMDGROUPS: u32 = 8;

/// The launch; `norm` is a layer norm of what is looked up.
///
/// # Panics
/// If `norm` is another norm: no model has one there.
pub fn embed(
    plan: &Plan,
    shape: &Shape,
    table: WeightId,
    norm: Option<Norm>,
    out: Buf,
) -> Result<Launch, UnsupportedType> {
    let decl = plan.weight(table);
    let (weight, bias, eps) = match norm {
        None => (Operand::absent(), Operand::absent(), 0.0),
        Some(Norm::Layer { weight, bias, eps }) => {
            (Operand::read(weight.into()), Operand::read(bias.into()), eps)
        }
        Some(Norm::Rms { .. }) => panic!("embed: an RMS norm of the embedding"),
    };
    let kernel = Kernel::new("embed")
        .option("BLOCK", block(decl.dtype)?)
        .option("LAYER_NORM", norm.is_some())
        .option("SIMDGROUPS", SIMDGROUPS)
        .uint("COLS", decl.shape[1])
        .float("EPS", eps);
    let operands = vec![
        Operand::read(table.into()),
        weight,
        bias,
        Operand::write(out.into()),
        Operand::read(What::Step),
    ];
    Ok(Launch { kernel, operands, grid: [shape.rows as u32, 1, 1], threads: 32 * SIMDGROUPS })
}
