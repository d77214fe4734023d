//! The SIGBUS handler behind [`super::map_file`] and its table of ranges.
//!
//! A signal handler may neither lock nor allocate, so the ranges live in a fixed
//! table of atomics. On a fault inside one of them the handler lays anonymous
//! zero pages over it, marks the entry as lost and returns: the interrupted load
//! is executed again and finds the zeros. `mmap` is not on
//! POSIX's list of async-signal-safe functions, but on Linux and macOS it is a
//! bare system call. Any other SIGBUS goes to the handler that was there before.

pub(super) use imp::Guard;

#[cfg(any(target_os = "linux", target_os = "macos"))]
mod imp {
    use std::{
        ffi::{c_int, c_void},
        mem, ptr,
        sync::{
            Once, OnceLock,
            atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        },
    };

    /// One mapped range; free while `start` is 0 and nobody has `taken` it.
    struct Entry {
        taken: AtomicBool,
        lost: AtomicBool,
        start: AtomicUsize,
        end: AtomicUsize,
    }

    /// Far more than the parts of any published model.
    const ENTRIES: usize = 2048;
    static TABLE: [Entry; ENTRIES] = [const {
        Entry {
            taken: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
        }
    }; ENTRIES];

    static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();
    static PAGE: AtomicUsize = AtomicUsize::new(0);

    /// A range in the table, for as long as this lives.
    pub struct Guard(&'static Entry);

    impl Guard {
        /// Guards `start..start + len`; `None` if the table is full.
        pub fn new(start: usize, len: usize) -> Option<Self> {
            static INSTALL: Once = Once::new();
            INSTALL.call_once(install);
            let entry = TABLE.iter().find(|e| !e.taken.swap(true, SeqCst))?;
            entry.lost.store(false, SeqCst);
            entry.end.store(start + len, SeqCst);
            entry.start.store(start, SeqCst); // last: from here on the handler sees the entry
            Some(Self(entry))
        }

        pub fn is_intact(&self) -> bool {
            !self.0.lost.load(SeqCst)
        }
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.start.store(0, SeqCst);
            self.0.taken.store(false, SeqCst);
        }
    }

    fn install() {
        // SAFETY: sigaction and sysconf are given valid pointers to zeroed, hence
        // valid, structures. The handler has the signature SA_SIGINFO asks for.
        unsafe {
            PAGE.store(libc::sysconf(libc::_SC_PAGESIZE) as usize, SeqCst);
            let mut previous: libc::sigaction = mem::zeroed();
            libc::sigaction(libc::SIGBUS, ptr::null(), &mut previous);
            PREVIOUS.get_or_init(|| previous); // before ours can run
            let mut ours: libc::sigaction = mem::zeroed();
            ours.sa_sigaction = on_sigbus as *const () as usize;
            // On the alternative stack, because the previous handler may be the
            // one of Rust's runtime that reports stack overflows.
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&mut ours.sa_mask);
            libc::sigaction(libc::SIGBUS, &ours, ptr::null_mut());
        }
    }

    extern "C" fn on_sigbus(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        // SAFETY: the kernel passes a valid siginfo_t, and __errno_location /
        // __error always return this thread's errno.
        unsafe {
            let errno = errno_location();
            let saved = *errno;
            if !replace_from((*info).si_addr().addr()) {
                chain(signal, info, context);
            }
            *errno = saved;
        }
    }

    /// If `address` is in one of our ranges, puts zeros from its page to the end:
    /// a file is cut from behind. One call for all pages also keeps the kernel's
    /// list of mappings short, which is limited.
    fn replace_from(address: usize) -> bool {
        for entry in &TABLE {
            // Another entry may change under our eyes; the one that was faulted on
            // cannot, its owner is waiting for us. Reading `start` twice keeps the
            // bounds of two different mappings from being mixed up.
            let start = entry.start.load(SeqCst);
            let end = entry.end.load(SeqCst);
            if start == 0 || !(start..end).contains(&address) || entry.start.load(SeqCst) != start {
                continue;
            }
            entry.lost.store(true, SeqCst);
            let page = address & !(PAGE.load(SeqCst) - 1);
            // SAFETY: the pages belong to a live map of ours (which starts on a page
            // and takes whole pages), and nobody writes to it; bytes change only in
            // a mapping that is marked as lost.
            let mapped = unsafe {
                libc::mmap(
                    page as *mut c_void,
                    end - page,
                    libc::PROT_READ,
                    libc::MAP_FIXED | libc::MAP_ANON | libc::MAP_PRIVATE,
                    -1,
                    0,
                )
            };
            return mapped != libc::MAP_FAILED;
        }
        false
    }

    /// Does what would have happened without our handler.
    ///
    /// # Safety
    /// The arguments must be those of a running signal handler.
    unsafe fn chain(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        let Some(previous) = PREVIOUS.get() else { return };
        // SAFETY: a handler installed with SA_SIGINFO takes three arguments, one
        // without takes the number only; the arguments are passed through.
        unsafe {
            match previous.sa_sigaction {
                libc::SIG_DFL | libc::SIG_IGN => {
                    // A fault cannot be ignored: it would repeat for ever. The
                    // signal stays blocked until we return, and ends the process.
                    libc::signal(signal, libc::SIG_DFL);
                    libc::raise(signal);
                }
                handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
                    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                        mem::transmute(handler);
                    handler(signal, info, context);
                }
                handler => {
                    let handler: extern "C" fn(c_int) = mem::transmute(handler);
                    handler(signal);
                }
            }
        }
    }

    #[cfg(target_os = "linux")]
    unsafe fn errno_location() -> *mut c_int {
        // SAFETY: no preconditions.
        unsafe { libc::__errno_location() }
    }
    #[cfg(target_os = "macos")]
    unsafe fn errno_location() -> *mut c_int {
        // SAFETY: no preconditions.
        unsafe { libc::__error() }
    }
}

/// Systems where a mapped file cannot be truncated, or where we do not know how
/// to survive it.
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod imp {
    pub struct Guard;

    impl Guard {
        pub fn new(_start: usize, _len: usize) -> Option<Self> {
            Some(Self)
        }
        pub fn is_intact(&self) -> bool {
            true
        }
    }
}
