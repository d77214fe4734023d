//! The executor that tests run on.

use ingot_gpu::{DeviceKind, Gpu, GpuOptions};
use ingot_models::Model;

/// The device under test: the simulator unless `INGOT_TEST_DEVICE` names another.
pub fn device() -> DeviceKind {
    match std::env::var("INGOT_TEST_DEVICE") {
        Err(_) => DeviceKind::Sim,
        Ok(word) => word.parse().unwrap_or_else(|e| panic!("INGOT_TEST_DEVICE: {e}")),
    }
}

/// The model on the device under test.
pub fn executor(model: Model, options: &GpuOptions) -> Box<dyn Gpu> {
    ingot_gpu::open(device(), model.plan, model.weights, options, &mut |_, _| ())
        .unwrap_or_else(|e| panic!("{}: {e}", device()))
}
