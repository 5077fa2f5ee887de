//! Answers until their clients have read them: how much memory those may take, and for how long.
//!
//! An answer is complete before its first byte is sent, and a client that does not read would keep it for ever.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::patience::{Reading, Watch};

/// Bytes of answers of one port that wait for their clients. What is answered beyond that is refused.
const MAX_UNREAD_BYTES: usize = 128 << 20;

/// Semaphores count no more than some hundred million: this is one of their permits, in bytes. No answer takes less.
const UNIT: usize = 1 << 10;

/// Bytes that a client must take at once to be seen reading.
const SLICE_BYTES: usize = 64 << 10;

/// What an answer takes that does not come as one piece, in bytes: in the extensions of a response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Takes(pub(crate) usize);

/// The answers of a port.
#[derive(Clone)]
pub(super) struct Unread(Arc<Semaphore>);

impl Unread {
    pub(super) fn new() -> Unread {
        Unread::of(MAX_UNREAD_BYTES)
    }

    fn of(bytes: usize) -> Unread {
        Unread(Arc::new(Semaphore::new(bytes / UNIT)))
    }

    /// Counts an answer until it is sent. If there is no room for it, another says so instead.
    pub(super) fn hold(&self, answer: Response, watch: &Watch) -> Response {
        let takes = match (answer.extensions().get(), answer.body().size_hint().exact()) {
            (Some(Takes(bytes)), _) => *bytes,
            (None, Some(bytes)) => usize::try_from(bytes).unwrap_or(usize::MAX),
            (None, None) => 0,
        };
        if answer.body().is_end_stream() {
            return answer;
        }
        let units = takes.div_ceil(UNIT).clamp(1, MAX_UNREAD_BYTES / UNIT);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&self.0).try_acquire_many_owned(units) else {
            let why =
                "answers that their clients do not read take all the memory that there is for them";
            return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
        };
        answer.map(|body| {
            Body::new(Held {
                body,
                rest: Bytes::new(),
                has_begun: false,
                reading: watch.reading(),
                _room: room,
            })
        })
    }
}

/// A body that is given away slice by slice. Whoever asks for the next one has sent those before, or nearly so.
struct Held {
    body: Body,
    /// What of the last frame was not given away yet.
    rest: Bytes,
    has_begun: bool,
    reading: Reading,
    _room: OwnedSemaphorePermit,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.reading.is_awaited();
        while self.rest.is_empty() {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Ok(Ok(data))) => self.rest = data,
            }
        }
        let len = self.rest.len().min(SLICE_BYTES);
        let slice = self.rest.split_to(len);
        self.has_begun = true;
        self.reading.is_given();
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    /// Not before the last slice was sent, or HTTP/2 would drop this with the slice still in its hands.
    fn is_end_stream(&self) -> bool {
        !self.has_begun && self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn answer(bytes: usize) -> Response {
        let content: Vec<u8> = (0..bytes).map(|number| (number % 251) as u8).collect();
        content.into_response()
    }

    #[tokio::test]
    async fn answers_that_are_not_read_take_no_more_than_there_is_for_them() {
        let unread = Unread::of(200 << 10);
        let hold = |answer| unread.hold(answer, &Watch::new());
        let first = hold(answer(150 << 10));
        let second = hold(answer(150 << 10));
        assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
        let small = hold(answer(1));
        assert_eq!(small.status(), StatusCode::OK);

        assert_eq!(first.body().size_hint().exact(), Some(150 << 10));
        let mut body = first.into_body();
        let mut read = Vec::new();
        while read.len() < 150 << 10 {
            let slice = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(slice.len() <= SLICE_BYTES, "{}", slice.len());
            read.extend_from_slice(&slice);
            let left = (150 << 10) - read.len() as u64;
            assert_eq!(body.size_hint().exact(), Some(left));
        }
        let whole = answer(150 << 10).into_body().collect().await.unwrap();
        assert_eq!(read, whole.to_bytes());
        // The last slice may still be on its way.
        assert!(!body.is_end_stream());
        assert_eq!(
            hold(answer(150 << 10)).status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert!(body.frame().await.is_none());
        drop(body);
        assert_eq!(hold(answer(150 << 10)).status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn an_answer_of_several_pieces_takes_what_it_says() {
        let unread = Unread::of(200 << 10);
        let watch = Watch::new();
        let mut pieces = Body::new(answer(10).into_body()).into_response();
        pieces.extensions_mut().insert(Takes(150 << 10));
        let held = unread.hold(pieces, &watch);
        assert_eq!(held.status(), StatusCode::OK);
        assert_eq!(unread.0.available_permits(), 50);
        drop(held);
        assert_eq!(unread.0.available_permits(), 200);
    }

    #[tokio::test]
    async fn an_answer_without_content_is_left_as_it_is() {
        let unread = Unread::of(1 << 10);
        let held = unread.hold(StatusCode::NOT_FOUND.into_response(), &Watch::new());
        assert!(held.body().is_end_stream());
        assert_eq!(unread.0.available_permits(), 1);
    }
}
