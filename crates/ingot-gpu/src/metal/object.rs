//! Ownership of Metal's objects across threads.

use objc2::Message;
use objc2::rc::Retained;
use std::ops::Deref;

/// An object that may be moved to another thread. Metal's buffers, residency sets
/// and command buffers are bound to no thread, but not all of their methods may be
/// called from several at once, for which reason the bindings do not say so themselves.
pub(super) struct Moved<T>(pub(super) Retained<T>);

// SAFETY: reference counts of Objective-C are atomic, and Metal's objects may be
// used and released on any thread. Of methods that change an object, those of
// residency sets are called under a lock, and those of command buffers by the one
// owner. Buffers are shared between threads, but are never changed.
unsafe impl<T> Send for Moved<T> {}

impl<T: Message> Clone for Moved<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Moved<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}
