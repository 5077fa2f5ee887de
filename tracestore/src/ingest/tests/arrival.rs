//! Requests that arrive slowly: they neither wait for ever nor keep others waiting.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::{Response, StatusCode},
};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tonic::{Code, Status};

use super::{
    super::{
        grpc, otlp_http,
        receiver::{CALL_TIMEOUT, MAX_CALLS, Receiver},
    },
    answers::{body, post, receiver},
};

/// A body of chunks, each so long after the one before.
struct Slow {
    chunks: VecDeque<(Duration, Bytes)>,
    pause: Pin<Box<Sleep>>,
    /// What `Content-Length` says.
    length: Option<u64>,
}

impl Slow {
    fn body(chunks: impl IntoIterator<Item = (u64, Vec<u8>)>) -> Body {
        Slow::of_length(None, chunks)
    }

    fn of_length(length: Option<u64>, chunks: impl IntoIterator<Item = (u64, Vec<u8>)>) -> Body {
        let chunks = chunks.into_iter();
        let chunks: VecDeque<_> = chunks
            .map(|(seconds, bytes)| (Duration::from_secs(seconds), bytes.into()))
            .collect();
        let first = chunks.front().map_or(Duration::ZERO, |(pause, _)| *pause);
        Body::new(Slow {
            chunks,
            pause: Box::pin(sleep(first)),
            length,
        })
    }
}

impl HttpBody for Slow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.chunks.is_empty() {
            return Poll::Ready(None);
        }
        std::task::ready!(self.pause.as_mut().poll(context));
        let chunk = self.chunks.pop_front();
        if let Some((pause, _)) = self.chunks.front() {
            self.pause = Box::pin(sleep(*pause));
        }
        Poll::Ready(chunk.map(|(_, bytes)| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Spaces around an object without spans.
fn json(bytes: usize) -> Vec<u8> {
    let mut json = vec![b' '; bytes];
    json[..2].copy_from_slice(b"{}");
    json
}

/// An unknown field of this many bytes, in the framing of gRPC.
fn message(bytes: u32) -> Vec<u8> {
    let mut field = vec![0x7a];
    let mut rest = bytes;
    while rest > 0x7f {
        field.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    field.push(rest as u8);
    field.extend(vec![0; bytes as usize]);
    let mut message = vec![0];
    message.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
    message.extend(field);
    message
}

async fn by_http(receiver: &Receiver, body: Body) -> Response<Body> {
    let router: Router = otlp_http::router(receiver.clone());
    post(router, "/v1/traces", "application/json", body).await
}

async fn by_grpc(receiver: &Receiver, body: Body) -> Option<Code> {
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let router = grpc::router(receiver.clone());
    let answer = post(router, path, "application/grpc", body).await;
    Status::from_header_map(answer.headers()).map(|status| status.code())
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_slow_senders_keep_nobody_waiting() {
    let receiver = receiver();
    let begun = Instant::now();
    let slow: Vec<_> = (0..200)
        .map(|number| {
            let receiver = receiver.clone();
            tokio::spawn(async move {
                let byte_by_byte =
                    |bytes: Vec<u8>| Slow::body(bytes.into_iter().map(|byte| (1, vec![byte])));
                match number % 2 {
                    0 => {
                        let answer = by_http(&receiver, byte_by_byte(json(100))).await;
                        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
                        let why = body(answer).await;
                        assert!(String::from_utf8_lossy(&why).contains("took too long to arrive"));
                    }
                    _ => {
                        let code = by_grpc(&receiver, byte_by_byte(message(100))).await;
                        assert_eq!(code, Some(Code::DeadlineExceeded));
                    }
                }
            })
        })
        .collect();
    sleep(Duration::from_secs(1)).await;
    let answer = by_http(&receiver, Slow::body([(0, json(2))])).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let answer = by_http(&receiver, Slow::body([(0, json(1 << 20))])).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(
        by_grpc(&receiver, Slow::body([(0, message(1 << 20))])).await,
        None
    );
    // The clock is paused: nothing but waiting takes time.
    assert_eq!(begun.elapsed().as_secs(), 1);
    for sender in slow {
        sender.await.unwrap();
    }
    assert_eq!(begun.elapsed().as_secs(), CALL_TIMEOUT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn waiting_for_others_is_not_the_senders_fault() {
    let receiver = receiver();
    let all = Arc::clone(&receiver.calls).acquire_many_owned(MAX_CALLS);
    let all = all.await.unwrap();
    let large = || [(6, json(1 << 20)), (3, json(1 << 20))];
    let begun = Instant::now();
    let (busy, refused) = tokio::join!(
        by_http(&receiver, Slow::body(large())),
        by_grpc(&receiver, Slow::body([(6, message(1 << 20))])),
    );
    assert_eq!(begun.elapsed().as_secs(), 19);
    assert_eq!(busy.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused, Some(Code::Unavailable));

    let free = async {
        sleep(Duration::from_secs(15)).await;
        drop(all);
    };
    let (malformed, kept, ()) = tokio::join!(
        by_http(&receiver, Slow::body(large())),
        by_grpc(&receiver, Slow::body([(6, message(1 << 20))])),
        free,
    );
    // Both halves of it are there.
    assert_eq!(malformed.status(), StatusCode::BAD_REQUEST);
    assert_eq!(kept, None);
    assert_eq!(receiver.calls.available_permits(), MAX_CALLS as usize);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_small_reserves_what_it_says_it_will_take() {
    const MOST: usize = 16 << 20;
    let stalled = |length, sent| Slow::of_length(length, [(0, sent), (3600, Vec::new())]);
    let declared = message(1 << 20);
    let half = &declared[..declared.len() / 2];
    for (by_grpc_, body, bytes) in [
        (false, stalled(Some(2 << 20), json(1000)), 0),
        (false, stalled(Some(2 << 20), json(100 << 10)), 2 << 20),
        (false, stalled(None, json(100 << 10)), MOST),
        (false, stalled(Some(1 << 30), json(100 << 10)), MOST),
        (true, stalled(None, half.to_vec()), declared.len()),
    ] {
        let receiver = receiver();
        let all = receiver.admission.unreserved();
        let request = async {
            match by_grpc_ {
                true => drop(by_grpc(&receiver, body).await),
                false => drop(by_http(&receiver, body).await),
            }
        };
        let look = async {
            sleep(Duration::from_secs(5)).await;
            all - receiver.admission.unreserved()
        };
        let ((), reserved) = tokio::join!(request, look);
        assert_eq!(reserved, bytes.next_multiple_of(1 << 10));
        assert_eq!(receiver.admission.unreserved(), all);
    }
}

#[tokio::test(start_paused = true)]
async fn memory_that_others_reserved_is_waited_for() {
    let receiver = receiver();
    let large = |seconds| Slow::body([(0, json(100 << 10)), (seconds, vec![b' '; 1000])]);
    let begun = Instant::now();
    let mut senders = tokio::task::JoinSet::new();
    for seconds in [8, 8, 8, 8, 1] {
        let (receiver, body) = (receiver.clone(), large(seconds));
        senders.spawn(async move {
            let answer = by_http(&receiver, body).await;
            assert_eq!(answer.status(), StatusCode::OK);
            begun.elapsed().as_secs()
        });
        tokio::task::yield_now().await;
    }
    // The fifth had nothing to wait for but the first four.
    assert_eq!(senders.join_all().await, [8; 5]);
}
