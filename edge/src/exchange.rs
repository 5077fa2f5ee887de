//! One request and its response, as the spans and the access log tell of it.
//!
//! It is over when it is dropped, whichever way that comes about: at the end of the response, or because a client
//! left or an upstream was cut off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use hyper::StatusCode;
use opentelemetry::trace::{Span as _, SpanContext, Status};
use telemetry::Span;
use telemetry::metrics::Metrics;

use crate::access_log::{Entry, Gathering};
use crate::body::{BodyFailure, Progress};
use crate::measured::{self, Ended};
use crate::route::Upstream;
use crate::spans;

/// The error of an exchange that neither side ended: the client left, or the edge was stopped.
pub(crate) const ABORTED: &str = "aborted";

#[derive(Debug)]
pub(crate) struct Exchange {
    log: Gathering,
    metrics: Metrics,
    entry: Entry,
    /// `None` for requests that are not traced.
    server: Option<Span>,
    /// `None` unless the request was forwarded.
    client: Option<Span>,
    /// `None` for a request without a body.
    request: Option<Arc<Progress>>,
    /// When the request was forwarded.
    forwarded: Option<Instant>,
    /// Whether the edge answers by itself.
    is_own: bool,
    cut: Option<&'static str>,
}

impl Exchange {
    pub(crate) fn new(log: Gathering, metrics: Metrics, entry: Entry) -> Box<Self> {
        measured::begun(&metrics, &entry);
        Box::new(Self {
            log,
            metrics,
            entry,
            server: None,
            client: None,
            request: None,
            forwarded: None,
            is_own: false,
            cut: None,
        })
    }

    pub(crate) fn traced(&mut self, server: Span) {
        self.server = Some(server);
    }

    pub(crate) fn forwarded(
        &mut self,
        upstream: Arc<Upstream>,
        client: Option<Span>,
        request: Option<Arc<Progress>>,
    ) {
        self.entry.upstream = Some(upstream);
        self.client = client;
        self.request = request;
        self.forwarded = Some(Instant::now());
    }

    /// The server span, if there is one: where telemetry is switched off there is at most the caller's.
    pub(crate) fn span_context(&self) -> Option<&SpanContext> {
        let span = self.server.as_ref()?.span_context();
        (span.is_valid() && !span.is_remote()).then_some(span)
    }

    /// Why the request's body did not reach its end, if that is so.
    pub(crate) fn body_failure(&self) -> Option<BodyFailure> {
        self.request.as_ref()?.failure.get().copied()
    }

    /// The response has begun.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.entry.status = Some(status);
    }

    /// Which of the upstream's addresses it was, where there are several.
    pub(crate) fn answered_by(&mut self, peer: SocketAddr) {
        if let Some(client) = &mut self.client {
            client.set_attributes(spans::peer(peer.ip().to_string(), peer.port()));
        }
    }

    /// Why the edge answers by itself: a reason of low cardinality.
    pub(crate) fn failed(&mut self, error: &'static str) {
        self.entry.error.get_or_insert(error);
        self.is_own = true;
    }

    /// Bytes of the response's body were handed on.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.entry.response_bytes += bytes as u64;
    }

    /// The response will not come to its end, for a reason of low cardinality.
    pub(crate) fn cut(&mut self, error: &'static str) {
        self.entry.error.get_or_insert(error);
        self.cut = self.entry.error;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let status = self.entry.status.map(|status| status.as_u16());
        if status.is_none() {
            self.cut(ABORTED);
        }
        let span = self.span_context();
        measured::ended(
            &self.metrics,
            &self.entry,
            Ended {
                forwarded: self.forwarded,
                client: self.client.as_ref().map(Span::span_context),
                server: span,
                is_own: self.is_own,
                cut: self.cut,
            },
        );
        // To a client 4xx is an error, to a server it is the client's fault.
        if let Some(mut span) = self.client.take() {
            if let Some(status) = status {
                spans::set_response_status(&mut span, status);
            }
            match (self.entry.error, status) {
                (Some(error), _) => spans::set_error(&mut span, error),
                (None, Some(status @ 400..)) => spans::set_error(&mut span, status.to_string()),
                _ => {}
            }
            span.end();
        }
        if let Some(span) = &mut self.server {
            if let Some(status) = status {
                spans::set_response_status(span, status);
            }
            if let Some(error) = self.cut {
                spans::set_error(span, error);
            } else if matches!(status, Some(500..)) {
                span.set_status(Status::error(""));
            }
            span.end();
        }
        let request = self.request.as_ref();
        let request_bytes = request.map_or(0, |progress| progress.bytes.load(Relaxed));
        self.entry
            .write(&self.log, self.span_context(), request_bytes);
    }
}
