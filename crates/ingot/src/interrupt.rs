//! Ctrl-C: the first one asks whatever runs to stop in good order, the second
//! one, or one while nothing runs that could stop, ends the program.

use crate::failure::{Failure, Result};
use signal_hook::{consts::SIGINT, flag};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code of a program that ctrl-C ended.
const EXIT_CODE: i32 = 130;

/// Whether ctrl-C was pressed.
#[derive(Clone, Debug)]
pub struct Interrupt {
    /// True outside of [`Interrupt::catch`] as well: then the next ctrl-C kills.
    pressed: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes over the signal.
    pub fn install() -> Result<Self> {
        let pressed = Arc::new(AtomicBool::new(true));
        // The order matters: the first looks at the flag before the second sets it.
        flag::register_conditional_shutdown(SIGINT, EXIT_CODE, pressed.clone())
            .and_then(|_| flag::register(SIGINT, pressed.clone()))
            .map_err(|e| Failure::new(format!("cannot handle ctrl-C: {e}")))?;
        Ok(Self { pressed })
    }

    /// Until the guard is dropped, ctrl-C is noticed and does not kill.
    pub fn catch(&self) -> Catching<'_> {
        self.pressed.store(false, Ordering::SeqCst);
        Catching(self)
    }
}

/// A time during which ctrl-C is noticed.
pub struct Catching<'a>(&'a Interrupt);

impl Catching<'_> {
    /// True once it was pressed.
    pub fn pressed(&self) -> bool {
        self.0.pressed.load(Ordering::SeqCst)
    }
}

impl Drop for Catching<'_> {
    fn drop(&mut self) {
        self.0.pressed.store(true, Ordering::SeqCst);
    }
}
