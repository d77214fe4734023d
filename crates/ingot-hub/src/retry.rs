//! Trying again what may succeed a little later.

use crate::{Error, Result};
use std::time::Duration;

/// Failures in a row after which it is over. With the pauses between them that is
/// half a minute.
const ATTEMPTS: u32 = 6;
/// Longer than this nobody waits for a server that asks for patience.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often something failed in a row.
pub struct Attempts {
    failed: u32,
    /// The first pause.
    pause: Duration,
}

impl Attempts {
    /// Nothing failed yet.
    pub fn new(pause: Duration) -> Self {
        Self { failed: 0, pause }
    }

    /// It went well for a while, so failures are counted from the beginning.
    pub fn progress(&mut self) {
        self.failed = 0;
    }

    /// How long to wait before trying again what ended like this; the error itself
    /// if that is pointless.
    pub fn after(&mut self, error: &Error) -> Option<Duration> {
        self.failed += 1;
        if !error.is_transient() || self.failed >= ATTEMPTS {
            return None;
        }
        let pause = self.pause * 2u32.pow(self.failed - 1);
        match error {
            Error::Busy { after: Some(after), .. } if *after > PATIENCE => None,
            Error::Busy { after: Some(after), .. } => Some(pause.max(*after)),
            _ => Some(pause),
        }
    }

    /// Does it until it succeeds or trying again is pointless; `before` is told of
    /// each pause. Who cannot be reached at all is not waited for: most likely there
    /// is no network, and a person would rather know.
    pub fn run<T>(
        mut self,
        mut before: impl FnMut(&Error, Duration),
        mut attempt: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        loop {
            let error = match attempt() {
                Err(error) if !matches!(error, Error::Unreachable { .. }) => error,
                done => return done,
            };
            let Some(pause) = self.after(&error) else { return Err(error) };
            before(&error, pause);
            std::thread::sleep(pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(seconds: Option<u64>) -> Error {
        Error::Busy { host: "h".into(), status: 429, after: seconds.map(Duration::from_secs) }
    }

    #[test]
    fn pauses_grow_and_end() {
        let mut attempts = Attempts::new(Duration::from_secs(1));
        let pauses: Vec<_> = std::iter::from_fn(|| attempts.after(&busy(None))).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16].map(Duration::from_secs));
        attempts.progress();
        assert_eq!(attempts.after(&busy(None)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_server_may_ask_for_some_patience() {
        let after = |seconds| Attempts::new(Duration::from_secs(1)).after(&busy(Some(seconds)));
        assert_eq!(after(7), Some(Duration::from_secs(7)));
        assert_eq!(after(0), Some(Duration::from_secs(1)));
        assert_eq!(after(100_000), None);
    }

    #[test]
    fn what_will_not_change_is_not_tried_again() {
        let error = Error::NotFound { what: "x".into() };
        assert_eq!(Attempts::new(Duration::ZERO).after(&error), None);
    }
}
