//! `embed`: rows of the embedding table for the step's tokens.

use super::block_types::{UnsupportedType, stored};
use super::{Norm, Shape, Target};
use crate::launch::{Kernel, Launch, Operand, What};
use ingot_plan::ops::Embed;
use ingot_plan::{Buf, Plan};

/// Threads of a row.
const SIMDGROUPS: u32 = 8;

/// The launch; `norm` is a layer norm of what is looked up, written to `out`.
///
/// # Panics
/// If `norm` is another norm, or of scaled values: no model has one there.
pub fn embed(
    plan: &Plan,
    target: &Target,
    shape: &Shape,
    op: &Embed,
    norm: Option<Norm>,
    out: Buf,
) -> Result<Launch, UnsupportedType> {
    assert!(norm.is_none() || op.scale == 1.0, "embed: a norm of scaled values");
    let decl = plan.weight(op.table);
    let (weight, bias, eps) = match norm {
        None => (Operand::absent(), Operand::absent(), 0.0),
        Some(Norm::Layer { weight, bias, eps }) => {
            (Operand::read(weight.into()), Operand::read(bias.into()), eps)
        }
        Some(Norm::Rms { .. }) => panic!("embed: an RMS norm of the embedding"),
    };
    let kernel = Kernel::new("embed")
        .option("BLOCK", stored(decl.dtype, decl.shape[1], target.eights)?.0)
        .option("LAYER_NORM", norm.is_some())
        .option("SIMDGROUPS", SIMDGROUPS)
        .uint("COLS", decl.shape[1])
        .float("EPS", eps)
        .float("SCALE", op.scale);
    let operands = vec![
        Operand::read(op.table.into()),
        weight,
        bias,
        Operand::write(out.into()),
        Operand::read(What::Step),
    ];
    Ok(Launch { kernel, operands, grid: [shape.rows as u32, 1, 1], threads: 32 * SIMDGROUPS })
}
