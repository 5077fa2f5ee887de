//! Requests that come again: whoever got no answer sends the same bytes once more, and OTLP gives records no ids.
//!
//! Two records that say the same are two. But a request is not made twice with the same times in it.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use super::{super::log::Written, LogBatch};

/// Requests that are remembered. Few in tests, so that some are forgotten.
pub(super) const REMEMBERED: usize = if cfg!(test) { 8 } else { 16_384 };

/// Tells requests apart. Its key is random, so that nobody can make one that counts as another's.
#[derive(Default)]
pub(super) struct Fingerprints(RandomState);

impl Fingerprints {
    /// `None` if one of its records has no time: it may mean another moment each time it is sent.
    pub(super) fn of(&self, form: u8, body: &[u8], batches: &[LogBatch<'_>]) -> Option<u64> {
        let mut records = batches.iter().flat_map(|batch| &batch.records);
        let have_times = records.all(|record| record.time_unix_nano != 0);
        have_times.then(|| self.0.hash_one((form, body)))
    }
}

/// The last requests whose records are kept, by their fingerprints.
#[derive(Default)]
pub(super) struct Repeats {
    known: HashMap<u64, Known>,
    /// The oldest first.
    order: VecDeque<u64>,
}

struct Known {
    generation: u64,
    state: State,
}

#[derive(Clone)]
pub(super) enum State {
    /// Written, and not acknowledged yet.
    Written(Arc<Written>),
    Acknowledged,
}

impl Repeats {
    pub(super) fn find(&self, fingerprint: u64) -> Option<State> {
        Some(self.known.get(&fingerprint)?.state.clone())
    }

    /// `generation` is that of the log in which it is.
    pub(super) fn remember(&mut self, fingerprint: u64, generation: u64, state: State) {
        let known = Known { generation, state };
        if self.known.insert(fingerprint, known).is_some() {
            return;
        }
        self.order.push_back(fingerprint);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// It is acknowledged, or its sender was told to send it again. Nothing happens to one that is forgotten by now.
    pub(super) fn settle(&mut self, fingerprint: u64, is_kept: bool) {
        if !is_kept {
            self.known.remove(&fingerprint);
            self.order.retain(|known| *known != fingerprint);
        } else if let Some(known) = self.known.get_mut(&fingerprint) {
            known.state = State::Acknowledged;
        }
    }

    /// What is evicted may come again, and is kept then.
    pub(super) fn forget_up_to(&mut self, generation: u64) {
        let known = &mut self.known;
        self.order.retain(|fingerprint| {
            let is_kept = known
                .get(fingerprint)
                .is_some_and(|it| it.generation > generation);
            if !is_kept {
                known.remove(fingerprint);
            }
            is_kept
        });
    }
}
