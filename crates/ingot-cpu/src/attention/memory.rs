//! The pages' memory: slabs that the system is asked to back with huge pages.
//!
//! Attention reads a few kilobytes of each page and goes on to the next; with
//! small pages of the system that is a miss of the address table every time.

use super::lines::Line;
use ingot_plan::ExecError;
use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

/// Bytes of a huge page, to which slabs are aligned.
const HUGE: usize = 2 << 20;
/// Bytes of a slab, about. Of a slab only what is in use takes memory.
const SLAB: usize = 16 * HUGE;

/// Pages of keys and values. Growing copies nothing.
pub(crate) struct Memory {
    /// Lines of a page.
    page_lines: usize,
    slabs: Vec<Slab>,
    /// Number of pages.
    pages: usize,
}

/// Memory of [`Memory::per_slab`] pages, of which the first ones are in use.
struct Slab {
    data: NonNull<Line>,
    layout: Layout,
}

// SAFETY: a slab owns its memory; references to it follow those to the slab.
unsafe impl Send for Slab {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.data.as_ptr().cast(), self.layout) }
    }
}

impl Memory {
    /// No pages yet; `len`: lines of each.
    pub(crate) fn new(len: usize) -> Self {
        Self { page_lines: len, slabs: Vec::new(), pages: 0 }
    }

    /// Number of pages.
    pub(crate) fn len(&self) -> usize {
        self.pages
    }

    fn per_slab(&self) -> usize {
        (SLAB / (self.page_lines * Line::BYTES).max(1)).max(1)
    }

    /// Makes it at least this many pages; new ones are zero.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub(crate) fn grow(&mut self, pages: usize) -> Result<(), ExecError> {
        while self.pages < pages {
            if self.pages == self.slabs.len() * self.per_slab() {
                self.slabs.push(self.slab()?);
            }
            let place = self.place(self.pages);
            // SAFETY: inside the slab, by `place`; zeros make it lines.
            unsafe { place.write_bytes(0, self.page_lines) };
            self.pages += 1;
        }
        Ok(())
    }

    fn slab(&self) -> Result<Slab, ExecError> {
        let bytes = (self.page_lines * Line::BYTES).saturating_mul(self.per_slab()).max(1);
        let failed = || ExecError::OutOfMemory(format!("pages of keys and values of {bytes} bytes"));
        let layout = Layout::from_size_align(bytes, HUGE).map_err(|_| failed())?;
        // SAFETY: the size is not 0.
        let data = NonNull::new(unsafe { alloc(layout) }).ok_or_else(failed)?;
        // SAFETY: the memory is ours; a hint, whose failure changes nothing.
        #[cfg(target_os = "linux")]
        unsafe {
            libc::madvise(data.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE);
        }
        Ok(Slab { data: data.cast(), layout })
    }

    /// Where a page begins whose slab exists.
    fn place(&self, page: usize) -> *mut Line {
        let slab = &self.slabs[page / self.per_slab()];
        // SAFETY: the slab has room for this many pages.
        unsafe { slab.data.as_ptr().add(page % self.per_slab() * self.page_lines) }
    }

    /// A page, if there is one of this number.
    #[inline]
    pub(crate) fn page(&self, page: usize) -> Option<&[Line]> {
        // SAFETY: a page is in use, so it has been written, and borrowed like `self`.
        (page < self.pages).then(|| unsafe { std::slice::from_raw_parts(self.place(page), self.page_lines) })
    }

    /// A page, if there is one of this number.
    pub(crate) fn page_mut(&mut self, page: usize) -> Option<&mut [Line]> {
        // SAFETY: as above.
        (page < self.pages)
            .then(|| unsafe { std::slice::from_raw_parts_mut(self.place(page), self.page_lines) })
    }

    /// Copies a page onto another; both exist.
    pub(crate) fn copy(&mut self, from: usize, to: usize) {
        assert!(from.max(to) < self.pages, "pages {from} and {to} of {}", self.pages);
        // SAFETY: both are in use; distinct pages do not overlap, the same one may.
        unsafe { std::ptr::copy(self.place(from), self.place(to), self.page_lines) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_stay_while_others_come() {
        // A page larger than a slab, several in a slab, none at all.
        for len in [SLAB / Line::BYTES + 1, SLAB / Line::BYTES / 3, 5, 0] {
            let mut memory = Memory::new(len);
            assert!(memory.page(0).is_none() && memory.page_mut(0).is_none());
            memory.grow(2).unwrap();
            let mark = |x: f32| Line([x; 16]);
            memory.page_mut(1).unwrap().fill(mark(1.0));
            memory.grow(5).unwrap();
            memory.grow(1).unwrap();
            assert_eq!(memory.len(), 5);
            memory.page_mut(4).unwrap().fill(mark(4.0));
            memory.copy(1, 3);
            memory.copy(4, 4);
            for (page, want) in [0.0, 1.0, 0.0, 1.0, 4.0].into_iter().enumerate() {
                let lines = memory.page(page).unwrap();
                assert!(lines.len() == len && lines.iter().all(|l| l.0 == [want; 16]), "{page} of {len}");
            }
            assert!(memory.page(5).is_none());
        }
    }
}
