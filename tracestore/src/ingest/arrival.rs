//! Lets a request arrive: within a time, and with a turn once it is not small any more.
//!
//! A turn stands for the memory that the largest request takes, and there are few. Who sends a
//! little, or nothing for now, does without one, so that slow senders do not keep others waiting.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout},
};

use super::receiver::{CALL_TIMEOUT, NotKept, Receiver};

/// Bytes of a body that arrive without a turn.
const SMALL_BYTES: usize = 256 << 10;

/// A body on its way in.
pub(super) struct Arrival {
    receiver: Receiver,
    body: Body,
    bytes: usize,
    /// How long it may still take, not counting the time in which it waits for others.
    left: Duration,
    admitted: Admitted,
}

/// What stands for the memory that the body takes.
enum Admitted {
    AsSmall { _place: OwnedSemaphorePermit },
    Turn(OwnedSemaphorePermit),
}

impl Arrival {
    /// # Errors
    /// `Busy` after 10 seconds in which others kept arriving.
    pub(super) async fn new(receiver: &Receiver, body: Body) -> Result<Arrival, NotKept> {
        let place = receiver.place().await?;
        Ok(Arrival {
            receiver: receiver.clone(),
            body,
            bytes: 0,
            left: CALL_TIMEOUT,
            admitted: Admitted::AsSmall { _place: place },
        })
    }

    /// The next bytes, or nothing if that was all.
    ///
    /// # Errors
    /// `Late` once it has taken 10 seconds, `BrokeOff`, and `Busy` after 10 more in which
    /// others had all turns.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, NotKept>> {
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
            self.bytes = self.bytes.saturating_add(data.len());
            if self.bytes > SMALL_BYTES && matches!(self.admitted, Admitted::AsSmall { .. }) {
                match self.receiver.turn().await {
                    Ok(turn) => self.admitted = Admitted::Turn(turn),
                    Err(error) => return Some(Err(error)),
                }
            }
            return Some(Ok(data));
        }
    }

    /// The turn, to be held while the request is decoded and kept.
    ///
    /// # Errors
    /// `Busy` after 10 seconds.
    pub(super) async fn turn(self) -> Result<OwnedSemaphorePermit, NotKept> {
        match self.admitted {
            Admitted::Turn(turn) => Ok(turn),
            Admitted::AsSmall { .. } => self.receiver.turn().await,
        }
    }
}

/// A body that arrives for somebody else, who reads it to its end.
pub(super) struct Arriving<E> {
    next: Next,
    whole: Arrived,
    error: fn(&NotKept) -> E,
}

/// Has the arrival once the body has ended.
pub(super) type Arrived = Arc<Mutex<Option<Arrival>>>;

type Next = Pin<Box<dyn Future<Output = (Arrival, Option<Result<Bytes, NotKept>>)> + Send>>;

fn next(mut arrival: Arrival) -> Next {
    Box::pin(async move {
        let next = arrival.next().await;
        (arrival, next)
    })
}

impl<E> Arriving<E> {
    pub(super) fn new(arrival: Arrival, error: fn(&NotKept) -> E) -> (Arriving<E>, Arrived) {
        let whole = Arrived::default();
        let arriving = Arriving {
            next: next(arrival),
            whole: Arc::clone(&whole),
            error,
        };
        (arriving, whole)
    }
}

impl<E> HttpBody for Arriving<E> {
    type Data = Bytes;
    type Error = E;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        let (arrival, data) = std::task::ready!(self.next.as_mut().poll(context));
        Poll::Ready(match data {
            Some(Ok(data)) => {
                self.next = next(arrival);
                Some(Ok(Frame::data(data)))
            }
            Some(Err(error)) => {
                self.next = Box::pin(std::future::pending());
                Some(Err((self.error)(&error)))
            }
            None => {
                self.next = Box::pin(std::future::pending());
                let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
                *whole = Some(arrival);
                None
            }
        })
    }
}
