//! The time of each launch.
//!
//! Each launch is a command buffer of its own, so that nothing runs beside it. The
//! times of a command buffer include its start and its end; the GPU's own clock,
//! where it can be read at the ends of an encoder, is nearer to the launch.

use super::submit::{Fence, Recording, command_buffer};
use super::{MetalDevice, Queue};
use crate::device::DeviceError;
use objc2::rc::Retained;
use objc2::runtime::ProtocolObject;
use objc2_foundation::NSRange;
use objc2_metal::{
    MTLCommandBuffer, MTLCommandEncoder, MTLCommonCounterSetTimestamp, MTLComputePassDescriptor,
    MTLCounterErrorValue, MTLCounterSampleBuffer, MTLCounterSampleBufferDescriptor, MTLCounterSamplingPoint,
    MTLCounterSet, MTLDevice, MTLStorageMode,
};
use std::ptr::NonNull;

/// Seconds, by launch.
pub(super) fn time(
    device: &MetalDevice,
    queue: &Queue,
    recording: &Recording,
) -> Result<Vec<f64>, DeviceError> {
    let samples = sample_buffer(device);
    let pass = MTLComputePassDescriptor::computePassDescriptor();
    if let Some(samples) = &samples {
        // SAFETY: the array has an attachment 0; 0 and 1 are samples of the buffer.
        unsafe {
            let attachment = pass.sampleBufferAttachments().objectAtIndexedSubscript(0);
            attachment.setSampleBuffer(Some(samples));
            attachment.setStartOfEncoderSampleIndex(0);
            attachment.setEndOfEncoderSampleIndex(1);
        }
    }
    let (cpu_begin, gpu_begin) = clocks(device);
    let mut busy = Vec::new(); // seconds of the command buffer, and ticks of the launch
    for launch in &recording.launches {
        let commands = command_buffer(queue)?;
        let encoder = commands
            .computeCommandEncoderWithDescriptor(&pass)
            .ok_or_else(|| DeviceError::Failed("Metal gave no command encoder".into()))?;
        launch.encode(&encoder, true);
        encoder.endEncoding();
        commands.commit();
        let seconds = Fence::new(commands).wait()?;
        busy.push((seconds, samples.as_deref().and_then(ticks)));
    }
    let (cpu_end, gpu_end) = clocks(device);
    // The host's clock counts nanoseconds.
    let tick = 1e-9 * cpu_end.wrapping_sub(cpu_begin) as f64 / gpu_end.wrapping_sub(gpu_begin) as f64;
    let usable = gpu_end > gpu_begin && cpu_end > cpu_begin;
    let seconds = |(whole, ticks): (f64, Option<u64>)| match ticks {
        Some(ticks) if usable => ticks as f64 * tick,
        _ => whole,
    };
    Ok(busy.into_iter().map(seconds).collect())
}

/// Room for two readings of the GPU's clock, where it can be read at the ends of encoders.
fn sample_buffer(device: &MetalDevice) -> Option<Retained<ProtocolObject<dyn MTLCounterSampleBuffer>>> {
    if !device.supportsCounterSampling(MTLCounterSamplingPoint::AtStageBoundary) {
        return None;
    }
    // SAFETY: a constant of the framework's.
    let timestamp = unsafe { MTLCommonCounterSetTimestamp };
    let sets = device.counterSets()?;
    let set = sets.iter().find(|set| *set.name() == *timestamp)?;
    let descriptor = MTLCounterSampleBufferDescriptor::new();
    descriptor.setCounterSet(Some(&set));
    descriptor.setStorageMode(MTLStorageMode::Shared);
    // SAFETY: a number of samples that every device can hold.
    unsafe { descriptor.setSampleCount(2) };
    device.newCounterSampleBufferWithDescriptor_error(&descriptor).ok()
}

/// From the beginning of the encoder to its end.
fn ticks(samples: &ProtocolObject<dyn MTLCounterSampleBuffer>) -> Option<u64> {
    // SAFETY: the buffer has two samples, and the encoder that wrote them is done.
    let data = unsafe { samples.resolveCounterRange(NSRange::new(0, 2)) }?.to_vec();
    let word = |at: usize| Some(u64::from_ne_bytes(data.get(at..at + 8)?.try_into().ok()?));
    let (begin, end) = (word(0)?, word(8)?);
    let good = begin != MTLCounterErrorValue && end != MTLCounterErrorValue && begin < end;
    good.then(|| end - begin)
}

/// The host's clock and the GPU's.
fn clocks(device: &MetalDevice) -> (u64, u64) {
    let (mut host, mut gpu) = (0, 0);
    // SAFETY: both pointers are to values that outlive the call.
    unsafe { device.sampleTimestamps_gpuTimestamp(NonNull::from(&mut host), NonNull::from(&mut gpu)) };
    (host, gpu)
}
