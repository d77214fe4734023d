//! Steps that must be refused, and that a refused step changes nothing.

use ingot_format::{Bytes, DType, Tensor};
use ingot_plan::{
    ExecError, Executor, Place, Plan, PlanBuilder, Precision, Reference, Sequence, StateDecl, Step,
};
use std::sync::Arc;

/// Two tokens of vocabulary, with a cache and a recurrent state.
fn model() -> (Plan, Vec<Tensor>) {
    let bytes: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let table = Tensor::new("t", DType::F32, vec![2, 2], Bytes::from(bytes)).unwrap();
    let mut p = PlanBuilder::new(Precision::F32);
    let (embedding, mix) = (p.weight(&table), p.weight(&table));
    let x = p.embed(embedding);
    let x = p.attention([x, x, x], [1, 1], 1.0, None);
    let state = p.state(StateDecl::Recurrent { len: 2 });
    let [a, b] = p.token_shift(x, mix, state);
    let x = p.add(a, b);
    let x = p.select(x);
    let logits = p.linear(x, embedding);
    (p.finish(logits), vec![table.clone(), table])
}

fn refused(change: impl FnOnce(&mut Step)) -> String {
    let (plan, weights) = model();
    let mut executor = Reference::new(Arc::new(plan), weights);
    executor.reserve(1, 2).unwrap();
    let mut logits = Vec::new();
    executor.run(&Step::single(&[0, 1], 0, 0, &[0]), &mut logits).unwrap();
    let before = (executor.read(Place::Page(0)).unwrap(), executor.read(Place::Slot(0)).unwrap());

    let mut step = Step::single(&[1, 1], 2, 0, &[0]);
    change(&mut step);
    let error = executor.run(&step, &mut logits).expect_err("should be refused");
    assert_eq!(before, (executor.read(Place::Page(0)).unwrap(), executor.read(Place::Slot(0)).unwrap()));
    assert!(matches!(error, ExecError::Request(_)));
    error.to_string()
}

#[test]
fn steps_that_make_no_sense() {
    assert!(refused(|s| s.tokens[1] = 2).contains("token id 2 is outside of the vocabulary of 2"));
    assert!(refused(|s| s.tokens.clear()).contains("at least one token"));
    assert!(refused(|s| s.sequences[0].past = 63).contains("do not hold 65 positions"));
    assert!(refused(|s| s.sequences[0].past = usize::MAX).contains("overflows"));
    assert!(refused(|s| s.sequences[0].pages = vec![7]).contains("page 7"));
    assert!(refused(|s| s.sequences[0].slot = 2).contains("slot 2"));
    assert!(refused(|s| s.outputs = vec![1, 0]).contains("ascending"));
    assert!(refused(|s| s.outputs = vec![2]).contains("inside"));
    assert!(refused(|s| s.sequences[0].rows = 0..1).contains("belong to no sequence"));
    assert!(refused(|s| s.sequences[0].rows = 1..2).contains("do not follow"));
    let twice = |s: &mut Step| {
        s.sequences = [0..1, 1..2].map(|rows| Sequence { rows, past: 2, slot: 0, pages: vec![0] }).to_vec();
    };
    assert!(refused(twice).contains("share slot 0"));
}

#[test]
fn places_that_do_not_exist() {
    let (plan, weights) = model();
    let mut executor = Reference::new(Arc::new(plan), weights);
    executor.reserve(1, 1).unwrap();
    assert!(executor.read(Place::Page(1)).is_err());
    assert!(executor.copy(Place::Slot(0), Place::Slot(1)).is_err());
    assert!(executor.copy(Place::Slot(0), Place::Page(0)).is_err(), "a slot is no page");
    assert!(executor.write(Place::Slot(0), &[0; 7]).is_err());
    assert!(executor.clear_slot(1).is_err());
}
