//! Memory that several workers write different parts of, which slices cannot
//! say.

/// Rows of `width` values, some of whose columns each worker writes.
#[derive(Clone, Copy)]
pub(crate) struct Out<T = f32> {
    data: *mut T,
    width: usize,
    rows: usize,
}

// SAFETY: a pointer to values; who writes where is up to `part`'s callers.
unsafe impl<T: Send> Send for Out<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Out<T> {}

impl<T> Out<T> {
    /// All of `data`, `[T, width]`.
    pub(crate) fn new(data: &mut [T], width: usize) -> Self {
        assert!(width > 0 && data.len().is_multiple_of(width), "{} values in rows of {width}", data.len());
        Self { data: data.as_mut_ptr(), width, rows: data.len() / width }
    }

    /// Only some rows.
    pub(crate) fn rows_from(self, first: usize, rows: usize) -> Self {
        assert!(first + rows <= self.rows, "rows {first}+{rows} of {}", self.rows);
        // Inside of the memory, or at its end.
        Self { data: self.data.wrapping_add(first * self.width), rows, ..self }
    }

    /// Number of rows.
    pub(crate) fn rows(self) -> usize {
        self.rows
    }

    /// Length of a row.
    pub(crate) fn width(self) -> usize {
        self.width
    }

    /// Columns `at..at + len` of row `t`.
    ///
    /// # Safety
    /// The memory is still borrowed, and nobody else uses these columns of the
    /// row while the result lives.
    #[inline(always)]
    pub(crate) unsafe fn part<'a>(self, t: usize, at: usize, len: usize) -> &'a mut [T] {
        assert!(t < self.rows && at + len <= self.width, "columns {at}+{len} of row {t}");
        // SAFETY: inside the memory, by the assertion; alone, by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(t * self.width + at), len) }
    }

    /// Columns `at..at + N` of row `t`.
    ///
    /// # Safety
    /// As for [`part`](Self::part).
    #[inline(always)]
    pub(crate) unsafe fn block<'a, const N: usize>(self, t: usize, at: usize) -> &'a mut [f32; N] {
        assert!(t < self.rows && at + N <= self.width, "columns {at}+{N} of row {t}");
        // SAFETY: as there.
        unsafe { &mut *self.data.add(t * self.width + at).cast() }
    }
}
