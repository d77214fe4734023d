//! The program writes what ingot wrote with the same weights when the program was made.
//!
//! Recorded on the processor. Where two tokens are almost equally likely, one with other
//! instructions may decide otherwise, because it adds up in another order.

use ingot_runtime::{ExecutorKind, Model, Options, Request, Sampler, SamplerOptions};
use std::path::{Path, PathBuf};

use {{library}}::model::MODEL;

/// `{{prompt}}`
#[rustfmt::skip]
const PROMPT: &[u32] = &[
    {{prompt_tokens}},
];

#[rustfmt::skip]
const GREEDY: &[u32] = &[
    {{greedy_tokens}},
];

fn weights() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("weights.gguf")
}

fn open(executor: ExecutorKind) -> Model {
    MODEL.open(&weights(), &Options { executor, ..Options::default() }).expect("the weights of this model")
}

fn greedy(model: &Model) -> Vec<u32> {
    let mut session = model.session().expect("memory for a sequence");
    session.feed(PROMPT).expect("tokens of the vocabulary");
    let mut sampler = Sampler::new(SamplerOptions::greedy()).expect("valid options");
    let request = Request { max_tokens: Some(GREEDY.len()), ignore_end: true, ..Request::default() };
    let text = session.generate(&mut sampler, &request).expect("a prompt was read");
    text.filter_map(|piece| piece.expect("a step").token).collect()
}

#[test]
fn on_the_processor() {
    assert_eq!(greedy(&open(ExecutorKind::Cpu)), GREEDY);
}

/// The launches of this program against those that the runtime makes of the plan.
#[cfg(feature = "sim")]
#[test]
fn on_a_simulated_gpu() {
    use ingot_runtime::DeviceKind;
    let device = ExecutorKind::Gpu(DeviceKind::Sim);
    let planned = MODEL.open_planned(&weights(), &Options { executor: device, ..Options::default() });
    assert_eq!(greedy(&open(device)), greedy(&planned.expect("the weights of this model")));
}
