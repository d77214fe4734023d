//! Buffers: memory of Metal's own, or a mapped file as it lies there.

use super::MetalDevice;
use super::object::Moved;
use super::residency::{Residency, Resident, SET_BYTES};
use crate::device::DeviceError;
use block2::RcBlock;
use ingot_format::Bytes;
use objc2::runtime::ProtocolObject;
use objc2_metal::{MTLBuffer, MTLDevice, MTLResourceOptions};
use std::cell::RefCell;
use std::ffi::c_void;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

/// Memory that the GPU and the host share.
///
/// A file can be longer than Metal's buffers may be, and is better split for
/// residency. It is adopted in views that lie side by side; a range that lies in
/// no single one of them, a tensor across a border, gets a view of its own when it
/// is first used.
pub struct Buffer {
    bytes: usize,
    views: RefCell<Vec<View>>,
    /// Of adopted memory.
    adopted: Option<Bytes>,
    residency: Option<Arc<Residency>>,
}

/// A buffer of Metal's and the range of ours that it is.
struct View {
    range: Range<usize>,
    object: Moved<ProtocolObject<dyn MTLBuffer>>,
    /// Held, not used.
    _resident: Option<Resident>,
}

impl View {
    fn new(
        object: Moved<ProtocolObject<dyn MTLBuffer>>,
        range: Range<usize>,
        residency: Option<&Arc<Residency>>,
    ) -> Self {
        let _resident = residency.and_then(|residency| residency.add(&object));
        Self { range, object, _resident }
    }
}

impl Buffer {
    pub(super) fn alloc(
        device: &MetalDevice,
        residency: Option<&Arc<Residency>>,
        bytes: usize,
    ) -> Result<Self, DeviceError> {
        // Metal makes no empty buffers.
        let object = device.newBufferWithLength_options(bytes.max(16), MTLResourceOptions::StorageModeShared);
        let refused = || DeviceError::OutOfMemory(format!("Metal refused a buffer of {bytes} bytes"));
        let view = View::new(Moved(object.ok_or_else(refused)?), 0..bytes, residency);
        Ok(Self { bytes, views: RefCell::new(vec![view]), adopted: None, residency: residency.cloned() })
    }

    /// `None` for bytes that do not begin at a page, or that Metal does not take.
    pub(super) fn adopt(
        device: &MetalDevice,
        residency: Option<&Arc<Residency>>,
        bytes: &Bytes,
    ) -> Option<Self> {
        if bytes.is_empty() || !bytes.as_ptr().addr().is_multiple_of(page_size()) {
            return None;
        }
        let most = SET_BYTES.min(device.maxBufferLength()) / page_size() * page_size();
        let views = (0..bytes.len())
            .step_by(most)
            .map(|begin| {
                let range = begin..(begin + most).min(bytes.len());
                Some(View::new(view_of(device, bytes, &range)?, range, residency))
            })
            .collect::<Option<Vec<View>>>()?;
        Some(Self {
            bytes: bytes.len(),
            views: RefCell::new(views),
            adopted: Some(bytes.clone()),
            residency: residency.cloned(),
        })
    }

    /// The buffer of Metal's for a range, and where in it the range begins.
    pub(super) fn bind(
        &self,
        device: &MetalDevice,
        at: usize,
        bytes: usize,
    ) -> Result<(Moved<ProtocolObject<dyn MTLBuffer>>, usize), DeviceError> {
        self.check(at, bytes);
        let mut views = self.views.borrow_mut();
        let holds = |view: &&View| view.range.start <= at && at + bytes <= view.range.end;
        if let Some(view) = views.iter().find(holds) {
            return Ok((view.object.clone(), at - view.range.start));
        }
        let range = at / page_size() * page_size()..at + bytes;
        let object = self.adopted.as_ref().and_then(|all| view_of(device, all, &range));
        let refused = || DeviceError::OutOfMemory(format!("Metal refused a view of {bytes} mapped bytes"));
        let view = View::new(object.ok_or_else(refused)?, range, self.residency.as_ref());
        let bound = (view.object.clone(), at - view.range.start);
        views.push(view);
        Ok(bound)
    }

    /// The host's pointer to a range.
    pub(super) fn host(&self, at: usize, bytes: usize) -> *const u8 {
        self.check(at, bytes);
        let base = match &self.adopted {
            Some(adopted) => adopted.as_ptr(),
            None => self.views.borrow()[0].object.contents().as_ptr().cast::<u8>().cast_const(),
        };
        base.wrapping_add(at)
    }

    /// The same for writing.
    ///
    /// # Panics
    /// If the memory is adopted: it belongs to somebody else and may be read-only.
    pub(super) fn host_mut(&self, at: usize, bytes: usize) -> *mut u8 {
        assert!(self.adopted.is_none(), "adopted memory is not written");
        self.host(at, bytes).cast_mut()
    }

    fn check(&self, at: usize, bytes: usize) {
        let inside = at.checked_add(bytes).is_some_and(|end| end <= self.bytes);
        assert!(inside, "{bytes} bytes at {at} of a buffer of {} bytes", self.bytes);
    }
}

/// A buffer of Metal's that is a range of these bytes; the range begins at a page.
fn view_of(
    device: &MetalDevice,
    bytes: &Bytes,
    range: &Range<usize>,
) -> Option<Moved<ProtocolObject<dyn MTLBuffer>>> {
    let first = NonNull::new(bytes.get(range.clone())?.as_ptr().cast_mut())?.cast::<c_void>();
    // The memory is in whole pages, so that the rest of the last one is there too.
    let length = range.len().next_multiple_of(page_size());
    let owner = bytes.clone();
    // Metal holds this block until the buffer is gone, which can be after we let it
    // go: a command buffer in flight holds its buffers. So the block owns the bytes.
    let keep = RcBlock::new(move |_: NonNull<c_void>, _: usize| {
        let _ = &owner;
    });
    // SAFETY: the pages are mapped, and stay so until `keep` is released. They are
    // never written: `Device::adopt` says so, and `host_mut` refuses.
    unsafe {
        device.newBufferWithBytesNoCopy_length_options_deallocator(
            first,
            length,
            MTLResourceOptions::StorageModeShared,
            Some(&keep),
        )
    }
    .map(Moved)
}

fn page_size() -> usize {
    // SAFETY: a call without conditions.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).expect("the system has pages")
}
