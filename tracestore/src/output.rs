//! Lines on standard output and standard error.
//!
//! `println!` panics when the reader of a pipe has gone; a trace store must outlive its log.

use std::{
    io::{self, Write},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Writes a line in one call, so that lines of several processes do not mix. A failure is
/// ignored: there is nowhere to report it.
pub(crate) fn line(mut to: impl Write, text: &str) {
    let _ = to.write_all(format!("{text}\n").as_bytes());
    let _ = to.flush();
}

/// A log of something that strangers can cause as often as they like: at most one line in
/// 10 seconds, with the number of those that were left out.
pub(crate) struct Limited {
    state: Mutex<State>,
}

struct State {
    last: Option<Instant>,
    left_out: u64,
}

const PAUSE: Duration = Duration::from_secs(10);

impl Limited {
    pub(crate) fn new() -> Limited {
        Limited {
            state: Mutex::new(State {
                last: None,
                left_out: 0,
            }),
        }
    }

    /// Writes to standard error, or counts what is left out.
    pub(crate) fn line(&self, text: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| last.elapsed() < PAUSE) {
            state.left_out += 1;
            return;
        }
        let left_out = match std::mem::take(&mut state.left_out) {
            0 => String::new(),
            count => format!(" (and {count} more since the last such line)"),
        };
        state.last = Some(Instant::now());
        line(io::stderr(), &format!("{text}{left_out}"));
    }
}
