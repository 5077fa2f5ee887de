//! Bodies on their way through: limited towards the upstream, watched towards the client, never collected.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{self, Sleep};

use crate::exchange::{ABORTED, Exchange};
use crate::server::Limits;

/// Why a request body did not reach its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyFailure {
    #[error("the request body is too large")]
    TooLarge,
    #[error("the request body took too long")]
    TooSlow,
    /// Bad chunks, or a client that left.
    #[error("the request body is malformed or was cut off")]
    Broken,
}

/// How far a request body got, for those who do not hold it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) bytes: AtomicU64,
    pub(crate) failure: OnceLock<BodyFailure>,
}

/// The body of a request, towards the upstream.
#[derive(Debug)]
pub(crate) enum RequestBody {
    Empty,
    Streaming(Box<Streaming>),
}

#[derive(Debug)]
pub(crate) struct Streaming {
    incoming: Incoming,
    deadline: Pin<Box<Sleep>>,
    max_bytes: u64,
    progress: Arc<Progress>,
    /// Dropped when there is no more to come.
    _sent: oneshot::Sender<()>,
}

impl RequestBody {
    /// Limits a body in size and time. The receiver ends when the body is sent, or given up.
    pub(crate) fn limited(
        incoming: Incoming,
        limits: &Limits,
        progress: Arc<Progress>,
    ) -> (Self, oneshot::Receiver<()>) {
        let (sent, done) = oneshot::channel();
        let streaming = Streaming {
            incoming,
            deadline: Box::pin(time::sleep(limits.body_time)),
            max_bytes: limits.body_bytes,
            progress,
            _sent: sent,
        };
        (Self::Streaming(Box::new(streaming)), done)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        let Self::Streaming(body) = &mut *self else {
            return Poll::Ready(None);
        };
        let polled = body.poll(cx);
        match polled {
            Poll::Ready(None) => *self = Self::Empty,
            Poll::Ready(Some(Err(failure))) => {
                let _ = body.progress.failure.set(failure);
                *self = Self::Empty;
            }
            Poll::Ready(Some(Ok(_))) if body.incoming.is_end_stream() => *self = Self::Empty,
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming(body) => body.incoming.size_hint(),
        }
    }
}

impl Streaming {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            // Looked at here only: a body that always has more soon has too much.
            Poll::Pending => match self.deadline.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err(BodyFailure::TooSlow))),
                Poll::Pending => Poll::Pending,
            },
            Poll::Ready(Some(Ok(frame))) => {
                let len = frame.data_ref().map_or(0, Bytes::len) as u64;
                let bytes = self.progress.bytes.fetch_add(len, Relaxed) + len;
                if bytes > self.max_bytes {
                    Poll::Ready(Some(Err(BodyFailure::TooLarge)))
                } else {
                    Poll::Ready(Some(Ok(frame)))
                }
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(BodyFailure::Broken))),
            Poll::Ready(None) => Poll::Ready(None),
        }
    }
}

/// The body of a response, towards the client. The exchange it belongs to is over when it is.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    content: Content,
    /// `None` when nobody wants to know of this exchange, and once it is over.
    exchange: Option<Box<Exchange>>,
}

#[derive(Debug)]
enum Content {
    Upstream(Incoming),
    Page(Full<Bytes>),
}

impl ResponseBody {
    pub(crate) fn upstream(body: Incoming, exchange: Box<Exchange>) -> Self {
        Self {
            content: Content::Upstream(body),
            exchange: Some(exchange),
        }
    }

    pub(crate) fn page(page: Bytes, exchange: Option<Box<Exchange>>) -> Self {
        Self {
            content: Content::Page(Full::new(page)),
            exchange,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = match &mut self.content {
            Content::Upstream(body) => Pin::new(body).poll_frame(cx),
            Content::Page(page) => Pin::new(page)
                .poll_frame(cx)
                .map_err(|never| match never {}),
        };
        let over = self.is_end_stream();
        if let Some(exchange) = &mut self.exchange {
            match &polled {
                Poll::Ready(Some(Ok(frame))) => {
                    exchange.sent(frame.data_ref().map_or(0, Bytes::len));
                }
                Poll::Ready(Some(Err(_))) => exchange.cut("upstream_cut_off"),
                _ => {}
            }
            let over = over || matches!(polled, Poll::Ready(None | Some(Err(_))));
            if over {
                self.exchange = None;
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Upstream(body) => body.is_end_stream(),
            Content::Page(page) => page.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Upstream(body) => body.size_hint(),
            Content::Page(page) => page.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A page in one piece is not read at all for HEAD.
        let unread = matches!(&self.content, Content::Upstream(body) if !body.is_end_stream());
        if let Some(exchange) = self.exchange.as_mut().filter(|_| unread) {
            exchange.cut(ABORTED);
        }
    }
}
