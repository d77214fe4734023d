//! Every golden file on the reference executor: whole models, exactly right.

use ingot_golden::{Feeder, Golden, compare};
use ingot_plan::{Executor, Place, Precision, Reference};

/// The references compute in f32, the golden files were computed in f64.
const LIMIT: f32 = 1e-4;

#[test]
fn logits_state_and_greedy_text() {
    for golden in Golden::all() {
        let model = golden.load(Precision::F32);
        let mut executor = Reference::new(model.plan.clone(), model.weights);
        let mut feeder = Feeder::new(&mut executor);
        let logits = feeder.feed(&golden.prompt, 512);
        let d = compare(&logits, &golden.logits);
        assert!(d.max_abs < LIMIT, "{}: {d:?}", golden.name);

        let greedy = feeder.greedy(&logits, golden.greedy.len());
        assert!(golden.margins.iter().all(|m| *m > LIMIT), "{}: a margin decides nothing", golden.name);
        assert_eq!(greedy, golden.greedy, "{}", golden.name);
    }
}

#[test]
fn recurrent_state() {
    let mut compared = 0;
    for golden in Golden::all() {
        let Some(expected) = &golden.state else { continue };
        let model = golden.load(Precision::F32);
        let mut executor = Reference::new(model.plan.clone(), model.weights);
        Feeder::new(&mut executor).feed(&golden.prompt, 7);
        let bytes = executor.read(Place::Slot(0)).unwrap();
        let state: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let d = compare(&state, expected);
        assert!(d.max_abs < LIMIT, "{}: {d:?}", golden.name);
        compared += 1;
    }
    assert!(compared >= 5, "only {compared} files with a state");
}

#[test]
fn residual_stream_after_every_block() {
    let mut compared = 0;
    for golden in Golden::all() {
        let Some((positions, expected)) = &golden.trace else { continue };
        let model = golden.load(Precision::F32);
        let mut executor = Reference::new(model.plan.clone(), model.weights);
        Feeder::new(&mut executor).feed(&golden.prompt, 512);
        let hidden = model.info.hidden;
        for block in 0..model.info.layers {
            let name = format!("block {block}");
            let buf = model.plan.find(&name).expect("every block's output is named");
            let stream = executor.buffer(buf);
            for (i, &p) in positions.iter().enumerate() {
                let at = ((block + 1) * positions.len() + i) * hidden;
                let d = compare(&stream[p * hidden..][..hidden], &expected[at..at + hidden]);
                assert!(d.max_abs < LIMIT, "{} {name} at {p}: {d:?}", golden.name);
                compared += 1;
            }
        }
    }
    assert!(compared >= 50, "only {compared} rows compared");
}
