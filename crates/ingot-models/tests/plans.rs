//! Plans as text, and what must hold for every plan.

use ingot_golden::Golden;
use ingot_plan::{Layout, Plan, Precision};
use std::collections::HashSet;

fn plan(name: &str) -> String {
    let golden = Golden::all().into_iter().find(|g| g.name == name).expect("a golden file");
    golden.load(Precision::F32).plan.to_string()
}

/// The first block of a small Qwen2 with mixed types: biases, and no copy of the
/// tied head.
#[test]
fn qwen2_snapshot() {
    let text = plan("qwen2-s-q4_k_m");
    let expected = include_str!("snapshots/qwen2-s-q4_k_m.plan");
    assert_eq!(text, expected, "if the change is meant, replace the snapshot");
}

#[test]
fn rwkv7_snapshot() {
    let text = plan("rwkv7-s-q8_0");
    let expected = include_str!("snapshots/rwkv7-s-q8_0.plan");
    assert_eq!(text, expected, "if the change is meant, replace the snapshot");
}

/// Four norms in a block, a window, rotation in halves, a scaled embedding.
#[test]
fn gemma3_snapshot() {
    let text = plan("gemma3-k-q4_k");
    let expected = include_str!("snapshots/gemma3-k-q4_k.plan");
    assert_eq!(text, expected, "if the change is meant, replace the snapshot");
}

/// Rows of shared tensors in place of three and two.
#[test]
fn phi3_snapshot() {
    let text = plan("phi3-k-q4_k");
    let expected = include_str!("snapshots/phi3-k-q4_k.plan");
    assert_eq!(text, expected, "if the change is meant, replace the snapshot");
}

#[test]
fn every_plan_is_sound() {
    for golden in Golden::all() {
        let model = golden.load(Precision::F32);
        sound(&golden.name, &model.plan);
    }
}

/// Buffers are written once and before they are read, every weight and state is
/// used, and no two live buffers share a region.
fn sound(name: &str, plan: &Plan) {
    let layout = Layout::new(plan);
    let (mut written, mut weights, mut states) = (HashSet::new(), HashSet::new(), HashSet::new());
    let mut owner = vec![None; layout.regions.len()];
    for op in plan.ops() {
        let uses = op.uses();
        for &buf in &uses.reads {
            assert!(written.contains(&buf), "{name}: {} reads an unwritten buffer", op.name());
            let region = layout.region_of[buf.index()];
            assert_eq!(owner[region], Some(buf), "{name}: {} reads an overwritten buffer", op.name());
        }
        for &buf in &uses.writes {
            assert!(written.insert(buf), "{name}: {} writes a buffer again", op.name());
            let (decl, region) = (plan.buffer(buf), layout.region_of[buf.index()]);
            assert!(uses.reads.iter().all(|r| layout.region_of[r.index()] != region), "{name}: in place");
            assert!(layout.regions[region].width >= decl.width && layout.regions[region].rows == decl.rows);
            owner[region] = Some(buf);
        }
        weights.extend(uses.weights);
        states.extend(uses.state);
    }
    assert_eq!(written.len(), plan.buffers().len(), "{name}: a buffer nobody writes");
    assert_eq!(weights.len(), plan.weights().len(), "{name}: a weight nobody reads");
    assert_eq!(states.len(), plan.states().len(), "{name}: a state nobody uses");
    assert_eq!(
        owner[layout.region_of[plan.logits().index()]],
        Some(plan.logits()),
        "{name}: logits are gone"
    );
}
