//! A whole model in a GGUF file: its hyperparameters, the plan they give, and
//! the tensors that the plan asks for.
#![no_main]

use ingot_format::{Gguf, ModelFile};
use ingot_models::Model;
use ingot_plan::Precision;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(gguf) = Gguf::from_bytes(data.to_vec().into()) else { return };
    if let Ok(model) = Model::load(&ModelFile::Gguf(gguf), Precision::Q8) {
        let _ = model.plan.to_string();
    }
});
