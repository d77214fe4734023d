//! What runs on GPUs: launches of kernels, for each kind of device in a file of its own.

#[cfg(any(feature = "cuda", feature = "sim"))]
mod cuda;
#[cfg(feature = "metal")]
mod metal;

use ingot_runtime::DeviceKind;
use ingot_runtime::launches::Lists;

/// The launches for a device, if the program was built for it.
pub fn launches(device: DeviceKind) -> Option<&'static Lists> {
    match device {
        #[cfg(feature = "cuda")]
        DeviceKind::Cuda(_) => Some(&cuda::LISTS),
        #[cfg(feature = "metal")]
        DeviceKind::Metal => Some(&metal::LISTS),
        #[cfg(feature = "sim")]
        DeviceKind::Sim => Some(&cuda::LISTS),
        #[allow(unreachable_patterns)] // with all features
        _ => None,
    }
}
