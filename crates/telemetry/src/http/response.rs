//! Responses on their way: what is observed of them, and that the span is current while they are made.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::http::exchange::{Exchange, Side};

pin_project! {
    /// A response that is awaited, with its span as the current one.
    #[derive(Debug)]
    #[must_use = "a future does nothing unless it is polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        // `None` for requests that are not traced.
        exchange: Option<Exchange>,
        reply: Reply,
    }
}

/// What a response tells its caller.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reply {
    pub(super) traceresponse: bool,
    pub(super) server_timing: bool,
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(inner: F, exchange: Option<Exchange>, reply: Reply) -> Self {
        Self {
            inner,
            exchange,
            reply,
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    E: 'static,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(exchange) = this.exchange else {
            let response = ready!(this.inner.poll(cx))?;
            return Poll::Ready(Ok(response.map(ResponseBody::untraced)));
        };
        let polled = {
            let _current = exchange.cx().clone().attach();
            exchange.observed(|| this.inner.poll(cx))
        };
        let mut response = match ready!(polled) {
            Ok(response) => response,
            Err(error) => {
                exchange.failed(&error);
                *this.exchange = None;
                return Poll::Ready(Err(error));
            }
        };
        if this.reply.traceresponse {
            exchange.reply(response.headers_mut(), this.reply.server_timing);
        }
        let more = exchange.answered(&response);
        let exchange = this.exchange.take().filter(|_| more);
        Poll::Ready(Ok(response.map(|inner| ResponseBody { inner, exchange })))
    }
}

pin_project! {
    /// The body of a response; the span of its request ends with it.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        inner: B,
        // `None` when nobody wants to know, and once it is over.
        exchange: Option<Exchange>,
    }
}

impl<B> ResponseBody<B> {
    fn untraced(inner: B) -> Self {
        Self {
            inner,
            exchange: None,
        }
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::untraced(B::default())
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Error: 'static,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(exchange) = this.exchange else {
            return this.inner.poll_frame(cx);
        };
        exchange.touched();
        let polled = {
            // Whoever reads a response has a span of its own.
            let _current =
                (exchange.side() == Side::Server).then(|| exchange.cx().clone().attach());
            exchange.observed(|| this.inner.as_mut().poll_frame(cx))
        };
        match ready!(&polled) {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    exchange.sent(hyper::body::Buf::remaining(data));
                } else if let Some(trailers) = frame.trailers_ref() {
                    exchange.trailers(trailers);
                    *this.exchange = None;
                    return polled;
                }
                // Nobody asks for more of a body that says it is at its end.
                if this.inner.is_end_stream() {
                    exchange.over();
                    *this.exchange = None;
                }
            }
            Some(Err(error)) => {
                exchange.failed(error);
                *this.exchange = None;
            }
            None => {
                exchange.over();
                *this.exchange = None;
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
