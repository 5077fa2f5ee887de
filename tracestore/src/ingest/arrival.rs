//! Lets a request arrive: within a time, and within the memory that all of them together may take.
//!
//! A small one takes little, and there is a place for many. One that exceeds that reserves what it
//! says it will take, or the most it may take. Only once all of it is here it waits for its turn to
//! be kept, so that whoever sends slowly keeps others waiting only by what it takes of the memory.

use std::{sync::Arc, time::Duration};

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use super::receiver::{CALL_TIMEOUT, NotKept, Receiver};

/// Bytes of a body that need no reservation.
const SMALL_BYTES: usize = 64 << 10;

/// Requests that arrive or wait at once.
const PLACES: usize = 1000;

/// Bytes that may be reserved at once: no fewer than one request may take.
const MAX_RESERVED_BYTES: usize = 64 << 20;

/// Semaphores count no more than some hundred million: this is one of their permits, in bytes.
const UNIT: usize = 1 << 10;

/// What requests may take of the memory until they are kept, all of them together.
#[derive(Clone)]
pub(super) struct Admission {
    places: Arc<Semaphore>,
    reservations: Arc<Semaphore>,
}

impl Admission {
    pub(super) fn new() -> Admission {
        Admission {
            places: Arc::new(Semaphore::new(PLACES)),
            reservations: Arc::new(Semaphore::new(MAX_RESERVED_BYTES / UNIT)),
        }
    }

    /// How many bytes could be reserved now.
    #[cfg(test)]
    pub(super) fn unreserved(&self) -> usize {
        self.reservations.available_permits() * UNIT
    }
}

/// A body on its way in.
pub(super) struct Arrival {
    receiver: Receiver,
    body: Body,
    arrived: usize,
    /// How many bytes it will have, as far as that is known.
    expected: usize,
    /// How long it may still take, not counting the time in which it waits for others.
    left: Duration,
    place: OwnedSemaphorePermit,
    reserved: Option<OwnedSemaphorePermit>,
}

/// What a request holds while it is kept: its memory, and one of a few turns.
pub(super) struct Turn {
    _memory: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
    _turn: OwnedSemaphorePermit,
}

impl Arrival {
    /// # Errors
    /// `Busy` after 10 seconds in which others had all places.
    pub(super) async fn new(receiver: &Receiver, body: Body) -> Result<Arrival, NotKept> {
        let place = permits(&receiver.admission.places, 1).await?;
        let expected = body.size_hint().upper();
        let expected = expected.and_then(|bytes| usize::try_from(bytes).ok());
        Ok(Arrival {
            receiver: receiver.clone(),
            body,
            arrived: 0,
            expected: expected.unwrap_or(usize::MAX),
            left: CALL_TIMEOUT,
            place,
            reserved: None,
        })
    }

    /// Says how many bytes will have come in the end, if the body itself did not.
    pub(super) fn expect(&mut self, bytes: usize) {
        self.expected = self.expected.min(bytes);
    }

    /// The next bytes, or nothing if that was all.
    ///
    /// # Errors
    /// `Late` once it has taken 10 seconds, `BrokeOff`, and `Busy` after 10 more in which
    /// others took all the memory.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, NotKept>> {
        // Not before whoever reads could say what to expect.
        if self.arrived > SMALL_BYTES
            && self.reserved.is_none()
            && let Err(error) = self.reserve().await
        {
            return Some(Err(error));
        }
        loop {
            let since = Instant::now();
            let Ok(frame) = timeout(self.left, self.body.frame()).await else {
                return Some(Err(NotKept::Late));
            };
            self.left = self.left.saturating_sub(since.elapsed());
            let data = match frame? {
                Ok(frame) => frame.into_data(),
                Err(error) => return Some(Err(NotKept::BrokeOff(error.to_string()))),
            };
            // Trailers say nothing here.
            let Ok(data) = data else { continue };
            self.arrived = self.arrived.saturating_add(data.len());
            return Some(Ok(data));
        }
    }

    async fn reserve(&mut self) -> Result<(), NotKept> {
        let bytes = self
            .expected
            .max(self.arrived)
            .min(self.receiver.max_message_bytes);
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        self.reserved = Some(permits(&self.receiver.admission.reservations, units).await?);
        Ok(())
    }

    /// # Errors
    /// `Busy` after 10 seconds.
    pub(super) async fn turn(self) -> Result<Turn, NotKept> {
        let turn = permits(&self.receiver.calls, 1).await?;
        Ok(Turn {
            _memory: (self.place, self.reserved),
            _turn: turn,
        })
    }
}

async fn permits(of: &Arc<Semaphore>, count: u32) -> Result<OwnedSemaphorePermit, NotKept> {
    match timeout(CALL_TIMEOUT, Arc::clone(of).acquire_many_owned(count)).await {
        Ok(Ok(permits)) => Ok(permits),
        Ok(Err(_)) | Err(_) => Err(NotKept::Busy),
    }
}
