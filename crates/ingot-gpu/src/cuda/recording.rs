//! Lists of launches, recorded once and submitted any number of times.
//!
//! Launches overlap ("programmatic dependent launch"): every kernel lets its
//! successor start as soon as there is room for it, and the successor waits by
//! itself (`grid_dependency_wait`) before it touches what others write. It then
//! waits for the one launch before it only, which is over once it has itself waited
//! for the one before it, and so on: this is why every kernel has to wait.
//!
//! How a list becomes something to submit, see [`Method`]. A chain is recorded by
//! default even where launches do not depend on each other: the gaps it leaves
//! are small because launches overlap, and it is the form that drivers support longest.

use super::CudaDevice;
use super::driver::{
    CUevent, CUgraph, CUgraphExec, CUgraphNode, CUresult, Context, check, cuEventRecordWithFlags,
    cuGraphAddDependencies_v2, cuGraphAddKernelNode_v2, cuGraphCreate, cuGraphDestroy, cuGraphExecDestroy,
    cuGraphInstantiateWithFlags, cuGraphLaunch, cuLaunchKernelEx, cuStreamBeginCapture_v2,
    cuStreamEndCapture, explain,
};
use super::memory::CudaBuffer;
use super::pipeline::CudaPipeline;
use crate::device::{DeviceError, Recorded};
use cudarc::driver::sys;
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

/// How launches are recorded; the variable `INGOT_CUDA_GRAPH` chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// `capture`: a chain, captured from a stream.
    Capture,
    /// `edges`: a graph whose edges are the launches' dependencies.
    Edges,
    /// `stream`: nothing is recorded, every submission launches one by one.
    Stream,
}

impl Method {
    pub(super) fn from_environment() -> Result<Self, DeviceError> {
        let value = std::env::var_os("INGOT_CUDA_GRAPH").unwrap_or_default();
        match value.to_str() {
            Some("" | "capture") => Ok(Self::Capture),
            Some("edges") => Ok(Self::Edges),
            Some("stream") => Ok(Self::Stream),
            _ => Err(DeviceError::Unavailable(format!(
                "INGOT_CUDA_GRAPH is {value:?}, which is none of capture, edges, stream"
            ))),
        }
    }
}

/// A list of launches that can be submitted.
pub struct CudaRecording {
    // Goes first; then what it uses, and last the context.
    graph: Option<Graph>,
    launches: Vec<Launch>,
    overlap: bool,
    /// The kernels' names, for error messages.
    names: Arc<str>,
    context: Arc<Context>,
}

/// What was submitted.
pub struct CudaFence {
    context: Arc<Context>,
    begin: CUevent,
    end: CUevent,
    names: Arc<str>,
}

// SAFETY: events are handles, which any thread may use.
unsafe impl Send for CudaFence {}

/// A launch with everything that it needs, which it keeps alive.
pub(super) struct Launch {
    pipeline: CudaPipeline,
    arguments: Vec<u64>,
    grid: [u32; 3],
    threads: u32,
    after: Vec<usize>,
    _buffers: Vec<CudaBuffer>,
}

impl Launch {
    /// Checks what the driver would object to without saying where.
    pub(super) fn new(recorded: &Recorded<'_, CudaDevice>) -> Result<Self, DeviceError> {
        let module = &recorded.pipeline.0;
        let fail = |message: String| Err(DeviceError::Failed(format!("kernel {}: {message}", module.name)));
        if recorded.operands.len() != module.buffers {
            return fail(format!("{} buffers given, it has {}", recorded.operands.len(), module.buffers));
        }
        if recorded.threads == 0 || recorded.threads > module.max_threads {
            return fail(format!("{} threads in a group, at most {}", recorded.threads, module.max_threads));
        }
        let [x, y, z] = recorded.grid;
        if x == 0 || y == 0 || z == 0 || x > i32::MAX as u32 || y > 0xffff || z > 0xffff {
            return fail(format!("a grid of {x} x {y} x {z}"));
        }
        let arguments =
            recorded.operands.iter().map(|o| o.buffer.address(o.at, o.bytes)).collect::<Result<_, _>>()?;
        Ok(Self {
            pipeline: recorded.pipeline.clone(),
            arguments,
            grid: recorded.grid,
            threads: recorded.threads,
            after: recorded.after.clone(),
            _buffers: recorded.operands.iter().map(|o| o.buffer.clone()).collect(),
        })
    }

    /// Pointers to the arguments, as the driver takes them. It only reads.
    fn pointers(&self) -> Vec<*mut c_void> {
        self.arguments.iter().map(|a| ptr::from_ref(a).cast_mut().cast()).collect()
    }

    /// Puts it into the stream; with `overlap` it may begin while its predecessor runs.
    fn launch(&self, context: &Context, overlap: bool) -> Result<(), DeviceError> {
        let mut attribute = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let [x, y, z] = self.grid;
        let config = sys::CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: self.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: self.pipeline.0.shared,
            hStream: context.stream(),
            attrs: &mut attribute,
            numAttrs: u32::from(overlap),
        };
        let module = &self.pipeline.0;
        // SAFETY: there are as many arguments as the kernel has parameters, all of them
        // addresses of memory that this launch keeps alive; the driver copies them.
        let status = unsafe {
            cuLaunchKernelEx(&config, module.function, self.pointers().as_mut_ptr(), ptr::null_mut())
        };
        check(status, format_args!("launching {}", module.name))
    }
}

impl CudaRecording {
    /// Records; where the driver refuses that launches overlap, `overlap` becomes false.
    pub(super) fn new(
        context: &Arc<Context>,
        launches: Vec<Launch>,
        method: Method,
        overlap: &mut bool,
    ) -> Result<Self, DeviceError> {
        // A single launch needs no graph.
        let build = |overlap: bool| match method {
            _ if launches.len() <= 1 => Ok(None),
            Method::Stream => Ok(None),
            Method::Capture => Graph::capture(context, || launch_all(&launches, context, overlap)).map(Some),
            Method::Edges => Graph::with_edges(&launches, overlap).map(Some),
        };
        let graph = match build(*overlap) {
            Err(_) if *overlap => {
                *overlap = false;
                build(false)?
            }
            other => other?,
        };
        let names = names(&launches);
        Ok(Self { context: context.clone(), launches, overlap: *overlap, graph, names })
    }

    pub(super) fn submit(&self) -> Result<CudaFence, DeviceError> {
        let context = &self.context;
        let fence = CudaFence {
            context: context.clone(),
            begin: context.event()?,
            end: context.event()?,
            names: self.names.clone(),
        };
        context.mark(fence.begin)?;
        match &self.graph {
            // SAFETY: the graph was made for this context and lives; its memory is kept alive.
            Some(graph) => match unsafe { cuGraphLaunch(graph.0, context.stream()) } {
                CUresult::CUDA_SUCCESS => {}
                status => return Err(fence.failed(explain(status))),
            },
            None => launch_all(&self.launches, context, self.overlap)?,
        }
        context.mark(fence.end)?;
        Ok(fence)
    }
}

impl Drop for CudaRecording {
    fn drop(&mut self) {
        // Nothing can be done about errors here. The wait is for what was submitted.
        let _ = self.context.enter().and_then(|()| self.context.finish());
    }
}

impl CudaFence {
    /// Waits, and says how long it took from begin to end.
    pub(super) fn wait(self) -> Result<Option<f64>, DeviceError> {
        match self.context.await_event(self.end) {
            Ok(()) => Ok(self.context.seconds(self.begin, self.end).ok()),
            Err(error) => Err(self.failed(error.to_string())),
        }
    }

    fn failed(&self, message: String) -> DeviceError {
        DeviceError::Failed(format!("{message}; one of these kernels failed: {}", self.names))
    }
}

impl Drop for CudaFence {
    fn drop(&mut self) {
        self.context.recycle([self.begin, self.end]);
    }
}

/// The first launch waits for everything before it, the others may overlap with their predecessors.
fn launch_all(launches: &[Launch], context: &Context, overlap: bool) -> Result<(), DeviceError> {
    launches.iter().enumerate().try_for_each(|(i, launch)| launch.launch(context, overlap && i > 0))
}

/// Each kernel once, in the order they come.
fn names(launches: &[Launch]) -> Arc<str> {
    let mut names: Vec<&str> = Vec::new();
    for launch in launches {
        let name = launch.pipeline.0.name.as_str();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ").into()
}

/// Runs launches one after the other and measures each, in seconds.
pub(super) fn time(context: &Arc<Context>, launches: &[Launch]) -> Result<Vec<f64>, DeviceError> {
    let events = (0..=launches.len()).map(|_| context.event()).collect::<Result<Vec<_>, _>>()?;
    let result = run_between(context, launches, &events);
    context.recycle(events);
    result
}

/// Events are recorded in one graph with the launches, so that what it costs the
/// host to launch is not measured; one by one if the driver refuses that.
fn run_between(context: &Context, launches: &[Launch], events: &[CUevent]) -> Result<Vec<f64>, DeviceError> {
    let external = sys::CUevent_record_flags::CU_EVENT_RECORD_EXTERNAL as u32;
    let enqueue = |flags: u32| {
        events.iter().enumerate().try_for_each(|(i, event)| {
            if i > 0 {
                launches[i - 1].launch(context, false)?;
            }
            // SAFETY: the event and the stream are of this context and live.
            check(unsafe { cuEventRecordWithFlags(*event, context.stream(), flags) }, "recording an event")
        })
    };
    // Lives until everything is over.
    let graph = Graph::capture(context, || enqueue(external));
    match &graph {
        // SAFETY: the graph was made for this context and lives.
        Ok(graph) => check(unsafe { cuGraphLaunch(graph.0, context.stream()) }, "launching")?,
        Err(_) => enqueue(0)?,
    }
    context
        .finish()
        .map_err(|e| DeviceError::Failed(format!("{e}; one of these failed: {}", names(launches))))?;
    events.windows(2).map(|pair| context.seconds(pair[0], pair[1])).collect()
}

/// Something that the driver launches as a whole.
struct Graph(CUgraphExec);

// SAFETY: a handle, which any thread may use, one at a time.
unsafe impl Send for Graph {}

impl Graph {
    /// What `fill` puts into the stream, which is not run.
    fn capture(
        context: &Context,
        fill: impl FnOnce() -> Result<(), DeviceError>,
    ) -> Result<Self, DeviceError> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream lives and is not being captured.
        check(unsafe { cuStreamBeginCapture_v2(context.stream(), mode) }, "recording launches")?;
        let filled = fill();
        let mut graph = ptr::null_mut();
        // SAFETY: the capture was begun above; it has to be ended whatever happened.
        let ended = unsafe { cuStreamEndCapture(context.stream(), &mut graph) };
        let graph = Plan(graph);
        filled?;
        check(ended, "recording launches")?;
        graph.instantiate()
    }

    /// A node for each launch, an edge for each dependency. A launch with one
    /// predecessor overlaps with it; one that waits for several begins after them.
    fn with_edges(launches: &[Launch], overlap: bool) -> Result<Self, DeviceError> {
        let mut graph = ptr::null_mut();
        // SAFETY: writes a handle, which `Plan` destroys.
        check(unsafe { cuGraphCreate(&mut graph, 0) }, "making a graph")?;
        let graph = Plan(graph);
        let nodes = launches.iter().map(|launch| graph.add(launch)).collect::<Result<Vec<_>, _>>()?;

        let whole = sys::CUgraphEdgeData { from_port: 0, to_port: 0, type_: 0, reserved: [0; 5] };
        let overlapping = sys::CUgraphEdgeData {
            from_port: sys::CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC as u8,
            type_: sys::CUgraphDependencyType::CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC as u8,
            ..whole
        };
        let (mut from, mut to, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
        for (launch, node) in launches.iter().zip(&nodes) {
            for &before in &launch.after {
                from.push(nodes[before]);
                to.push(*node);
                kinds.push(if overlap && launch.after.len() == 1 { overlapping } else { whole });
            }
        }
        // SAFETY: three arrays of the same length; the nodes are the graph's.
        let status = unsafe {
            cuGraphAddDependencies_v2(graph.0, from.as_ptr(), to.as_ptr(), kinds.as_ptr(), from.len())
        };
        check(status, "adding edges to a graph")?;
        graph.instantiate()
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: made by `instantiate`, destroyed once; a launch that still runs is not disturbed.
        let _ = unsafe { cuGraphExecDestroy(self.0) };
    }
}

/// A graph before it can be launched.
struct Plan(CUgraph);

impl Plan {
    fn add(&self, launch: &Launch) -> Result<CUgraphNode, DeviceError> {
        let module = &launch.pipeline.0;
        let [x, y, z] = launch.grid;
        let mut pointers = launch.pointers();
        let parameters = sys::CUDA_KERNEL_NODE_PARAMS {
            func: module.function,
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: launch.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: module.shared,
            kernelParams: pointers.as_mut_ptr(),
            extra: ptr::null_mut(),
            kern: ptr::null_mut(),
            ctx: ptr::null_mut(),
        };
        let mut node = ptr::null_mut();
        // SAFETY: as for a launch; the driver copies the parameters.
        let status = unsafe { cuGraphAddKernelNode_v2(&mut node, self.0, ptr::null(), 0, &parameters) };
        check(status, format_args!("recording {}", module.name))?;
        Ok(node)
    }

    fn instantiate(self) -> Result<Graph, DeviceError> {
        let mut exec = ptr::null_mut();
        // SAFETY: the graph lives; writes a handle, which `Graph` destroys.
        check(unsafe { cuGraphInstantiateWithFlags(&mut exec, self.0, 0) }, "instantiating a graph")?;
        Ok(Graph(exec))
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: made by the driver, destroyed once; what was instantiated is independent of it.
            let _ = unsafe { cuGraphDestroy(self.0) };
        }
    }
}
