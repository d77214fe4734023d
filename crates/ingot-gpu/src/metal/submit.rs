//! Launches to command buffers, and waiting for these.

use super::library::Pipeline;
use super::object::Moved;
use super::{Metal, MetalDevice, Queue};
use crate::barriers::barriers;
use crate::device::{DeviceError, Recorded};
use objc2::rc::Retained;
use objc2::runtime::ProtocolObject;
use objc2_foundation::NSError;
use objc2_metal::{
    MTLBarrierScope, MTLBuffer, MTLCommandBuffer, MTLCommandBufferError, MTLCommandBufferErrorDomain,
    MTLCommandBufferStatus, MTLCommandEncoder, MTLCommandQueue, MTLComputeCommandEncoder,
    MTLComputePipelineState, MTLDispatchType, MTLSize,
};

/// A list of launches.
pub struct Recording {
    pub(super) launches: Vec<Launch>,
}

/// One of them, with everything it holds on to.
pub(super) struct Launch {
    pipeline: Pipeline,
    buffers: Vec<(Moved<ProtocolObject<dyn MTLBuffer>>, usize)>,
    grid: MTLSize,
    threads: MTLSize,
    /// A barrier precedes it.
    barrier: bool,
}

/// A command buffer that was committed. It holds all that it uses.
pub struct Fence(Moved<ProtocolObject<dyn MTLCommandBuffer>>);

impl Recording {
    pub(super) fn new(device: &MetalDevice, launches: &[Recorded<'_, Metal>]) -> Result<Self, DeviceError> {
        let after: Vec<Vec<usize>> = launches.iter().map(|launch| launch.after.clone()).collect();
        let launches = launches.iter().zip(barriers(&after));
        let launches = launches.map(|(launch, barrier)| Launch::new(device, launch, barrier));
        Ok(Self { launches: launches.collect::<Result<_, _>>()? })
    }

    pub(super) fn submit(&self, queue: &Queue) -> Result<Fence, DeviceError> {
        let commands = command_buffer(queue)?;
        let encoder = commands
            .computeCommandEncoderWithDispatchType(MTLDispatchType::Concurrent)
            .ok_or_else(|| DeviceError::Failed("Metal gave no command encoder".into()))?;
        let mut pipeline = None;
        for launch in &self.launches {
            if launch.barrier {
                encoder.memoryBarrierWithScope(MTLBarrierScope::Buffers);
            }
            let new = Some(Retained::as_ptr(&launch.pipeline.state));
            launch.encode(&encoder, new != pipeline);
            pipeline = new;
        }
        encoder.endEncoding();
        commands.commit();
        Ok(Fence(Moved(commands)))
    }
}

impl Launch {
    fn new(device: &MetalDevice, launch: &Recorded<'_, Metal>, barrier: bool) -> Result<Self, DeviceError> {
        let (pipeline, threads) = (launch.pipeline.clone(), launch.threads as usize);
        let most = pipeline.state.maxTotalThreadsPerThreadgroup();
        if threads > most {
            let message = format!("{threads} threads in a threadgroup, of which it can have {most}");
            return Err(DeviceError::Kernel { kernel: pipeline.kernel.into(), message });
        }
        let buffers = launch.operands.iter().map(|bound| bound.buffer.bind(device, bound.at, bound.bytes));
        Ok(Self {
            pipeline,
            buffers: buffers.collect::<Result<_, _>>()?,
            grid: size(launch.grid),
            threads: size([launch.threads, 1, 1]),
            barrier,
        })
    }

    /// `set_pipeline`: the encoder has another one, or none.
    pub(super) fn encode(&self, encoder: &ProtocolObject<dyn MTLComputeCommandEncoder>, set_pipeline: bool) {
        if set_pipeline {
            encoder.setComputePipelineState(&self.pipeline.state);
        }
        for (index, (buffer, at)) in self.buffers.iter().enumerate() {
            // SAFETY: the range was checked when it was bound. That the kernel stays
            // inside of it, and that launches which touch the same memory are in order,
            // is what the simulator checks for the same launches.
            unsafe { encoder.setBuffer_offset_atIndex(Some(buffer), *at, index) };
        }
        encoder.dispatchThreadgroups_threadsPerThreadgroup(self.grid, self.threads);
    }
}

impl Fence {
    pub(super) fn new(commands: Retained<ProtocolObject<dyn MTLCommandBuffer>>) -> Self {
        Self(Moved(commands))
    }

    /// The seconds that the device was busy.
    pub(super) fn wait(self) -> Result<f64, DeviceError> {
        self.0.waitUntilCompleted();
        if self.0.status() == MTLCommandBufferStatus::Completed {
            return Ok(self.0.GPUEndTime() - self.0.GPUStartTime());
        }
        Err(match self.0.error() {
            Some(error) => failure(&error),
            None => DeviceError::Failed("a command buffer failed without a reason".into()),
        })
    }
}

/// An empty command buffer. It holds what is encoded into it until it is done.
pub(super) fn command_buffer(
    queue: &Queue,
) -> Result<Retained<ProtocolObject<dyn MTLCommandBuffer>>, DeviceError> {
    queue.commandBuffer().ok_or_else(|| DeviceError::Failed("Metal gave no command buffer".into()))
}

fn failure(error: &NSError) -> DeviceError {
    let message = error.localizedDescription().to_string();
    // SAFETY: a constant of the framework's.
    let domain = unsafe { MTLCommandBufferErrorDomain };
    let code = usize::try_from(error.code()).ok();
    if *error.domain() == *domain && code == Some(MTLCommandBufferError::OutOfMemory.0) {
        return DeviceError::OutOfMemory(message);
    }
    DeviceError::Failed(message)
}

fn size([width, height, depth]: [u32; 3]) -> MTLSize {
    MTLSize { width: width as usize, height: height as usize, depth: depth as usize }
}
