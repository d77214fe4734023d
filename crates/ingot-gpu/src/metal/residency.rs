//! Residency sets (macOS 15): memory in them stays mapped for the GPU, instead of
//! being mapped and unmapped with every command buffer.
//!
//! The system decides about each set as a whole, so that several sets of some
//! gigabytes are better than one. It forgets about sets that were not asked for
//! lately: a thread asks for them again while the device is in use.

use super::object::Moved;
use super::{MetalDevice, Queue};
use objc2::available;
use objc2::rc::autoreleasepool;
use objc2::runtime::ProtocolObject;
use objc2_metal::{
    MTLAllocation, MTLBuffer, MTLCommandQueue, MTLDevice, MTLResidencySet, MTLResidencySetDescriptor,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// A command queue takes no more sets.
const MOST_SETS: usize = 32;
/// A set that has more than this takes no more memory, as long as there may be another.
pub(super) const SET_BYTES: usize = 4 << 30;
/// How often the sets are asked for, and for how long after the last submission.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
const KEEP_ALIVE_FOR: Duration = Duration::from_secs(180);

pub(super) struct Residency {
    device: MetalDevice,
    queue: Queue,
    state: Mutex<State>,
}

struct State {
    sets: Vec<Set>,
    used: Instant,
}

struct Set {
    object: Moved<ProtocolObject<dyn MTLResidencySet>>,
    bytes: usize,
}

/// Membership of a buffer in a set, which ends when this is dropped.
pub(super) struct Resident {
    residency: Arc<Residency>,
    set: usize,
    buffer: Moved<ProtocolObject<dyn MTLBuffer>>,
}

impl Residency {
    /// `None` where the system has no residency sets.
    pub(super) fn new(device: &MetalDevice, queue: &Queue) -> Option<Arc<Self>> {
        if !available!(macos = 15.0) {
            return None;
        }
        let state = Mutex::new(State { sets: Vec::new(), used: Instant::now() });
        let this = Arc::new(Self { device: device.clone(), queue: queue.clone(), state });
        let weak = Arc::downgrade(&this);
        // Without the thread everything works, if more slowly after a pause.
        let _ = std::thread::Builder::new().name("metal residency".into()).spawn(move || keep_alive(&weak));
        Some(this)
    }

    /// Notes that something was submitted.
    pub(super) fn used(&self) {
        self.state().used = Instant::now();
    }

    /// Puts a buffer into a set; `None` if the system refuses to make one.
    pub(super) fn add(self: &Arc<Self>, buffer: &Moved<ProtocolObject<dyn MTLBuffer>>) -> Option<Resident> {
        let mut state = self.state();
        let bytes = buffer.length();
        let set = match state.sets.iter().position(|set| set.bytes + bytes <= SET_BYTES) {
            Some(room) => room,
            None if state.sets.len() < MOST_SETS => {
                let descriptor = MTLResidencySetDescriptor::new();
                let object = self.device.newResidencySetWithDescriptor_error(&descriptor).ok()?;
                self.queue.addResidencySet(&object);
                state.sets.push(Set { object: Moved(object), bytes: 0 });
                state.sets.len() - 1
            }
            None => (0..MOST_SETS).min_by_key(|&i| state.sets[i].bytes)?,
        };
        state.sets[set].bytes += bytes;
        let object = &state.sets[set].object;
        object.addAllocation(allocation(buffer));
        object.commit();
        object.requestResidency();
        Some(Resident { residency: self.clone(), set, buffer: buffer.clone() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        let mut state = self.residency.state();
        let set = &mut state.sets[self.set];
        set.bytes -= self.buffer.length();
        set.object.removeAllocation(allocation(&self.buffer));
        set.object.commit();
    }
}

/// The queue may outlive the sets' other owners by the command buffers in it.
impl Drop for Residency {
    fn drop(&mut self) {
        for set in &self.state().sets {
            set.object.endResidency();
            self.queue.removeResidencySet(&set.object);
        }
    }
}

fn allocation(buffer: &ProtocolObject<dyn MTLBuffer>) -> &ProtocolObject<dyn MTLAllocation> {
    ProtocolObject::from_ref(buffer)
}

/// Runs until the device is gone.
fn keep_alive(residency: &Weak<Residency>) {
    loop {
        std::thread::sleep(KEEP_ALIVE);
        let Some(residency) = residency.upgrade() else { return };
        let state = residency.state();
        if state.used.elapsed() < KEEP_ALIVE_FOR {
            autoreleasepool(|_| state.sets.iter().for_each(|set| set.object.requestResidency()));
        }
    }
}
