//! What a keeper is told by those who write, and they by it: there is something to do, there is room again, sealing fails.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{Unavailable, lock, storage::NotSealed};
use crate::output;

/// How often a keeper looks for what to do, at least.
pub(super) const REST: Duration = Duration::from_secs(1);
/// How long a request waits for the keeper to make room.
const PATIENCE_FOR_ROOM: Duration = Duration::from_secs(2);

/// Between one keeper and all who write.
pub(super) struct Orders {
    /// What is kept, for people.
    what: &'static str,
    state: Mutex<State>,
    wake: Condvar,
    /// Signalled when the keeper made room.
    room: Condvar,
}

#[derive(Default)]
struct State {
    is_wanted: bool,
    stop: bool,
    /// Why the last attempt to seal failed.
    trouble: Option<String>,
}

impl Orders {
    pub(super) fn new(what: &'static str) -> Orders {
        Orders {
            what,
            state: Mutex::default(),
            wake: Condvar::new(),
            room: Condvar::new(),
        }
    }

    /// There is something to do.
    pub(super) fn wake(&self) {
        lock(&self.state).is_wanted = true;
        self.wake.notify_all();
    }

    pub(super) fn stop(&self) {
        lock(&self.state).stop = true;
        self.wake.notify_all();
    }

    /// Waits until there is something to do, at most so long. Whether the keeper is to go on.
    pub(super) fn rest(&self, at_most: Duration) -> bool {
        let mut state = lock(&self.state);
        if !state.is_wanted && !state.stop && !at_most.is_zero() {
            let waited = self.wake.wait_timeout(state, at_most);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if !state.stop {
            state.is_wanted = false;
        }
        !state.stop
    }

    /// Has the keeper make room, and waits for it.
    pub(super) fn wait_for_room(&self, has_room: impl Fn() -> bool) -> Result<(), Unavailable> {
        if has_room() {
            return Ok(());
        }
        let deadline = Instant::now() + PATIENCE_FOR_ROOM;
        let mut state = lock(&self.state);
        loop {
            // The keeper makes room first, and signals it under this lock: it is seen, or heard.
            if has_room() {
                return Ok(());
            }
            state.is_wanted = true;
            self.wake.notify_all();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let why = state.trouble.clone();
                let why = why.unwrap_or_else(|| "too much is waiting for it".to_owned());
                return Err(Unavailable {
                    reason: format!("sealing {}: {why}", self.what),
                });
            }
            let waited = self.room.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The keeper has made room.
    pub(super) fn made_room(&self) {
        drop(lock(&self.state));
        self.room.notify_all();
    }
}

/// Remembers that sealing failed, and says so once.
#[derive(Default)]
pub(super) struct Trouble {
    since: Option<Instant>,
}

impl Trouble {
    pub(super) fn may_try_again(&self) -> bool {
        self.since.is_none_or(|since| since.elapsed() >= REST)
    }

    pub(super) fn note(&mut self, orders: &Orders, sealed: Result<(), NotSealed>) {
        let what = orders.what;
        let mut state = lock(&orders.state);
        match sealed {
            Ok(()) => {
                if self.since.take().is_some() {
                    output::info(&format!("{what} are sealed again"), json!({}));
                }
                state.trouble = None;
            }
            Err(error) => {
                if self.since.is_none() {
                    output::warn(
                        &format!("sealing {what}: {error}; trying again every second"),
                        json!({ "reason": error.to_string() }),
                    );
                }
                self.since = Some(Instant::now());
                state.trouble = Some(error.to_string());
            }
        }
    }
}
